"""Sessions: what is given in and out, and every way in which a model file or a call can be wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from aerocam import manifest
from aerocam.errors import ManifestError, ModelError, UsageError
from aerocam.runtime.session import TensorSpec, check_feeds, open_session
from runtime_fixtures import run_python
from tiny_models import model

pytestmark = pytest.mark.runtime

IMAGES = np.zeros((1, 3, 32, 48), np.float32)
TARGET = np.array([-1], np.int32)
FEEDS = {"images": IMAGES, manifest.TARGET: TARGET}


def test_inputs_outputs_and_manifest() -> None:
    with open_session(model("stretch")) as session:
        assert session.inputs == (
            TensorSpec("images", (1, 3, 32, 48), np.dtype(np.float32)),
            TensorSpec(manifest.TARGET, (1,), np.dtype(np.int32)),
        )
        assert [spec.name for spec in session.outputs] == ["logits", manifest.CHOSEN, manifest.SCORE, "A", "G"]
        assert session.manifest.labels == ("red", "green", "blue", "darkness")
        assert session.path == str(model("stretch"))


def test_run_gives_all_outputs_or_those_asked_for() -> None:
    images = np.full_like(IMAGES, 0.5)
    images[:, 2] = 0.75
    with open_session(model("stretch"), threads=1) as session:
        everything = session.run({"images": images, manifest.TARGET: TARGET})
        assert list(everything) == ["logits", manifest.CHOSEN, manifest.SCORE, "A", "G"]
        np.testing.assert_allclose(everything["logits"], [[0.5, 0.5, 0.75, -1.75]], atol=1e-6)
        np.testing.assert_allclose(everything["G"][0, :, 0, 0], [0, 0, 1 / 96], atol=1e-8)
        two = session.run({"images": images, manifest.TARGET: TARGET}, ["A", manifest.CHOSEN])
        assert list(two) == ["A", manifest.CHOSEN]
        assert two[manifest.CHOSEN] == 2


def test_every_run_reads_its_inputs_anew_and_may_reuse_its_outputs() -> None:
    """Whatever is given: the same array with other values, another array, one that is not contiguous, other outputs."""
    rng = np.random.default_rng(0)
    same, names = IMAGES.copy(), ["logits", "A", manifest.CHOSEN]
    base = rng.random((1, 32, 48, 3), np.float32)
    turned = base.transpose(0, 3, 1, 2)
    one, two = np.array([1], np.int32), np.array([2], np.int32)
    with open_session(model("stretch"), threads=1) as session:

        def found(images: np.ndarray, target: np.ndarray, outputs: list[str]) -> dict[str, np.ndarray]:
            return {
                name: array.copy()
                for name, array in session.run({"images": images, manifest.TARGET: target}, outputs).items()
            }

        def expected(images: np.ndarray, target: np.ndarray, outputs: list[str]) -> dict[str, np.ndarray]:
            with open_session(model("stretch"), threads=1) as fresh:
                return fresh.run({"images": images.copy(), manifest.TARGET: target.copy()}, outputs)

        for images, target, outputs in [
            *((same, one, names) for _ in range(3)),
            (same, two, names),
            (rng.random(IMAGES.shape, np.float32), one, names),
            *((turned, one, names) for _ in range(3)),
            (same, one, ["G"]),
            (same, one, names),
            (same, one, names),
        ]:
            same[:] = rng.random(IMAGES.shape, np.float32)
            base[:] = rng.random(base.shape, np.float32)
            result, wanted = found(images, target, outputs), expected(images, target, outputs)
            assert list(result) == outputs
            for name in outputs:
                np.testing.assert_array_equal(result[name], wanted[name], name)
        first, second = (session.run({"images": same, manifest.TARGET: one}, names)["A"] for _ in range(2))
        assert first is second


def test_a_wrong_feed_is_named_after_a_right_one_too() -> None:
    with open_session(model("stretch")) as session:
        for _ in range(2):
            session.run(FEEDS)
        with pytest.raises(UsageError, match=r"got float64 \(1, 3, 32, 48\)"):
            session.run({**FEEDS, "images": IMAGES.astype(float)})
        with pytest.raises(UsageError, match="no such input"):
            session.run({**FEEDS, "more": IMAGES})
        with pytest.raises(UsageError, match="input 'aerocam_target': nothing"):
            session.run({"images": IMAGES})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"images": np.zeros((1, 3, 480, 640))},
            "input 'images': got float64 (1, 3, 480, 640), expected float32 (1, 3, 32, 48)",
        ),
        (
            {"images": IMAGES.astype(np.uint8)},
            "input 'images': got uint8 (1, 3, 32, 48), expected float32 (1, 3, 32, 48)",
        ),
        ({"images": IMAGES[0]}, "input 'images': got float32 (3, 32, 48), expected float32 (1, 3, 32, 48)"),
        ({"imges": IMAGES}, "input 'imges': the model has no such input. Did you mean 'images'?"),
        ({manifest.TARGET: np.array([0])}, "input 'aerocam_target': got int64 (1,), expected int32 (1)"),
    ],
)
def test_a_wrong_feed_is_named(changed: dict[str, np.ndarray], message: str) -> None:
    with open_session(model("stretch")) as session, pytest.raises(UsageError) as caught:
        session.run({**FEEDS, **changed})
    assert str(caught.value) == message


def test_a_missing_feed_is_named() -> None:
    with open_session(model("stretch")) as session, pytest.raises(UsageError, match="input 'aerocam_target': nothing"):
        session.run({"images": IMAGES})


def test_free_dimensions_take_any_size() -> None:
    spec = TensorSpec("x", (1, None, "width"), np.dtype(np.float32))
    check_feeds({"x": np.zeros((1, 7, 9), np.float32)}, [spec])
    assert str(spec) == "float32 (1, ?, width)"
    with pytest.raises(UsageError, match="expected float32"):
        check_feeds({"x": np.zeros((2, 7, 9), np.float32)}, [spec])
    assert not spec.fixed
    assert not TensorSpec("x", (1,), np.dtype(object)).fixed
    assert TensorSpec("x", (1, 7), np.dtype(np.float32)).fixed


def test_a_closed_session_says_so() -> None:
    session = open_session(model("stretch"))
    session.close()
    with pytest.raises(UsageError, match="the session is closed"):
        session.run(FEEDS)


def test_unknown_provider_lists_the_available_ones() -> None:
    with pytest.raises(UsageError, match=r"'CPUExecutionProvidr' is not in .* available here: .*CPUExecutionProvider"):
        open_session(model("stretch"), providers=["CPUExecutionProvidr"])
    with pytest.raises(UsageError, match="Did you mean 'CPUExecutionProvider'"):
        open_session(model("stretch"), providers=["CPUExecutionProvidr"])
    with pytest.raises(UsageError, match="none were named"):
        open_session(model("stretch"), providers=[])


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_onnx_runtime_drops_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from aerocam.runtime import ort

    names = ["MIGraphXExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort.onnxruntime, "get_available_providers", lambda: names)
    with pytest.raises(ModelError, match="did not start MIGraphXExecutionProvider"):
        open_session(model("stretch"), providers=names)


def test_threads_are_passed_on() -> None:
    with open_session(model("stretch"), threads=1) as session:
        options = session._session.get_session_options()  # type: ignore[attr-defined]
        assert options.intra_op_num_threads == 1
    with pytest.raises(UsageError, match="threads: got 0, expected 1 or more"):
        open_session(model("stretch"), threads=0)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("absent.onnx", ModelError, "there is no such file"),
        ("engine.engine", UsageError, "TensorRT engines come with a later release"),
        ("model.pt", UsageError, "found the suffix '.pt', expected .onnx"),
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
    assert content.count(b'"schema": 1') == 1
    path = tmp_path / "later.onnx"
    path.write_bytes(content.replace(b'"schema": 1', b'"schema": 7'))
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
