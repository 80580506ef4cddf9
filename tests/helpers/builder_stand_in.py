"""A stand-in for TensorRT's module where it builds: what only `tensorrt` has, and what only a GPU shows.

It builds nothing: it keeps what it was told, and gives a plan that says so. Names are those of NVIDIA's bindings.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from aerocam.runtime.trt.bindings import TensorRt

DataType = enum.Enum("DataType", "FLOAT HALF INT8 INT32 BOOL UINT8 INT64 BF16")
LayerType = enum.Enum("LayerType", "CONVOLUTION DECONVOLUTION MATRIX_MULTIPLY DEQUANTIZE ACTIVATION")
Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")


class Tensor(SimpleNamespace):
    """An ITensor: `name`, `shape`, `dtype`."""


class Layer:
    """An ILayer."""

    def __init__(self, name: str, kind: LayerType, inputs: list[Tensor], output: Tensor) -> None:
        self.name, self.type = name, kind
        self._inputs, self._output = inputs, output

    def get_input(self, index: int) -> Tensor:
        return self._inputs[index]

    def get_output(self, index: int) -> Tensor:
        assert index == 0
        return self._output


class Network:
    """An INetworkDefinition; the parser fills it."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.layers: list[Layer] = []

    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.outputs))
    num_layers = property(lambda self: len(self.layers))

    def get_input(self, index: int) -> Tensor:
        return self.inputs[index]

    def get_output(self, index: int) -> Tensor:
        return self.outputs[index]

    def get_layer(self, index: int) -> Layer:
        return self.layers[index]


class Memory(bytes):
    """An IHostMemory."""


class Cache:
    """An ITimingCache: made of what was serialised, or empty."""

    def __init__(self, kept: bytes) -> None:
        self.kept = kept

    def serialize(self) -> Memory:
        return Memory(self.kept)


class BuilderConfig:
    """An IBuilderConfig of `tensorrt`."""

    def __init__(self) -> None:
        self.flags: set[Any] = {"TF32"}  # on by default
        self.pools: dict[Any, int] = {}
        self.progress_monitor: Any = None
        self._cache: Cache | None = None

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag.name)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.pools[pool.name] = size

    def create_timing_cache(self, kept: bytes) -> Cache:
        return Cache(kept)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        """Takes what an earlier build with this stand-in has measured, or nothing at all."""
        if cache.kept not in (b"", b"measured") or ignore_mismatch:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> Cache | None:
        return self._cache


class StandIn:
    """The module, and what happened in it.

    Attributes:
        configs: Configurations that were made, in order.
        networks: Networks that were made, in order.
        begun_with: What the timing cache held when each build began.
        inspected: What the engine inspector says.
    """

    def __init__(self, *, network_flags: str, builder_flags: str, hardware: str = "NONE AMPERE_PLUS") -> None:
        """A module whose enums have these names."""
        self.configs: list[BuilderConfig] = []
        self.networks: list[Network] = []
        self.begun_with: list[bytes] = []
        self.inspected: dict[str, Any] = {"Layers": []}
        self.said: list[tuple[Severity, str]] = []
        self.fails = False
        self.during: Callable[[Any], None] = lambda monitor: None
        flags = enum.IntEnum("NetworkDefinitionCreationFlag", network_flags, start=0)
        self.module = SimpleNamespace(
            __version__="10.3.0",
            NetworkDefinitionCreationFlag=flags,
            BuilderFlag=enum.Enum("BuilderFlag", builder_flags),
            HardwareCompatibilityLevel=enum.Enum("HardwareCompatibilityLevel", hardware),
            MemoryPoolType=enum.Enum("MemoryPoolType", "WORKSPACE DLA_MANAGED_SRAM"),
            ProfilingVerbosity=enum.Enum("ProfilingVerbosity", "LAYER_NAMES_ONLY NONE DETAILED"),
            LayerInformationFormat=enum.Enum("LayerInformationFormat", "ONELINE JSON"),
            DataType=DataType,
            LayerType=LayerType,
            ILogger=type("ILogger", (), {"Severity": Severity}),
            IProgressMonitor=type("IProgressMonitor", (), {}),
            IBuilderConfig=BuilderConfig,
            Builder=self._builder,
            OnnxParser=self._parser,
            Runtime=self._runtime,
        )

    @property
    def found(self) -> TensorRt:
        """As `load_tensorrt` gives it."""
        return TensorRt(self.module, "tensorrt", self.module.__version__)

    def _builder(self, logger: Any) -> Any:
        def create_network(flags: int) -> Network:
            self.networks.append(Network(flags))
            return self.networks[-1]

        def create_builder_config() -> BuilderConfig:
            self.configs.append(BuilderConfig())
            return self.configs[-1]

        def build(network: Network, config: BuilderConfig) -> Memory | None:
            cache = config.get_timing_cache()
            self.begun_with.append(b"" if cache is None else cache.kept)
            for severity, text in self.said:
                logger.log(severity, text)
            if config.progress_monitor is not None:
                self.during(config.progress_monitor)
            if self.fails:
                return None
            if cache is not None:
                cache.kept = b"measured"
            return Memory(f"plan {len(self.configs)}".encode())

        return SimpleNamespace(
            create_network=create_network,
            create_builder_config=create_builder_config,
            build_serialized_network=build,
        )

    def _parser(self, network: Network, logger: Any) -> Any:
        def parse_from_file(path: str) -> bool:
            """A picture through a convolution in INT8, another in float, to scores."""
            image = Tensor(name="images", shape=(1, 3, 32, 48), dtype=DataType.FLOAT)
            dequantised = Tensor(name="dq", shape=image.shape, dtype=DataType.FLOAT)
            middle = Tensor(name="middle", shape=(1, 8, 32, 48), dtype=DataType.FLOAT)
            scores = Tensor(name="scores", shape=(1, 4), dtype=DataType.HALF)
            network.inputs, network.outputs = [image], [scores]
            network.layers = [
                Layer("dq_1", LayerType.DEQUANTIZE, [image], dequantised),
                Layer("conv_1", LayerType.CONVOLUTION, [dequantised], middle),
                Layer("conv_10", LayerType.CONVOLUTION, [middle], scores),
            ]
            return True

        return SimpleNamespace(parse_from_file=parse_from_file)

    def _runtime(self, logger: Any) -> Any:
        inspector = SimpleNamespace(get_engine_information=lambda form: json.dumps(self.inspected))
        engine = SimpleNamespace(create_engine_inspector=lambda: inspector)
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: engine)


def tensorrt_10() -> StandIn:
    """As of JetPack 6: precision flags, explicit batch to be asked for."""
    return StandIn(
        network_flags="EXPLICIT_BATCH STRONGLY_TYPED",
        builder_flags="FP16 INT8 TF32 BF16 VERSION_COMPATIBLE OBEY_PRECISION_CONSTRAINTS",
    )


def tensorrt_11() -> StandIn:
    """Neither."""
    flags = "TF32 VERSION_COMPATIBLE"
    return StandIn(
        network_flags="STRONGLY_TYPED", builder_flags=flags, hardware="NONE AMPERE_PLUS SAME_COMPUTE_CAPABILITY"
    )
