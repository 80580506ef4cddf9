"""Digests of exports and maps, to show that a refactoring changes neither files nor maps.

Every export of `cases` is written to a temporary folder under fixed names and run on two pictures. The result is one
JSON object with the SHA-256 of every file, raw map, normalised map and overlay. Two results are compared
entry by entry:

    python tests/export_digests.py --models MODELS --collect
    python tests/export_digests.py --models MODELS --out before.json
    python tests/export_digests.py --models MODELS --out after.json --compare before.json
    python tests/export_digests.py --out after.json --compare before.json

The first line fills the folder MODELS from the zoo and the tests' own networks; all later runs read the same files. The
last line compares two results without any export. Only public names of `aerocam.export` and `aerocam.runtime` are used,
so that the same script runs before and after modules are moved. ONNX Runtime and BLAS run on one thread for the maps.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")  # read when NumPy is imported

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnx_ir  # noqa: E402
import onnxruntime  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import aerocam  # noqa: E402
from aerocam.export import CAM_HEADS, export_model  # noqa: E402
from aerocam.runtime import (  # noqa: E402
    CAM_METHODS,
    FORWARD_METHODS,
    INPUT_METHODS,
    Explainer,
    open_session,
    read_picture,
)

TAIL_HEADS = ("ablationcam", "reciprocam")
"""Fused heads that run the part behind the layer; `aerocam.export` has no public table of them."""

HEADS = (*CAM_HEADS, *TAIL_HEADS)

PHOTOGRAPHS = {"lite0": "coffee", "ssdlite": "room", "yolov8n": "report", "ppocr": "report"}
"""The photograph, or page, per network, by the beginning of its name; all others get the first."""

RANDOM_SIZE = (240, 320)
"""(H, W) of the random picture in px, where the export does not fix the size of its frames."""

OCR_SHAPES = {
    "ppocr-v2-cls": (1, 3, 48, 192),
    "ppocr-v4-det": (1, 3, 320, 320),
    "ppocr-v4-rec": (1, 3, 48, 320),
    "ppocr-v6-det": (1, 3, 320, 320),
    "ppocr-v6-rec": (1, 3, 48, 320),
}
"""The static shape of the input `x` of each network that reads text."""

NETWORKS = (
    "lite0", "lite0-norms", "lite0-half-weights", "lite0-half", "lite0-int8-weights", "lite0-int8", "ssdlite",
    "yolov8n", "forward-network", "input-network", "relevance-network", "tensorflow-classifier",
    "tensorflow-segmenter", "tokens", "tiny-classes", "tiny-segments", "tiny-probabilities", "light_bvlc_alexnet",
    "light_densenet121", "light_inception_v1", "light_inception_v2", "light_resnet50", "light_shufflenet",
    "light_squeezenet", "light_vgg19", "light_zfnet512",
)  # fmt: skip
"""Networks that are exported without any argument."""

LAYOUTS = (
    "yolov8", "yolov8-last", "yolov5", "yolox", "yolox-decoded", "yolov10", "ssd", "retinanet", "retinanet-apart",
    "detr", "detr-softmax", "rtdetr", "rtdetr-finished", "rtdetr-beside",
)  # fmt: skip
"""Small detectors, one per layout of the outputs."""


@dataclass(frozen=True)
class Case:
    """One export and the maps that are made with it.

    Attributes:
        model: Name of the model's file in the folder, without its suffix.
        arguments: Keyword arguments of `export_model`.
        preprocess: What is changed in the preprocessing that `export_model` chooses by itself.
        methods: Methods of the runtime; None stands for the one that `Explainer` takes by itself.
        options: Further keyword arguments of `Explainer`.
        target: What is explained, as a call of an `Explainer` takes it.
    """

    model: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str | None, ...] = (None,)
    options: Mapping[str, Any] = field(default_factory=dict)
    target: Any = None


def cases() -> dict[str, Case]:
    """Return every case by its name."""
    families = (network_cases(), head_cases(), packaging_cases(), gradient_cases(), runtime_cases(), refusal_cases())
    named = list(itertools.chain.from_iterable(families))
    by_name = dict(named)
    assert len(by_name) == len(named), "two cases have one name"
    return by_name


def network_cases() -> Iterator[tuple[str, Case]]:
    """Yield every network at the layers that are taken by default, and some of them with a task or a layer given."""
    for name in NETWORKS:
        yield name, Case(name)
    for name, shape in OCR_SHAPES.items():
        task = "classify" if name.endswith("cls") else "segment"
        yield name, Case(name, {"input_shapes": {"x": shape}, "task": task})
    for layout in LAYOUTS:
        yield f"layout {layout}", Case(f"detector-{layout}", {"layers": "p0", "targets": 2}, target=[0, 1])
    own = {"short_side": 256, "interpolation": "cubic", "mean": (127.0,) * 3, "std": (128.0,) * 3}
    yield "lite0, own preprocessing and labels", Case("lite0", {"labels": [f"class {i}" for i in range(1000)]}, own)
    yield "lite0, regress", Case("lite0", {"task": "regress"})
    yield "lite0, embed", Case("lite0", {"task": "embed"})
    yield "tiny, regress", Case("tiny-classes", {"task": "regress", "targets": 2}, target=[1, 4])
    yield "tiny, embed", Case("tiny-classes", {"task": "embed"})
    yield "tiny, a pool by the third power", Case("tiny-power")
    yield "tiny, scalar", Case("tiny-scalar", {"task": "scalar"})
    yield "tiny, segment, head", Case("tiny-probabilities", {"head": "gradcam", "task": "segment"}, target=1)
    shapes = {"x": (1, 3, 40, 24)}
    yield "dynamic axes", Case("tiny-dynamic", {"input_shapes": shapes})
    yield "dynamic axes, split", Case("tiny-dynamic", {"input_shapes": shapes, "packaging": "split"})
    yield "sequence", Case("tiny-sequence")
    yield "sequence, head", Case("tiny-sequence", {"head": "gradcam"})
    yield "volume", Case("tiny-volume")
    yield "yolov8n, layer 9", Case("yolov8n", {"layers": "/model.9/cv1/act/Mul_output_0"})
    yield "ssdlite, one layer", Case("ssdlite", {"layers": "expanded_conv_13/expand/Relu6", "targets": 3})
    yield "yolov10, relevance", Case("detector-yolov10", {"relevance": True})
    yield "lite0, four layers", Case("lite0", {"layers": ["blocks.4/add", "blocks.10/*", "head/act", "images"]})


def head_cases() -> Iterator[tuple[str, Case]]:
    """Yield every fused head on three networks, and heads with what can be asked of them."""
    for head in HEADS:
        yield f"lite0, head {head}", Case("lite0", {"head": head})
        yield f"forward, head {head}", Case("forward-network", {"head": head, "layers": "features"})
        layer = "/model.21/cv2/act/Mul_output_0"
        yield f"yolov8n, head {head}", Case("yolov8n", {"head": head, "layers": layer})
        yield (
            f"forward, head {head}, three targets",
            Case("forward-network", {"head": head, "layers": "negative", "targets": 3}, target=[0, 2, 4]),
        )
        yield f"tiny, head {head}, eigen-smooth", Case("tiny-classes", {"head": head, "eigen_smooth": True})
    yield "lite0, head gradcam, eigen-smooth", Case("lite0", {"head": "gradcam", "eigen_smooth": True})
    for head in ("gradcam", "cfcam", "reciprocam"):
        tensors = {"head": head, "tensors": True}
        yield f"lite0, head {head}, tensors", Case("lite0", tensors, methods=(None, "hirescam"))
    for head in ("gradcam", "eigencam", "normgrad", "cfcam", "ablationcam"):
        yield f"tokens, head {head}", Case("tokens", {"head": head})
        yield f"tensorflow, head {head}", Case("tensorflow-classifier", {"head": head})
        yield f"ssdlite, head {head}", Case("ssdlite", {"head": head, "layers": "expanded_conv_13/expand/Relu6"})


def packaging_cases() -> Iterator[tuple[str, Case]]:
    """Yield split files, tails, fused ends, float16 and exports for TensorRT."""
    split: dict[str, Any] = {"packaging": "split"}
    tail = {**split, "batch": 8}
    forward = {"layers": "features"}
    yield "lite0, split", Case("lite0", split, target=17)
    yield "lite0, split, three targets", Case("lite0", {**split, "targets": 3}, target=[1, 2, 3])
    yield "lite0, split, head", Case("lite0", {**split, "head": "gradcam"})
    yield "lite0, split, relevance", Case("lite0", {**split, "relevance": True})
    yield "lite0, tail", Case("lite0", tail, methods=(None, "reciprocam"))
    yield "lite0, tail, head and tensors", Case("lite0", {**tail, "head": "gradcam", "tensors": True})
    yield "forward, split, two layers", Case("forward-network", {**split, "layers": ["features", "negative"]})
    yield "forward, tail", Case("forward-network", {**tail, **forward}, methods=(None, *FORWARD_METHODS))
    tails = {**tail, **forward, "targets": 2, "batch": 5}
    yield "forward, tail, two targets", Case("forward-network", tails, methods=("ablationcam",), target=[1, 3])
    yield "ssdlite, tail", Case("ssdlite", {**tail, "layers": "layer_19_2_Conv2d_3_3x3_s2_256/Relu6"})
    yield "yolov8n, split", Case("yolov8n", split)
    yield "yolov8n, tail", Case("yolov8n", {**tail, "layers": "/model.21/cv2/act/Mul_output_0"})
    yield "tokens, tail", Case("tokens", {**tail, "layers": "auto"}, methods=("ablationcam", "reciprocam"))
    small: dict[str, Any] = {"frame": (200, 300)}
    yield "lite0, frame", Case("lite0", small)
    yield "lite0, frame, float16", Case("lite0", {**small, "precision": "float16"})
    yield "lite0, frame, split", Case("lite0", {**small, **split})
    for form in ("raw", "layer", "frame"):
        drawn = {**small, "head": "gradcam", "map_form": form, "overlay": True}
        yield f"lite0, overlay, map {form}", Case("lite0", drawn)
        yield f"lite0, map {form}, no frame", Case("lite0", {"head": "cfcam", "map_form": form})
        if form != "raw":
            several = {**drawn, "targets": 2, "layers": "features"}
            yield f"forward, overlay, map {form}, two targets", Case("forward-network", several, target=[0, 1])
    for interpolation in ("nearest", "linear", "cubic", "area"):
        for resize in ("stretch", "crop", "letterbox"):
            rule = {"interpolation": interpolation, "resize": resize, "short_side": 30}
            drawn = {"frame": (61, 80), "head": "hirescam", "map_form": "frame", "overlay": True, "layers": "features"}
            yield f"forward, frame by {resize}, {interpolation}", Case("forward-network", drawn, rule)
    drawn = {"frame": (300, 400), "head": "hirescam", "map_form": "frame", "overlay": True}
    yield "yolov8n, overlay", Case("yolov8n", {**drawn, "layers": "/model.21/cv2/act/Mul_output_0"})
    yield "tensorflow, overlay", Case("tensorflow-classifier", {**drawn, "head": "gradcam"})
    half: dict[str, Any] = {"precision": "float16"}
    yield "lite0, float16", Case("lite0", half)
    yield "lite0, float16, head", Case("lite0", {**half, "head": "gradcam"})
    yield "lite0, float16, tail", Case("lite0", {**half, **tail})
    yield "ssdlite, float16", Case("ssdlite", half)
    yield "yolov8n, float16", Case("yolov8n", {**half, "layers": "/model.21/cv2/act/Mul_output_0"})
    device: dict[str, Any] = {"destination": "tensorrt"}
    yield "lite0, tensorrt", Case("lite0", device)
    yield "lite0, tensorrt, float16, head", Case("lite0", {**device, **half, "head": "gradcam"})
    yield "lite0, tensorrt, tail", Case("lite0", {**device, **tail})
    yield "lite0, tensorrt, overlay", Case("lite0", {**device, **small, "head": "gradcam", "overlay": True})
    yield "ssdlite, tensorrt", Case("ssdlite", device)
    yield "yolov8n, tensorrt, split", Case("yolov8n", {**device, **split})


def gradient_cases() -> Iterator[tuple[str, Case]]:
    """Yield guided gradients, relevance, contrasts and several targets."""
    for name in ("lite0", "input-network", "tokens"):
        guided = Case(name, {"guided": True}, methods=("guided_backprop", "guided_gradcam", "gradcam"))
        yield f"{name}, guided", guided
    yield (
        "input-network, guided at the input",
        Case("input-network", {"guided": True, "layers": "images"}, methods=("guided_backprop",)),
    )
    for name in ("lite0", "relevance-network", "tokens", "light_resnet50", "ppocr-v2-cls"):
        shapes = {"input_shapes": {"x": OCR_SHAPES[name]}} if name in OCR_SHAPES else {}
        yield f"{name}, relevance", Case(name, {"relevance": True, **shapes})
    yield (
        "relevance-network, relevance at the input",
        Case("relevance-network", {"relevance": True, "layers": "images"}),
    )
    yield "lite0, relevance, deep", Case("lite0", {"relevance": True, "layers": "blocks.4/add"})
    yield "ssdlite, relevance", Case("ssdlite", {"relevance": True, "layers": "expanded_conv_13/expand/Relu6"})
    yield "lite0, contrast", Case("lite0", {"contrast": "finer"}, methods=(None, "gradcam"))
    yield "lite0, contrast, head", Case("lite0", {"contrast": "finer", "head": "hirescam"})
    yield "input-network, contrast", Case("input-network", {"contrast": "finer"}, target=3)
    yield "lite0, five targets", Case("lite0", {"targets": 5}, target=[1, 10, 100, 500, 999])
    yield (
        "yolov8n, three targets",
        Case("yolov8n", {"targets": 3, "layers": "/model.21/cv2/act/Mul_output_0"}, target=[6, 9, (3, 21004)]),
    )
    for name, layer in (
        ("lite0", "blocks.4/add"), ("ssdlite", "expanded_conv_2/add"), ("light_bvlc_alexnet", "r1"),
        ("light_densenet121", "r660"), ("light_inception_v1", "r108"), ("light_inception_v2", "r365"),
        ("light_resnet50", "r139"), ("light_shufflenet", "r149"), ("light_squeezenet", "r31"), ("light_vgg19", "r27"),
    ):  # fmt: skip
        yield f"{name}, deep", Case(name, {"layers": layer})


def runtime_cases() -> Iterator[tuple[str, Case]]:
    """Yield exports on which the runtime has every method, and every way to explain."""
    base = tuple(method for method in CAM_METHODS if method != "relevance")
    yield "lite0, methods", Case("lite0", {"layers": "head/act"}, methods=(*base, "finercam"))
    yield "forward, methods", Case("forward-network", {"layers": "features"}, methods=(*base, "finercam"))
    unguided = tuple(method for method in INPUT_METHODS if not method.startswith("guided"))
    yield "forward, methods on the network", Case("forward-network", methods=("scorecam", "rise"))
    yield (
        "input-network, methods",
        Case("input-network", {"layers": ["images", "features"]}, methods=unguided),
    )
    yield (
        "lite0, methods at the input",
        Case("lite0", {"layers": "images"}, methods=("saliency", "integrated_gradients")),
    )
    layers = {"layers": ["features", "negative"], "targets": 2}
    for fusion in ("mean", "max", "product"):
        yield f"forward, fusion {fusion}", Case("forward-network", layers, options={"fusion": fusion}, target=[0, 1])
    against = {"counterfactual": True}
    yield (
        "forward, counterfactual",
        Case("forward-network", {"layers": "features"}, methods=("gradcam", "layercam"), options=against),
    )
    tail = {"layers": "features", "packaging": "split", "batch": 8}
    yield "forward, counterfactual, tail", Case("forward-network", tail, methods=("reciprocam",), options=against)
    patch = {"options": {"patch": 6}}
    yield "forward, option patch", Case("forward-network", methods=("occlusion",), options=patch)
    yield (
        "forward, counterfactual, head",
        Case("forward-network", {"layers": "features", "head": "gradcam"}, options=against),
    )
    yield (
        "input-network, option steps",
        Case(
            "input-network", {"layers": "images"}, methods=("integrated_gradients",), options={"options": {"steps": 7}}
        ),
    )


def refusal_cases() -> Iterator[tuple[str, Case]]:
    """Yield exports that are refused: their messages are kept, not their digests."""
    wrong: dict[str, dict[str, Any]] = {
        "no such head": {"head": "scorecam"},
        "a head at two layers": {"head": "gradcam", "layers": ["blocks.4/add", "blocks.10/add"]},
        "no such layer": {"layers": "block.4"},
        "batch without split": {"batch": 4},
        "batch without tensors": {"batch": 4, "packaging": "split", "head": "gradcam"},
        "batch of 0": {"batch": 0, "packaging": "split"},
        "overlay without frame": {"overlay": True, "head": "gradcam"},
        "map form without head": {"map_form": "layer"},
        "eigen-smooth without head": {"eigen_smooth": True},
        "nothing to emit": {"tensors": False},
        "no such output": {"score_output": "scores"},
        "no such layout": {"layout": "yolov99"},
        "no such destination": {"destination": "openvino"},
        "no such precision": {"precision": "float8"},
        "no targets": {"targets": 0},
        "labels that do not fit": {"labels": ["one", "two"]},
        "guided with a head": {"guided": True, "head": "gradcam"},
        "guided with relevance": {"guided": True, "relevance": True},
        "shape of no input": {"input_shapes": {"pictures": (1, 3, 224, 224)}},
    }
    for name, arguments in wrong.items():
        yield f"refused: {name}", Case("lite0", arguments)
    yield "refused: dynamic without shapes", Case("tiny-dynamic")
    yield "refused: a pool by the third power, tensorrt", Case("tiny-power", {"destination": "tensorrt"})


def collect(models: Path) -> None:
    """Fill a folder with plain models and photographs: of the zoo, of the tests, and small ones made here."""
    import detector_cases
    from aerocam.benchmarks import zoo
    from vision_transformer import vision_transformer

    models.mkdir(parents=True, exist_ok=True)
    files = {"lite0": zoo.lite0.model(), "ssdlite": zoo.ssdlite.model(), "yolov8n": zoo.yolov8n_doclaynet()}
    files |= {f"lite0-{variant}": zoo.lite0.model(variant=variant) for variant in zoo.lite0.VARIANTS}
    files |= {name: zoo.ocr_model(name) for name in OCR_SHAPES}
    golden = Path(__file__).parent / "golden"
    files |= {f"{path.parent.name}-{path.stem}": path for path in sorted(golden.glob("*/*.onnx"))}
    for name, path in files.items():
        shutil.copyfile(path, models / f"{name}.onnx")
    made = {name: zoo.light.with_random_weights(name) for name in zoo.light.LIGHT_NAMES}
    made |= {f"detector-{name}": case.file() for name, case in detector_cases.CASES.items()}
    made |= {"tokens": vision_transformer(), **small_networks()}
    for name, proto in made.items():
        onnx.save(proto, models / f"{name}.onnx")
    for name in ("coffee", "room"):
        shutil.copyfile(zoo.photograph_file(name), (models / name).with_suffix(zoo.photograph_file(name).suffix))
    cv2.imwrite(str(models / "report.png"), zoo.page("report"))


def small_networks() -> dict[str, onnx.ModelProto]:
    """Return networks of two convolutions with seeded weights, by name."""
    power = small_network((1, 3, 24, 24), 5)  # TensorRT takes no such pool
    power.graph.node[2].input[0] = "p0"
    power.graph.node.insert(2, helper.make_node("LpPool", ["r0"], ["p0"], "p0", kernel_shape=[2, 2], p=3))
    return {
        "tiny-power": power,
        "tiny-classes": small_network((1, 3, 24, 24), 5),
        "tiny-dynamic": small_network(("n", 3, "h", "w"), 5),
        "tiny-scalar": small_network((1, 3, 24, 24), 1),
        "tiny-sequence": small_network((1, 2, 40), 4),
        "tiny-volume": small_network((1, 1, 8, 10, 12), 3),
        "tiny-segments": small_network((1, 3, 24, 24), 4, pooled=False),
        "tiny-probabilities": small_network((1, 3, 24, 24), 3, pooled=False, softmax=True),
    }


def small_network(
    shape: tuple[int | str, ...], scores: int, pooled: bool = True, softmax: bool = False
) -> onnx.ModelProto:
    """Return a network from `x` of this shape to `y`, (1, scores), or scores at every position where not `pooled`."""
    rng, spatial = np.random.default_rng(len(shape)), len(shape) - 2
    sizes = {
        "k0": (6, shape[1], *(3,) * spatial), "b0": (6,), "k1": (8, 6, *(3,) * spatial), "b1": (8,),
        **({"w": (scores, 8)} if pooled else {"w": (scores, 8, *(1,) * spatial)}),
    }  # fmt: skip
    weights = [numpy_helper.from_array(rng.normal(0, 0.4, n).astype(np.float32), name) for name, n in sizes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "k0", "b0"], ["c0"], "c0", pads=[1] * 2 * spatial),
        helper.make_node("Relu", ["c0"], ["r0"], "r0"),
        helper.make_node("Conv", ["r0", "k1", "b1"], ["c1"], "c1", pads=[1] * 2 * spatial),
        helper.make_node("Relu", ["c1"], ["features"], "features"),
    ]
    if pooled:
        nodes += [
            helper.make_node("GlobalAveragePool", ["features"], ["pooled"], "pooled"),
            helper.make_node("Flatten", ["pooled"], ["flat"], "flat"),
            helper.make_node("Gemm", ["flat", "w"], ["y"], "y", transB=1),
        ]
    elif softmax:
        nodes.append(helper.make_node("Conv", ["features", "w"], ["logits"], "logits"))
        nodes.append(helper.make_node("Softmax", ["logits"], ["y"], "y", axis=1))
    else:
        nodes.append(helper.make_node("Conv", ["features", "w"], ["y"], "y"))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "small", [given], [helper.make_empty_tensor_value_info("y")], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def digests(models: Path) -> dict[str, Any]:
    """Make every export, and return what is compared: the environment, the models, and each case's digests."""
    print(f"aerocam: {Path(aerocam.__file__).parent}", file=sys.stderr)
    packages = (aerocam, cv2, np, onnx, onnx_ir, onnxruntime)
    result: dict[str, Any] = {"environment": {package.__name__: package.__version__ for package in packages}}
    wanted = cases()
    used = sorted({case.model for case in wanted.values()})
    result["models"] = {name: sha256((models / f"{name}.onnx").read_bytes()) for name in used}
    result["exports"] = {}
    for number, (name, case) in enumerate(wanted.items(), 1):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="aerocam-digests-") as folder:
            result["exports"][name] = row = digest(case, models, Path(folder))
        refused = "" if "error" not in row else f"  {row['error']['kind']}: {row['error']['text']}"
        spent = time.perf_counter() - start
        print(f"{number}/{len(wanted)} {spent:5.1f} s  {name}{refused}", file=sys.stderr, flush=True)
    return result


def digest(case: Case, models: Path, folder: Path) -> dict[str, Any]:
    """Return the digests of one case's files and maps, or the error that it ends with."""
    model, output = models / f"{case.model}.onnx", folder / "model.cam.onnx"
    arguments = dict(case.arguments)
    hidden = {f"{folder}{os.sep}": "", f"{models}{os.sep}": ""}
    try:
        if case.preprocess:
            plain = export_model(model, output, check=False, input_shapes=arguments.get("input_shapes"))
            assert plain.manifest.preprocess is not None
            arguments["preprocess"] = dataclasses.replace(plain.manifest.preprocess, **case.preprocess)
            output.unlink()
        done = export_model(model, output, **arguments)
    except Exception as error:  # the refusal is what is recorded
        return {"error": described(error, hidden)}
    row = {
        "checked": done.report is not None,
        "files": {path.name: sha256(path.read_bytes()) for path in sorted(folder.iterdir())},
    }
    if done.manifest.preprocess is None:
        return {**row, "outputs": outputs(output)}
    return {**row, "maps": {method or "default": maps(case, method, output, models, hidden) for method in case.methods}}


def outputs(path: Path) -> dict[str, str]:
    """Return the digest of every output of an exported file that takes no frames, on random inputs."""
    rng = np.random.default_rng(0)
    with open_session(path, threads=1) as session:
        feeds = {
            spec.name: rng.standard_normal(spec.shape).astype(spec.dtype)
            if spec.dtype == np.float32
            else np.full(spec.shape, -1, spec.dtype)
            for spec in session.inputs
        }
        return {name: sha256_of(array) for name, array in session.run(feeds).items()}


def maps(case: Case, method: str | None, output: Path, models: Path, hidden: Mapping[str, str]) -> dict[str, Any]:
    """Return the digests of what one method gives on both pictures, or the error that it ends with."""
    found = {}
    try:
        with Explainer(output, method=method, threads=1, **case.options) as explainer:
            for name, picture in pictures(case, models).items():
                if case.arguments.get("task") == "embed":
                    explainer.compare_with(np.ascontiguousarray(picture[:, ::-1]))
                shown = explainer(picture, case.target)
                found[name] = {
                    "raws": [sha256_of(raw) for raw in shown.raws],
                    "map": sha256_of(shown.map),
                    "overlay": sha256_of(shown.overlay(caption=False)),
                    "masks": [sha256_of(mask) for mask in shown.masks],
                    "targets": [f"{target.label}: {float(target.score)!r}" for target in shown.targets],
                }
    except Exception as error:  # the refusal is what is recorded
        return {"error": described(error, hidden)}
    return found


def pictures(case: Case, models: Path) -> dict[str, NDArray[np.uint8]]:
    """Return the random picture and the photograph, uint8 (H, W, 3), each of the frame's size where that is fixed."""
    height, width = case.arguments.get("frame", RANDOM_SIZE)
    random = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    network = next((name for name in PHOTOGRAPHS if case.model.startswith(name)), "lite0")
    (path,) = (path for path in models.glob(f"{PHOTOGRAPHS[network]}.*") if path.suffix in (".png", ".jpg"))
    photograph = read_picture(path)
    if "frame" in case.arguments:
        photograph = np.ascontiguousarray(photograph[:height, :width])
    return {"random": random, path.stem: photograph}


def described(error: Exception, hidden: Mapping[str, str]) -> dict[str, str]:
    """Return an error's kind and text, without the paths of folders that differ from run to run."""
    text = str(error)
    for path, shown in hidden.items():
        text = text.replace(path, shown)
    return {"kind": type(error).__name__, "text": text}


def sha256(content: bytes) -> str:
    """Return the digest of bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(array: NDArray[Any]) -> str:
    """Return the type and shape of an array and the digest of its bytes."""
    return f"{array.dtype} {array.shape} {sha256(np.ascontiguousarray(array).tobytes())}"


def leaves(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield everything in nested dictionaries that is none itself, with its keys."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*place, key))
    else:
        yield place, value


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    """Print every difference and return their number; those of versions and of error texts do not count."""
    old, new = (dict(leaves(result)) for result in (before, after))
    texts = counted = 0
    for place in dict.fromkeys([*old, *new]):
        one, other = old.get(place, "absent"), new.get(place, "absent")
        if one == other:
            continue
        if place[-1] == "text" and place in old and place in new:
            texts += 1
            print(f"{' > '.join(place)}: text differs\n  before: {one}\n  after:  {other}")
        elif place[0] == "environment":
            print(f"{' > '.join(place)}: version differs\n  before: {one}\n  after:  {other}")
        else:
            counted += 1
            print(f"{' > '.join(place)}: differs\n  before: {one}\n  after:  {other}")
    exports = len(set(before["exports"]) | set(after["exports"]))
    print(f"{exports} exports: {counted} differences, {texts} error texts that differ")
    return counted


def main() -> int:
    """Collect models, make digests or compare them, as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, metavar="DIR", help="folder with the plain models; absent: only compare")
    parser.add_argument("--collect", action="store_true", help="fill that folder, and do nothing else")
    parser.add_argument("--out", type=Path, metavar="JSON", help="the result: written, or without --models read")
    parser.add_argument("--compare", type=Path, metavar="JSON", help="an earlier result to compare with")
    args = parser.parse_args()
    if args.collect and args.models:
        collect(args.models)
        return 0
    if args.collect or args.out is None or (args.models is None and args.compare is None):
        parser.error("give --models with --collect or --out, or --out with --compare")
    if args.models is not None:
        result = digests(args.models.resolve())
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        rows = result["exports"].values()
        print(f"{len(rows)} exports, {sum('error' in row for row in rows)} of them refused")
    else:
        result = json.loads(args.out.read_text(encoding="utf-8"))
    if args.compare is None:
        return 0
    return min(compare(json.loads(args.compare.read_text(encoding="utf-8")), result), 99)


if __name__ == "__main__":
    sys.exit(main())
