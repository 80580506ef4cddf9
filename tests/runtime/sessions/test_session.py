"""Sessions: what is given in and out, and every way in which a model file or a call can be wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from aerocam import manifest
from aerocam.errors import EngineError, ManifestError, ModelError, UsageError
from aerocam.runtime.sessions.opening import open_session
from aerocam.runtime.sessions.session import TensorSpec, check_feeds
from runtime_fixtures import run_python
from tiny_models import model

pytestmark = pytest.mark.runtime

IMAGES = np.zeros((1, 3, 32, 48), np.float32)
TARGET = np.array([-1], np.int32)
FEEDS = {"images": IMAGES, manifest.TARGET: TARGET}


def test_onnx_runtime_writes_into_the_same_arrays() -> None:
    with open_session(model("stretch"), threads=1) as session:
        first, second, third = (session.run(FEEDS, ["A", "G"])["A"] for _ in range(3))
    assert first is second is third


def test_free_dimensions_take_any_size() -> None:
    spec = TensorSpec("x", (1, None, "width"), np.dtype(np.float32))
    check_feeds({"x": np.zeros((1, 7, 9), np.float32)}, [spec])
    assert str(spec) == "float32 (1, ?, width)"
    with pytest.raises(UsageError, match="expected float32"):
        check_feeds({"x": np.zeros((2, 7, 9), np.float32)}, [spec])
    assert not spec.fixed
    assert not TensorSpec("x", (1,), np.dtype(object)).fixed
    assert TensorSpec("x", (1, 7), np.dtype(np.float32)).fixed


def test_unknown_provider_lists_the_available_ones() -> None:
    with pytest.raises(UsageError, match=r"'CPUExecutionProvidr' is not in .* available here: .*CPUExecutionProvider"):
        open_session(model("stretch"), providers=["CPUExecutionProvidr"])
    with pytest.raises(UsageError, match="Did you mean 'CPUExecutionProvider'"):
        open_session(model("stretch"), providers=["CPUExecutionProvidr"])
    with pytest.raises(UsageError, match="none were named"):
        open_session(model("stretch"), providers=[])


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_onnx_runtime_drops_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from aerocam.runtime.sessions import ort

    names = ["MIGraphXExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort.onnxruntime, "get_available_providers", lambda: names)
    with pytest.raises(ModelError, match="did not start MIGraphXExecutionProvider"):
        open_session(model("stretch"), providers=names)


def test_threads_are_passed_on() -> None:
    with open_session(model("stretch"), threads=1) as session:
        options = session._session.get_session_options()  # type: ignore[attr-defined]
        assert options.intra_op_num_threads == 1
    with pytest.raises(UsageError, match="`threads=0`: expected 1 or more"):
        open_session(model("stretch"), threads=0)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("absent.onnx", ModelError, "there is no such file"),
        ("engine.engine", EngineError, "there is no such file, expected an engine written by `aerocam build`"),
        ("model.pt", UsageError, "found the suffix '.pt', expected .onnx, or .engine, .plan, .trt of TensorRT"),
        ("text.onnx", ModelError, "cannot load it, is it a whole ONNX file"),
        ("empty.onnx", ModelError, "cannot load it, is it a whole ONNX file"),
        ("half.onnx", ModelError, "cannot load it, is it a whole ONNX file"),
        ("folder.onnx", ModelError, "there is no such file"),
    ],
)
def test_a_file_that_is_no_model(
    name: str, kind: type[Exception], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.onnx").write_text("this is not a model\n" * 50)
    (tmp_path / "empty.onnx").write_bytes(b"")
    whole = model("stretch").read_bytes()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(kind, match=message) as caught:
        open_session(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_model_without_manifest_names_the_command() -> None:
    with pytest.raises(ManifestError, match=r"no aerocam manifest.*run: aerocam export .*no_manifest\.onnx"):
        open_session(model("no_manifest"))


def test_a_manifest_of_another_schema_is_refused(tmp_path: Path) -> None:
    content = model("stretch").read_bytes()
    assert content.count(b'"schema": 2') == 1
    path = tmp_path / "later.onnx"
    path.write_bytes(content.replace(b'"schema": 2', b'"schema": 7'))
    with pytest.raises(ManifestError, match=r"later\.onnx: manifest schema 7"):
        open_session(path)


def test_the_model_file_is_free_once_loaded(tmp_path: Path) -> None:
    path = Path(shutil.copy(model("stretch"), tmp_path / "copy.onnx"))
    with open_session(path) as session:
        path.unlink()
        assert session.run(FEEDS, [manifest.SCORE])[manifest.SCORE] == 0


HEAVY = ["onnx", "onnx_ir", "onnxscript", "onnxruntime", "tensorrt", "sklearn", "scipy", "torch", "cv2", "av"]


def test_importing_the_runtime_loads_nothing_heavy() -> None:
    code = f"import sys, aerocam.runtime; print([name for name in {HEAVY} if name in sys.modules])"
    assert run_python(code).stdout == "[]\n"


def test_every_public_name_is_there() -> None:
    code = (
        "import aerocam.runtime as runtime\n"
        "for name in runtime.__all__: assert callable(getattr(runtime, name)) or name.endswith('_METHODS'), name\n"
        "print(dir(runtime) == runtime.__all__, hasattr(runtime, 'nothing'))"
    )
    done = run_python(code)
    assert (done.stdout, done.stderr) == ("True False\n", "")


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("cv2", "VideoSource", "aerocam[cv]"), ("onnxruntime", "open_session", "aerocam[ort]")],
)
def test_a_missing_package_is_named_with_its_command(module: str, name: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules['{module}'] = None\n"
        "import aerocam.errors, aerocam.runtime as runtime\n"
        f"try: runtime.{name}('model.onnx')\n"
        "except aerocam.errors.MissingDependencyError as error: print(error)"
    )
    assert f"pip install '{extra}'" in run_python(code).stdout
