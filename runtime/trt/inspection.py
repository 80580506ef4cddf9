"""What became of a network's layers in its engine: how many are left, in which types they run, which fell back.

TensorRT's engine inspector says so, of an engine that is loaded: that takes a GPU.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aerocam.errors import EngineError
from aerocam.runtime.trt.bindings import TensorRt
from aerocam.runtime.trt.engine_file import BuildSettings

log = logging.getLogger("aerocam.runtime")

TYPES = {"int8": r"int8", "bfloat16": r"bf16|bfloat16", "float16": r"fp16|half", "float32": r"fp32|float\b"}
"""How the inspector writes an element type, in any case; TensorRT 8 to 11 differ."""

COPIES = ("reformat", "noop", "constant", "shuffle", "signal", "wait")
"""Kinds of layers that compute nothing."""


@dataclass(frozen=True)
class EngineLayer:
    """Describes a layer of an engine, often several of the network's in one.

    Attributes:
        name: Names of the network's layers in it, joined.
        kind: TensorRT's word for it.
        inputs: Element types of what it reads.
        outputs: And of what it gives.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def computes(self) -> bool:
        """Say whether it does more than move numbers."""
        return not self.kind.lower().startswith(COPIES)

    @property
    def parts(self) -> set[str]:
        """Names of the network's layers, as far as this one's name has them."""
        return set(re.split(r" \+ | \|\| |\.\.\.|[\[\]{}(),\s]+", self.name)) | {self.name}


@dataclass(frozen=True)
class Inspection:
    """Describes the layers of a whole engine.

    Attributes:
        layers: How many it has.
        types: How many of those that compute give which element type.
        fell_back: Names of those that run in a wider type than was asked for.
    """

    layers: int
    types: Mapping[str, int]
    fell_back: tuple[str, ...]


def inspect_plan(
    tensorrt: TensorRt, logger: Any, plan: Any, settings: BuildSettings, in_int8: Collection[str]
) -> Inspection | None:
    """Load an engine and ask what is in it; None where TensorRT does not say: it runs all the same.

    Args:
        tensorrt: TensorRT as it is installed.
        logger: Its logger.
        plan: The engine, serialised.
        settings: How it was built.
        in_int8: Names of the network's layers that can run in INT8.

    Raises:
        EngineError: It cannot be loaded on the GPU it was built on.
    """
    trt = tensorrt.module
    runtime = trt.Runtime(logger)
    if settings.version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(
            f"{tensorrt} built an engine, but cannot load it here: {logger.errors() or 'no reason given'}"
        )
    inspector = engine.create_engine_inspector()
    text = "" if inspector is None else inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        return inspection(read_layers(text), settings, in_int8)
    except json.JSONDecodeError:
        said = logger.errors() or "it gave no reason"
        log.warning("%s built the engine, but its inspector does not say what is in it: %s", tensorrt, said)
        return None


def read_layers(information: str) -> list[EngineLayer]:
    """Return the layers in the inspector's JSON; without types where the engine holds their names alone."""
    layers = json.loads(information).get("Layers", [])
    return [
        EngineLayer(layer, "", (), ())
        if isinstance(layer, str)
        else EngineLayer(
            str(layer.get("Name", "")),
            str(layer.get("LayerType", "")),
            _types(layer.get("Inputs", [])),
            _types(layer.get("Outputs", [])),
        )
        for layer in layers
    ]


def inspection(layers: Iterable[EngineLayer], settings: BuildSettings, in_int8: Collection[str]) -> Inspection:
    """Return what is said of the layers.

    Args:
        layers: Of the engine.
        settings: With `precision` float16, a layer that gives float32 alone fell back.
        in_int8: Names of the network's layers that can run in INT8: one that reads no int8 fell back.
    """
    layers = list(layers)
    working = [layer for layer in layers if layer.computes]
    counts = dict(Counter(name for layer in working for name in dict.fromkeys(layer.outputs)))
    fell_back = [
        layer.name
        for layer in working
        if (settings.precision == "float16" and set(layer.outputs) == {"float32"})
        or (layer.inputs and "int8" not in layer.inputs and not layer.parts.isdisjoint(in_int8))
    ]
    return Inspection(len(layers), counts, tuple(fell_back))


def _types(tensors: Any) -> tuple[str, ...]:
    """Return element types of the inspector's tensors; none for one whose words are unknown."""
    texts = [" ".join(str(tensor[key]) for key in tensor if key != "Name") for tensor in tensors]
    types = (next((name for name, how in TYPES.items() if re.search(how, text, re.IGNORECASE)), None) for text in texts)
    return tuple(name for name in types if name is not None)
