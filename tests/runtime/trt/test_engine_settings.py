"""What the builder is told, and what becomes of its answers; what only `tensorrt` or a GPU has, on a stand-in."""

from __future__ import annotations

import io
import json
import logging
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tiny_models
from aerocam import cli
from aerocam.errors import EngineError, UsageError, WriteError
from aerocam.progress import TerminalLine
from aerocam.runtime.trt import building, timing_cache
from aerocam.runtime.trt.build_target import BuildTarget, build_target, present_device
from aerocam.runtime.trt.building import Built, build_engines
from aerocam.runtime.trt.configuration import configure
from aerocam.runtime.trt.engine_file import BuildSettings, read_record
from aerocam.runtime.trt.inspection import inspection, read_layers
from aerocam.runtime.trt.monitor import Phases, build_monitor
from builder_stand_in import DataType, Severity, StandIn, tensorrt_10, tensorrt_11

pytestmark = pytest.mark.runtime

ORIN = BuildTarget("8.7", "Orin (nvgpu)")


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """TensorRT 10 on an Orin."""
    stand_in = tensorrt_10()
    monkeypatch.setattr(building, "load_tensorrt", lambda: stand_in.found)
    monkeypatch.setattr("aerocam.runtime.trt.build_target.present_device", lambda: (ORIN, ""))
    return stand_in


def built_from(folder: Path, **options: Any) -> Built:
    """The one engine of a small model."""
    (one,) = build_engines(tiny_models.model("stretch"), folder / "a.engine", **options)
    return one


@pytest.mark.parametrize(
    ("made", "precision", "flags"),
    [(tensorrt_10, "typed", 0b11), (tensorrt_10, "float16", 0b01), (tensorrt_11, "typed", 0b1)],
)
def test_a_network_is_typed_unless_the_builder_may_choose(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Any, precision: Any, flags: int
) -> None:
    """Bits 0 and 1 of TensorRT 10 are explicit batch and strongly typed; TensorRT 11 has the second alone, as bit 0."""
    stand_in = made()
    monkeypatch.setattr(building, "load_tensorrt", lambda: stand_in.found)
    monkeypatch.setattr("aerocam.runtime.trt.build_target.present_device", lambda: (ORIN, ""))
    built_from(tmp_path, settings=BuildSettings(precision=precision))
    assert stand_in.networks[0].flags == flags
    assert ("FP16" in stand_in.configs[0].flags) == (precision == "float16")


def test_the_defaults_leave_everything_but_tf32_to_tensorrt(jetson: StandIn, tmp_path: Path) -> None:
    built_from(tmp_path)
    config = jetson.configs[0]
    assert (config.flags, config.pools) == (set(), {})
    assert not hasattr(config, "builder_optimization_level")
    assert not hasattr(config, "hardware_compatibility_level")
    assert config.profiling_verbosity.name == "DETAILED"


def test_every_setting_reaches_the_builder_and_the_record(jetson: StandIn, tmp_path: Path) -> None:
    settings = BuildSettings(1 << 30, 5, True, "float16", True, "ampere_plus")
    built_from(tmp_path, settings=settings)
    config = jetson.configs[0]
    assert config.flags == {"TF32", "FP16", "VERSION_COMPATIBLE"}
    assert config.pools == {"WORKSPACE": 1 << 30}
    assert config.builder_optimization_level == 5
    assert config.hardware_compatibility_level.name == "AMPERE_PLUS"
    record = read_record(tmp_path / "a.engine")
    assert record.settings == settings
    assert (record.compute_capability, record.device, record.bindings) == ("8.7", "Orin (nvgpu)", "tensorrt")
    assert [(t.name, t.mode, t.dtype, t.shape) for t in record.tensors] == [
        ("images", "input", "float32", (1, 3, 32, 48)),
        ("scores", "output", "float16", (1, 4)),
    ]


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        (BuildSettings(precision="float16"), EngineError, r"no builder flag FP16; export .* `precision='float16'`"),
        (BuildSettings(optimization_level=6), UsageError, r"`optimization_level=6`: 0 to 5"),
    ],
)
def test_settings_that_cannot_be(settings: BuildSettings, kind: type[Exception], said: str) -> None:
    found = tensorrt_11().found
    with pytest.raises(kind, match=said):
        configure(found, found.module.Builder(None), settings, ORIN)


def test_a_hardware_level_that_this_tensorrt_lacks() -> None:
    found = tensorrt_10().found
    settings = BuildSettings(hardware="same_compute_capability")
    with pytest.raises(EngineError, match=r"`hardware='same_compute_capability'`: tensorrt 10.3.0 .*\(ampere_plus\)"):
        configure(found, found.module.Builder(None), settings, ORIN)


def test_a_version_compatible_engine_where_there_is_no_such_flag() -> None:
    found = StandIn(network_flags="STRONGLY_TYPED", builder_flags="TF32").found
    with pytest.raises(EngineError, match=r"`version_compatible=True`: tensorrt 10.3.0 has no builder flag"):
        configure(found, found.module.Builder(None), BuildSettings(version_compatible=True), ORIN)


def test_another_gpu_than_the_one_here(jetson: StandIn) -> None:
    assert build_target(jetson.found, "8.7") == ORIN
    with pytest.raises(UsageError, match=r"`compute_capability='8.6'`: tensorrt 10.3.0 builds .* alone \(8.7\)"):
        build_target(jetson.found, "8.6")


def test_the_gpu_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CUDA says it; why there is none where it cannot be asked."""
    device, closed = SimpleNamespace(name="Orin (nvgpu)", compute_capability="8.7"), []
    cuda = SimpleNamespace(device=lambda: device, close=lambda: closed.append(True))
    monkeypatch.setattr("aerocam.runtime.trt.build_target.open_cuda", lambda: cuda)
    assert present_device() == (ORIN, "")
    assert closed == [True]

    def broken() -> Any:
        raise EngineError("CUDA: no driver")

    monkeypatch.setattr("aerocam.runtime.trt.build_target.open_cuda", broken)
    assert present_device() == (None, "CUDA: no driver")
    cuda.device = broken
    monkeypatch.setattr("aerocam.runtime.trt.build_target.open_cuda", lambda: cuda)
    assert present_device() == (None, "CUDA: no driver")
    assert closed == [True, True]


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch, jetson: StandIn) -> None:
    monkeypatch.setattr("aerocam.runtime.trt.build_target.present_device", lambda: (None, "no driver"))
    with pytest.raises(EngineError, match=r"own machine alone.*here: no driver; run `aerocam build` on"):
        build_target(jetson.found, None)


def test_measurements_serve_the_next_build(jetson: StandIn, tmp_path: Path) -> None:
    for _ in range(2):
        built_from(tmp_path, cache_folder=tmp_path / "kept")
    assert jetson.begun_with == [b"", b"measured"]
    (file,) = (tmp_path / "kept").iterdir()
    assert file.name == "tensorrt-10.3.0-sm8.7-Orin_nvgpu_.timing"
    assert file.read_bytes() == b"measured"


def test_what_tensorrt_says_can_be_read(jetson: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    jetson.said = [(Severity.WARNING, "weights of conv_1\nare tiny"), (Severity.VERBOSE, "much more")]
    with caplog.at_level(logging.DEBUG, "aerocam"):
        built_from(tmp_path)
    assert "TensorRT, warning: weights of conv_1 are tiny" in caplog.messages
    assert "much more" not in caplog.text


def test_a_foreign_timing_cache_is_replaced_and_said(
    jetson: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = timing_cache.cache_file(tmp_path, jetson.found, ORIN)
    assert file is not None
    file.write_bytes(b"of another TensorRT")
    with caplog.at_level(logging.WARNING, "aerocam"):
        built_from(tmp_path, cache_folder=tmp_path)
    assert f"{file}: TensorRT does not take this timing cache" in caplog.text
    assert (jetson.begun_with, file.read_bytes()) == ([b""], b"measured")


def test_a_cache_that_cannot_be_kept_costs_no_engine(
    jetson: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING, "aerocam"):
        built_from(tmp_path, cache_folder=tmp_path / "file")
    assert "timing cache not kept" in caplog.text
    assert read_record(tmp_path / "a.engine").plan_bytes == len(b"plan 1")


def test_where_caches_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AEROCAM_CACHE", "/a")
    assert timing_cache.default_folder() == Path("/a/tensorrt")
    monkeypatch.delenv("AEROCAM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert timing_cache.default_folder() == Path("/b/aerocam/tensorrt")


def layer(name: str, kind: str, reads: str, gives: str) -> dict[str, Any]:
    """A layer as the engine inspector writes it."""
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": [{"Name": "half of it", "Dimensions": [1, 8], "Format/Datatype": reads}],
        "Outputs": [{"Name": "int8", "Dimensions": [1, 8], "Format/Datatype": gives}],
    }


LAYERS = [
    layer("Reformatting CopyNode for Input Tensor 0 to conv_1", "Reformat", "Float", "Half"),
    layer("conv_1 + PWN(relu_1)", "CaskConvolution", "Thirty-two wide channel vectorized row major Int8", "Half"),
    layer("conv_10", "CaskConvolution", "Row major linear FP32", "Row major linear FP32"),
    layer("{ForeignNode[add_1...mul_9]}", "Myelin", "Row major linear FP16 format", "BFloat16"),
]


def test_what_fell_back() -> None:
    """Of int8: what was asked for and reads none. Of float16: what gives float32 alone. Copies do not count."""
    found = read_layers(json.dumps({"Layers": LAYERS}))
    typed, half = BuildSettings(), BuildSettings(precision="float16")
    assert inspection(found, typed, {"conv_1", "other"}).fell_back == ()
    assert inspection(found, typed, {"conv_1", "conv_10"}).fell_back == ("conv_10",)
    assert inspection(found, typed, {"mul_9"}).fell_back == ("{ForeignNode[add_1...mul_9]}",)
    assert inspection(found, half, ()).fell_back == ("conv_10",)
    seen = inspection(found, half, ())
    assert (seen.layers, seen.types) == (4, {"float16": 1, "float32": 1, "bfloat16": 1})


def test_a_layer_that_gives_both_types_did_not_fall_back() -> None:
    both = layer("conv_2", "CaskConvolution", "Half", "Half")
    both["Outputs"] += layer("", "", "", "Float")["Outputs"]
    found = read_layers(json.dumps({"Layers": [both]}))
    assert inspection(found, BuildSettings(precision="float16"), ()).fell_back == ()


def test_an_engine_that_keeps_names_alone_has_no_types() -> None:
    found = read_layers(json.dumps({"Layers": ["conv_1", "conv_10"], "Bindings": ["images"]}))
    seen = inspection(found, BuildSettings(), {"conv_1"})
    assert (seen.layers, seen.types, seen.fell_back) == (2, {}, ())


def test_the_command_prints_what_fell_back(jetson: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The stand-in's conv_1 is the one behind a DequantizeLinear."""
    jetson.inspected = {"Layers": [layer("conv_1", "CaskConvolution", "Float", "Float"), *LAYERS[2:]]}
    jetson.said = [(Severity.WARNING, "conv_1: falling back to FP32"), (Severity.WARNING, "something else")]
    made = ["build", str(tiny_models.model("stretch")), "-o", str(tmp_path / "a.plan"), "--no-timing-cache"]
    assert cli.main(made) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'a.plan'}: 3 layers, parsed in ")
    assert "tensorrt 10.3.0, compute capability 8.7 (Orin (nvgpu)); products in int8, float16, TF32 off" in lines[1]
    assert lines[2:] == [
        "  TensorRT says: conv_1: falling back to FP32",
        "  3 layers in the engine: 2 in float32, 1 in bfloat16",
        "  fell back: conv_1",
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
            "ran out of memory while",
        ),
        ("Error Code 2: OutOfMemory (no further information)", "give a smaller `workspace`"),
        ("Error Code 10: Could not find any implementation for node conv_1", "builds no engine of it: .*node conv_1"),
    ],
)
def test_a_build_that_fails_says_why(jetson: StandIn, tmp_path: Path, said: str, expected: str) -> None:
    jetson.fails, jetson.said = True, [(Severity.ERROR, said)]
    with pytest.raises(EngineError, match=expected):
        built_from(tmp_path)
    assert not list(tmp_path.iterdir())


def test_memory_that_runs_out_in_python(jetson: StandIn, tmp_path: Path) -> None:
    def during(monitor: Any) -> None:
        raise MemoryError

    jetson.during = during
    with pytest.raises(EngineError, match="ran out of memory while it built the engine: out of memory"):
        built_from(tmp_path)


def test_a_builder_that_does_not_start(jetson: StandIn, tmp_path: Path) -> None:
    """As without a driver: NVIDIA's bindings say nothing but this."""

    def builder(logger: Any) -> Any:
        logger.log(Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    jetson.module.Builder = builder
    with pytest.raises(EngineError, match="its builder does not start: CUDA initialization failure with error: 35"):
        built_from(tmp_path)


def test_an_engine_that_cannot_be_loaded_is_not_written(jetson: StandIn, tmp_path: Path) -> None:
    jetson.module.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: None)
    with pytest.raises(EngineError, match=r"tensorrt 10.3.0 built an engine, but cannot load it here"):
        built_from(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("inspector", [None, SimpleNamespace(get_engine_information=lambda form: "")])
def test_an_engine_that_cannot_be_inspected_is_written(
    jetson: StandIn, tmp_path: Path, inspector: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """It took minutes to build, and runs."""
    engine = SimpleNamespace(create_engine_inspector=lambda: inspector)
    jetson.module.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda plan: engine)
    made = ["build", str(tiny_models.model("stretch")), "-o", str(tmp_path / "a.plan"), "--no-timing-cache"]
    assert cli.main(made) == 0
    said = capsys.readouterr()
    assert "tensorrt 10.3.0 built the engine, but its inspector does not say what is in it" in said.err
    assert said.out.splitlines()[-1] == "  fell back: not known; TensorRT does not say"
    assert read_record(tmp_path / "a.plan").plan_bytes == len(b"plan 1")


def test_the_builders_memory_is_given_back_before_the_engine_is_loaded(jetson: StandIn, tmp_path: Path) -> None:
    """On a Jetson it is the GPU's."""
    made, load, left = [], jetson.module.Runtime, []
    parser = jetson.module.OnnxParser

    def parse(network: Any, logger: Any) -> Any:
        jetson.networks.clear()  # the stand-in's own list
        made.append(weakref.ref(network))
        return parser(network, logger)

    def runtime(logger: Any) -> Any:
        left.extend(one() for one in made)
        return load(logger)

    jetson.module.OnnxParser, jetson.module.Runtime = parse, runtime
    built_from(tmp_path)
    assert left == [None]


def test_the_monitor_hears_of_a_build_and_ends_it(jetson: StandIn, tmp_path: Path) -> None:
    """As TensorRT does it: a step that is answered with False is the last, and there is no plan."""
    answers = []

    def during(monitor: Any) -> None:
        monitor.phase_start("Building Engine", None, 2)
        answers.append(monitor.step_complete("Building Engine", 0))
        jetson.fails = not answers[-1]

    jetson.during = during
    built_from(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        built_from(tmp_path, stopped=lambda: True)
    assert answers == [True, False]


def test_a_plan_that_cannot_be_written(jetson: StandIn, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot write it"):
        build_engines(tiny_models.model("stretch"), tmp_path / f"{'a' * 240}.engine")
    assert not list(tmp_path.iterdir())


def test_phases_make_a_bar() -> None:
    """Half of the first of two steps is a quarter of all."""
    phases = Phases()
    assert str(phases) == ""
    phases.start("Building Engine", None, 2)
    phases.start("Tactic Selection", "Building Engine", 10)
    for step in range(5):
        phases.step("Tactic Selection", step)
    assert str(phases) == "[#####...............] Tactic Selection, 5 of 10"
    phases.finish("Tactic Selection")
    phases.step("Building Engine", 0)
    assert str(phases) == "[##########..........] Building Engine, 1 of 2"


def test_the_monitor_draws_and_ends_the_build() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stop, stream = [False], Terminal()
    monitor = build_monitor(tensorrt_10().module, TerminalLine(stream), lambda: stop[0])
    monitor.phase_start("Building Engine", None, 4)
    assert monitor.step_complete("Building Engine", 0) is True
    stop[0] = True
    assert monitor.step_complete("Building Engine", 1) is False
    monitor.phase_finish("Building Engine")
    assert stream.getvalue().strip() == "[....................] Building Engine, 0 of 4"


def test_a_type_that_numpy_lacks(monkeypatch: pytest.MonkeyPatch, jetson: StandIn, tmp_path: Path) -> None:
    monkeypatch.setattr(DataType.HALF, "_name_", "BF16")
    with pytest.raises(EngineError, match="output 'scores' is BF16, expected one of float32"):
        built_from(tmp_path)
