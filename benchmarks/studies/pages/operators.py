"""The page docs/operators.md: what happens to each operator, read from the tables of the adjoint rules.

`python -m aerocam.benchmarks.studies.pages.operators FILE` writes it, as `make docs` does.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

from aerocam.errors import UsageError
from aerocam.export.destinations.node_forms import Form
from aerocam.export.destinations.tensorrt import FORMS as TENSORRT_FORMS
from aerocam.export.gradients.adjoints import ADJOINTS, NO_GRADIENT
from aerocam.export.gradients.adjoints.registry import REFUSED
from aerocam.export.gradients.relevance import WITHOUT_RULE
from aerocam.export.reading.functions import SPELLED_OUT
from aerocam.export.reading.spelled_out import SPELLINGS
from aerocam.files import write_together

NEWEST_OPSET = 28
"""Newest opset of the default domain whose operators the tables cover."""

RENAMED = {"Scatter": "ScatterElements", "Upsample": "Resize"}
"""Operators that ONNX has given up, and what they become on reading."""

SIMPLER = SPELLINGS.keys() - ADJOINTS.keys() | SPELLED_OUT - {"FlexAttention"}  # which is of a domain of its own
"""Operators of the default domain that are written as simpler ones on reading."""

_REDUCTIONS = "axes computed at run time"
_SCATTERS = "the reduction mul"
_BLOCKS = "scales per block"

REFUSED_FORMS: dict[str, str] = {
    "Attention": "a mask for fewer keys than there are",
    "BatchNormalization": "the training mode",
    "DequantizeLinear": _BLOCKS,
    "DeformConv": "other than two spatial axes",
    "Einsum": "an index twice in one operand, an index with two sizes",
    "LayerNormalization": "a score that reads the outputs Mean or InvStdDev",
    "Pad": "pads or axes computed at run time",
    "QLinearMatMul": "results in float8",
    "QuantizeLinear": f"{_BLOCKS}, results other than integers of 4, 8 or 16 bits",
    "Resize": "a part or scales computed at run time, computed sizes that keep the aspect ratio",
    "RoiAlign": "mode max, sampling_ratio 0 with regions computed at run time",
    "ScatterElements": _SCATTERS,
    "ScatterND": _SCATTERS,
    "Slice": "bounds computed at run time",
    **dict.fromkeys(sorted(name for name in ADJOINTS if name.startswith("Reduce")), _REDUCTIONS),
}
"""Operators with a rule, and the forms of them that the rule refuses by name."""

OUTPUTS = "[outputs](../tests/export/test_real_outputs.py)"
GRADIENTS = "[gradients](../tests/export/gradients/test_real_gradients.py)"
CHANNELS_LAST = "[test_channels_last.py](../tests/export/test_channels_last.py)"
KINDS = "[test_kinds.py](../tests/export/layers/test_kinds.py)"
RULES = "[test_adjoints.py](../tests/export/gradients/test_adjoints.py)"

FAMILIES: list[tuple[str, str, str]] = [
    (
        "CNN classifiers",
        "spatial (N, C, H, W)",
        f"EfficientNet-Lite0 with its ImageNet weights, also in float16; PaddleOCR's text direction classifier with its"
        f" weights; AlexNet, DenseNet-121, Inception v1 and v2, ResNet-50, ShuffleNet, SqueezeNet, VGG-19 and ZFNet-512"
        f" with random weights: {OUTPUTS} kept, {GRADIENTS} against finite differences (float16: by the self-check)",
    ),
    (
        "Transformers (ViT, Swin)",
        "tokens, folded to the grid they come from; class and register tokens are cut off",
        f"one block with attention, made for the test, with a class token and with the mean of all tokens: {KINDS}; the"
        " axes of windows as in Swin: [test_layout.py](../tests/export/tracing/test_layout.py). Whole ones in the"
        " comparison with PyTorch",
    ),
    (
        "Detectors",
        "spatial, the head's inputs at all scales",
        f"YOLOv8n for document layout and SSDLite-MobileNetV2 for persons with their weights: {OUTPUTS} kept,"
        f" {GRADIENTS} against finite differences (SSDLite's of the mean logit over all anchors); boxes, their anchors"
        " and their maps: [test_real_detectors.py](../tests/export/scores/test_real_detectors.py)",
    ),
    (
        "TensorFlow and Keras, through tf2onnx",
        "spatial, with Transposes inside; the picture itself may be (1, H, W, C)",
        "a classifier and a segmenter with random weights: gradients at nine layers and the input against TensorFlow's;"
        f" a graph of that form against its twin with channels first: {CHANNELS_LAST}",
    ),
    (
        "Segmenters and readers of text",
        "spatial, the last features before the class maps; a sequence of columns",
        f"PaddleOCR's text detectors and readers with their weights: {OUTPUTS} kept, gradients by the self-check; the"
        " score's arithmetic: [test_segmentation.py](../tests/export/scores/test_segmentation.py)",
    ),
    (
        "1-D and 3-D networks",
        "sequence and volume",
        f"one convolution, made for the test, each: {KINDS}; whole ones in the comparison with PyTorch. The"
        " runtime's frames and overlays are"
        " for pictures; the methods take these layers as they come from `open_session`",
    ),
    (
        "Quantised",
        "as the network without quantisation",
        f"EfficientNet-Lite0 with its kernels in int8, and with its activations too: {OUTPUTS} kept, gradients by the"
        " self-check as far as nothing is rounded; QuantizeLinear, DequantizeLinear, QLinearConv and QLinearMatMul one"
        f" by one against NumPy: {RULES}",
    ),
]
"""Family, kind of its layers, and what the tests in the repository run."""


def page() -> str:
    """Return the whole page, Markdown."""
    names = sorted({*ADJOINTS, *NO_GRADIENT, *SIMPLER, *REFUSED}, key=lambda name: ("." in name, name))
    rules, none, simpler, refused = map(_count, (ADJOINTS, NO_GRADIENT, SIMPLER, REFUSED.keys() - SIMPLER))
    return "\n".join(
        [
            "# Operators and model families",
            "",
            "<!-- Written by `make docs` from export/gradients and its page in benchmarks/studies; change those. -->",
            "",
            f"ONNX's default domain up to opset {NEWEST_OPSET} has {rules + none + simpler + refused} operators:"
            f" {rules} with an adjoint rule, {none} without a gradient, {simpler} that become simpler ones, {refused}"
            " refused.",
            "",
            "What is asked of an operator concerns only those between the target layer and the score. There",
            "",
            "- **rule**: it is differentiated. Some forms may be refused, by name;",
            "- **no gradient**: its derivative is zero wherever it exists, so nothing flows back through it;",
            "- **simpler**: it is written as simpler operators on reading, wherever it is, and these have rules;",
            "- **refused**: the export ends with an error that names node and operator, this reason and a layer behind"
            " it.",
            "",
            "Before that, functions are inlined and constants are folded, also an If with a constant condition."
            f" Operators that ONNX has given up are read as their successors: {_successors()}.",
            "",
            "Relevance (`--relevance`) has a rule for every operator with an adjoint rule, but for these, which it"
            f" refuses by name. {_without_relevance()}.",
            "",
            "## Operators",
            "",
            "| operator | | |",
            "| --- | --- | --- |",
            *map(_row, names),
            "",
            "## TensorRT",
            "",
            "`aerocam export --for tensorrt` refuses these forms by name, wherever in the graph they are, also in the"
            " model's own part. TensorRT for RTX 1.7.1 parses and builds the graph of every test of an adjoint rule;"
            " what it refuses is refused here, and nothing else:"
            " [test_tensorrt_forms.py](../tests/export/destinations/test_tensorrt_forms.py). What a rule appends is"
            " taken wherever the operator itself is, but for gradients by indices that are computed (Gather,"
            " GatherElements, GatherND, GridSample, RoiAlign, DeformConv) over more products than the rules write out:"
            " those take a ScatterElements that adds.",
            "",
            "| operator | form | refused by | instead, where the model itself has it |",
            "| --- | --- | --- | --- |",
            *(_tensorrt_row(form) for form in TENSORRT_FORMS if not form.only),
            "",
            "Some versions alone refuse the following, as far as the sources of their parsers and TensorRT for RTX say;"
            " the export warns of them.",
            "",
            "| operator | form | refused by | instead |",
            "| --- | --- | --- | --- |",
            *(_tensorrt_row(form) for form in TENSORRT_FORMS if form.only),
            "",
            "## Model families",
            "",
            "What the tests run, and no more. More networks, against other implementations: [crosscheck.md]"
            "(crosscheck.md).",
            "",
            "| family | layers | what was run |",
            "| --- | --- | --- |",
            *(f"| {' | '.join(cells)} |" for cells in FAMILIES),
            "",
        ]
    )


def _count(names: Iterable[str]) -> int:
    """Count the operators of the default domain."""
    return sum("." not in name for name in names)


def _successors() -> str:
    return ", ".join(f"{old} as {new}" for old, new in RENAMED.items())


def _without_relevance() -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in WITHOUT_RULE.items())


def _tensorrt_row(form: Form) -> str:
    operators = ", ".join(form.operators) or "any"
    return f"| {operators} | {form.form} | {form.only or f'the {form.stage}'} | {_sentence(form.instead)[:-1]} |"


def _row(name: str) -> str:
    if name in NO_GRADIENT:
        return f"| {name} | no gradient | |"
    if name in SIMPLER:
        return f"| {name} | simpler | {_simpler(name)} |"
    if name in REFUSED:
        return f"| {name} | refused | {_sentence(REFUSED[name])} |"
    text = (inspect.getdoc(ADJOINTS[name]) or "").splitlines()[0].replace("|", r"\|")
    if name in REFUSED_FORMS:
        text += f" Refused: {REFUSED_FORMS[name]}."
    if name == "Attention":
        text += " With a past, lengths of keys, softcap, a window or further outputs it becomes ONNX's own definition."
    return f"| {name} | rule | {text} |"


def _simpler(name: str) -> str:
    if name not in SPELLINGS:
        return "By ONNX's own definition."
    text = (inspect.getdoc(SPELLINGS[name]) or "").splitlines()[0].replace("|", r"\|")
    return text if name not in REFUSED else f"Step by step, for sequences of a known length. Refused: {REFUSED[name]}."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def main(arguments: list[str]) -> None:
    """Write the page to the one file that is named."""
    if len(arguments) != 1:
        raise UsageError("operators_page: one file name is expected, as docs/operators.md")
    write_together({Path(arguments[0]): page().encode()})


if __name__ == "__main__":
    main(sys.argv[1:])
