"""Every name and signature that the device side uses of TensorRT, pycuda and cuda-python, against the real packages.

TensorRT's own bindings load over libraries without content: see `bindings.stub_library`. cuda-python is called for
real, without a driver: that it says so, and does not refuse the arguments, is the test.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from bindings import packages, pycuda_source
from bindings.stub_library import stub_library
from bindings.uses import MODULE, Reader, Use, takes
from checkout import ROOT
from stand_ins import cuda_python, pycuda_driver, tensorrt
from stand_ins.gpu import Gpu

DESCRIBE = ROOT / "tests/helpers/bindings/describe.py"

TENSORRT = [name for name in packages.PINS if name.startswith("tensorrt")]
CUDA_PYTHON = [name for name in packages.PINS if name.startswith("cuda-python")]

FUNCTIONS = (
    *("getNvOnnxParserVersion", "createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL"),
    *("createInferRuntime_INTERNAL", "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL"),
    *("getBuilderPluginRegistry", "getPluginRegistry", "initLibNvInferPlugins"),
)
"""What the bindings look for when they are loaded."""

LIBRARIES = [
    *(f"{name}.so.{major}" for name in ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser") for major in (10, 11)),
    *("libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"),
]

VARIABLES = {
    "trt": MODULE,
    ".module": MODULE,
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    ".context": "IExecutionContext",
    "severities": "ILogger.Severity",
    "inspector": "EngineInspector",
    "network.py:layer": "ILayer",
    "network.py:tensor": "ITensor",
    "network.py:error": "ParserError",
    "timing_cache.py:cache": "ITimingCache",
    **dict.fromkeys(("engine_file.py:engine", "runs.py:engine", "session.py:engine"), ""),
}
"""What the variables of runtime/trt hold of TensorRT's; with a dot, attributes of others than self. Empty: ours."""

GUARDS = dict.fromkeys(("ComputeCapability", "num_compute_capabilities"), "set_compute_capability")
"""What may be absent where something else is, for which the source asks with hasattr before it uses both."""

OF_OURS = {"name", "shape", "dtype", "itemsize", "nbytes", "type", "kind", "mode", "log", "path", "errors", "value"}
OF_OURS |= {"run", "step", "start", "engine", "precision", "allocate"}
COMMON = frozenset({*OF_OURS, *dir(list), *dir(dict), *dir(str)})
"""Attributes that other objects have too: by themselves they do not say that an object is TensorRT's."""

VARIABLES_OF_THE_ENVIRONMENT = {"AEROCAM_CACHE", "XDG_CACHE_HOME"}

CUDA_VARIABLES = {"api": MODULE, "attributes": "cudaDeviceAttr", "codes": "cudaError_t"}
"""What the variables of runtime/cuda/cuda_python.py hold."""

PYCUDA_VARIABLES = {
    "driver": MODULE,
    "device": "Device",
    "context": "Context",
    "stream": "Stream",
    "streams[]": "Stream",
    "events[]": "Event",
    "memory.pop()": "DeviceAllocation",
    ".base": "HostPointer",
    "flags": "event_flags",
}
"""What those of runtime/cuda/pycuda_driver.py hold."""


def real(name: str) -> Path:
    """Where a real package lies.

    The test is skipped where there is no wheel of it for this Python.
    """
    found = packages.fetch(name)
    if (found / "absent").exists():
        pytest.skip(
            f"there is no wheel of {packages.PINS[name][0]} for Python {sys.version_info[0]}.{sys.version_info[1]}"
        )
    return found


@functools.cache
def description(name: str) -> dict[str, Any]:
    """What a real package has."""
    folder = real(name)
    if name == "pycuda":
        return pycuda_source.describe(next(folder.glob("pycuda-*")))
    if name not in TENSORRT:
        return json.loads(_python(DESCRIBE, "cuda.bindings.runtime", PYTHONPATH=str(folder)))
    module = "tensorrt_rtx_bindings" if "rtx" in name else "tensorrt_bindings"
    with tempfile.TemporaryDirectory() as stubs:
        for library in LIBRARIES:
            Path(stubs, library).write_bytes(stub_library(library, FUNCTIONS))
        return json.loads(_python(DESCRIBE, module, PYTHONPATH=str(folder), LD_LIBRARY_PATH=stubs))


def _python(*arguments: object, **environment: str) -> str:
    """What an interpreter of its own prints."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def uses(name: str, files: list[Path], variables: dict[str, str]) -> Reader:
    """What files ask of a package, as this one of its versions has it."""
    reader = Reader(description(name), variables)
    for path in files:
        reader.read(path, COMMON)
    return reader


def test_tensorrt_has_what_sessions_and_builder_ask_of_it() -> None:
    """In every version; what is asked for with hasattr only where it is there."""
    files = sorted((ROOT / "runtime/trt").glob("*.py"))
    versions = {name: description(name) for name in TENSORRT}
    readers = [uses(name, files, VARIABLES) for name in versions]
    found = {use for reader in readers for use in reader.uses}
    assert len(found) > 20
    assert not [
        f"{name}: {said}"
        for use in sorted(found, key=str)
        for name, api in versions.items()
        if (said := use.wrong(api)) and not _may_be_absent(use, api, versions.values())
    ]
    strange = {text for reader in readers for text in reader.strange}
    assert not strange, "whose attributes are these? name their variables in VARIABLES"


def _may_be_absent(use: Use, api: dict[str, Any], versions: Iterable[dict[str, Any]]) -> bool:
    """Whether the source asks first, and some version has it."""
    guard = GUARDS.get(use.name, GUARDS.get(use.owner))
    if guard is not None:
        return not any(guard in members for members in api["classes"].values())
    return use.asked_first and any(use.wrong(other) is None for other in versions)


def test_enum_members_asked_for_by_name_are_there_in_some_version() -> None:
    known = {member for name in TENSORRT for members in description(name)["classes"].values() for member in members}
    files = sorted((ROOT / "runtime/trt").glob("*.py"))
    nodes = [(path.name, node) for path in files for node in ast.walk(ast.parse(path.read_text()))]
    texts = {(file, str(node.value)) for file, node in nodes if isinstance(node, ast.Constant)}
    named = {(file, text) for file, text in texts if re.fullmatch("[A-Z][A-Z0-9_]{2,}", text)}
    assert not {(file, text) for file, text in named if text not in known | VARIABLES_OF_THE_ENVIRONMENT}


def test_tensorrts_stand_in_has_tensorrts_names() -> None:
    """What the sessions' tests call is called as the real one is."""
    real_ones = {"Runtime": tensorrt.Runtime, "ICudaEngine": tensorrt.Engine, "IExecutionContext": tensorrt.Context}
    for version in TENSORRT:
        for name, kind in real_ones.items():
            for member, value in vars(kind).items():
                if member.startswith("_") or not (callable(value) or isinstance(value, property)) or member == "work":
                    continue
                found = description(version)["classes"][name]
                assert member in found, (version, name, member)
                if callable(value):
                    named = tuple(inspect.signature(value).parameters)[1:]
                    assert any(takes(signature, 0, named) for signature in found[member]), (version, name, member)


@pytest.mark.parametrize("name", CUDA_PYTHON)
def test_cuda_python_has_what_is_asked_of_it(name: str) -> None:
    reader = uses(name, [ROOT / "runtime/cuda/cuda_python.py"], CUDA_VARIABLES)
    assert len({use.name for use in reader.uses}) > 30
    assert not [said for use in reader.uses if (said := use.wrong(description(name)))]
    stand_in = vars(cuda_python.runtime_api(Gpu()))
    assert {use.name for use in reader.uses if use.owner == MODULE} <= set(stand_in)


@pytest.mark.parametrize("name", CUDA_PYTHON)
def test_cuda_python_takes_the_arguments_and_says_that_there_is_no_driver(name: str) -> None:
    """Every call of `CudaPython`, in the real package."""
    folder = real(name)
    said = json.loads(
        _python(ROOT / "tests/helpers/bindings/call_cuda_python.py", PYTHONPATH=f"{ROOT / 'src'}:{folder}")
    )
    assert said.pop("open").startswith("CUDA: cuda-python finds no GPU with a driver here (")
    assert len(said) == 20
    expected = re.compile(r"EngineError: CUDA: cuda\w+ failed: CUDA driver version is insufficient.*")
    assert not {call: text for call, text in said.items() if not expected.fullmatch(text)}


def test_pycuda_has_what_is_asked_of_it() -> None:
    reader = uses("pycuda", [ROOT / "runtime/cuda/pycuda_driver.py"], PYCUDA_VARIABLES)
    assert len({use.name for use in reader.uses}) > 20
    assert not [said for use in reader.uses if (said := use.wrong(description("pycuda")))]
    stand_in = vars(pycuda_driver.driver(Gpu()))
    assert {use.name for use in reader.uses if use.owner == MODULE} <= set(stand_in)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("engine.get_tensor_nam(0)", "ICudaEngine has no get_tensor_nam"),
        ("engine.get_tensor_name()", "get_tensor_name takes"),
        ("engine.get_tensor_name(0, 1)", "get_tensor_name takes"),
        ("engine.get_tensor_name(number=0)", "get_tensor_name takes"),
        ("trt.Runtime()", "Runtime takes"),
        ("trt.TensorIOMode.INPUTS", "TensorIOMode has no INPUTS"),
        ("engine.create_execution_context().execute_async_v2(0)", "IExecutionContext has no execute_async_v2"),
        ("self._engine.create_execution_context(1, 2)", "create_execution_context takes"),
    ],
)
def test_a_wrong_use_is_found(source: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(source)
    found = [use.wrong(description("tensorrt-10.3")) for use in uses("tensorrt-10.3", [path], VARIABLES).uses]
    assert [message in said for said in found if said] == [True]


def test_an_object_that_nobody_knows_is_found(tmp_path: Path) -> None:
    path = tmp_path / "strange.py"
    path.write_text("what.get_tensor_shape('x')")
    assert uses("tensorrt-10.3", [path], VARIABLES).strange == ["strange.py:1: what.get_tensor_shape"]
