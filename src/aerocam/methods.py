"""What every method is: one row each, read by the runtime, the export, the command line and the documents.

A row holds facts and no arithmetic. `aerocam.runtime.methods` has the arithmetic in NumPy under `@computes(name)`,
`aerocam.export.heads` the nodes of the fused heads under `@fuses(name)`; both take every fact from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aerocam.errors import UsageError, did_you_mean
from aerocam.manifest import Contrast, Rule

MethodKind = Literal["layer", "contrast", "input", "model", "tail"]
ClassSensitivity = Literal["yes", "hardly", "no", "inner layers"]
Parity = Literal["odd", "even", "neither"]
Normalisation = Literal["minmax", "max", "magnitude", "span"]

EPSILON = 1e-7
"""Added to the range under the normalisations `minmax` and `span`, as pytorch-grad-cam does."""

TAIL_BATCH = 32
"""Activations that the part behind a layer takes at once, where nobody says how many."""


@dataclass(frozen=True)
class MethodFacts:
    """The facts of one method.

    Attributes:
        name: Its one name: pytorch-grad-cam's, where that has the method.
        kind: What its map is made from. `layer`: a layer's activations and what was walked back to them. `contrast`:
            the same, with the gradients of a score of several classes' logits. `input`: the model's gradient at the
            input picture. `model`: scores of the whole model at changed pictures. `tail`: scores of the part behind a
            layer at changed activations of it.
        what: What it is, in a few words for people.
        parity: How the raw map depends on the sign of the score. `odd`: the negative score has the negative map.
            `even`: it has the same map. `neither`: it has another one.
        aliases: Further names; case, spaces, `-` and `_` never matter.
        activations: Whether it takes the activations of a layer.
        gradients: By which rule the gradients that it takes are walked back, as `manifest.Layer.rule` has it; None: it
            takes none.
        weighs: Whether its arithmetic gives the weights of a map Σ_c w_c A_c, which `eigen_smooth` can show on its
            first principal component instead of summing it.
        class_sensitive: Whether two classes of one picture have two maps. `inner layers`: not behind a last layer that
            is averaged over its positions, where the gradient is the same at each.
        normalisation: What brings the map to [0, 1]. `minmax`: ReLU, then (x - min) / (max - min + `EPSILON`). `max`:
            ReLU, then x / max, so that the zero stays where it is. `magnitude`: |x| divided by its 99th percentile, at
            most 1, for maps that have both signs at single pixels. `span`: as `minmax` without a ReLU, for maps whose
            zero has no meaning.
        contrast: The score that its fused head needs.
        needs_float32: What of its fused head TF32 would spoil, or None.
        on_stream: Whether it keeps something from one frame of a stream to the next.
        runs: How often one map runs the model, or the part behind the layer; for people.
        headless: Why it has no fused head; None: it has one.
        options: What people have to know of its options, by name; where the name and the default say it all, nothing.
    """

    name: str
    kind: MethodKind
    what: str
    parity: Parity
    aliases: tuple[str, ...] = ()
    activations: bool = True
    gradients: Rule | None = "gradient"
    weighs: bool = False
    class_sensitive: ClassSensitivity = "yes"
    normalisation: Normalisation = "minmax"
    contrast: Contrast = "none"
    needs_float32: str | None = None
    on_stream: bool = False
    runs: str = "1"
    headless: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def normalisation_at(self, at_input: bool) -> Normalisation:
        """Return the normalisation at layers, or at the input itself, where relevance is shown by its magnitude."""
        return "magnitude" if at_input and self.gradients == "relevance" else self.normalisation

    @property
    def at_input(self) -> bool:
        """Return whether all that it takes is at the model's input, which has to be a target layer of the file."""
        return self.kind == "input" and not self.activations

    @property
    def export_arguments(self) -> dict[str, Any]:
        """Return the arguments of `export_model`, beside `layers`, for a file with all that the method takes."""
        if self.kind == "tail":
            return {"packaging": "split", "batch": TAIL_BATCH}
        return {} if self.gradients in (None, "gradient") else {self.gradients: True}

    def export_again(self, input_name: str) -> str:
        """Return the end of a message: to export the model again, and with which parameters, for what it takes."""
        arguments = ({"layers": input_name} if self.at_input else {}) | self.export_arguments
        listed = ", ".join(f"`{name}={value!r}`" for name, value in arguments.items())
        return "export the model again" + (f" with {listed}" if listed else "")


def table(*rows: MethodFacts) -> dict[str, MethodFacts]:
    """Return the rows by name.

    Raises:
        ValueError: Two rows have one name or alias.
    """
    owner: dict[str, str] = {}
    for row in rows:
        for spelling in {_folded(name) for name in (row.name, *row.aliases)}:
            if spelling in owner:
                raise ValueError(f"methods {owner[spelling]} and {row.name}: both are called {spelling}; rename one")
            owner[spelling] = row.name
    return {row.name: row for row in rows}


def _folded(name: str) -> str:
    """Return a name without what does not matter in it: case, spaces, `-` and `_`."""
    return name.lower().translate(str.maketrans("", "", "-_ "))


_BY_GRADIENTS = "weights from the gradients"
_POSITIONS = "what each position adds to the gradient of a {}"
_PLANES = "of a volume, as its layer has them"
_CLUSTERING = "the clustering of CF-CAM"
_AT_INPUT = "it explains the input picture, which lies before all layers"
_WHOLE_MODEL = "it runs the whole model many times, which is no part of the graph behind a layer"
_INDEFINITE = (
    "its kernel matrix is not definite, and repeated squaring finds the eigenvalue of the largest magnitude, not the"
    " largest"
)
_SIGN = "or `mean_act`, `svd`"
_BASELINE = "or `mean`, `blur`, a number, an array"

METHODS: dict[str, MethodFacts] = table(
    MethodFacts("gradcam", "layer", _BY_GRADIENTS, "odd", weighs=True),
    MethodFacts("gradcam++", "layer", _BY_GRADIENTS, "neither", ("gradcampp", "gradcamplusplus"), weighs=True),
    MethodFacts("xgradcam", "layer", _BY_GRADIENTS, "odd", weighs=True),
    MethodFacts("layercam", "layer", _BY_GRADIENTS, "neither", weighs=True),
    MethodFacts("hirescam", "layer", _BY_GRADIENTS, "odd", weighs=True),
    MethodFacts("gradcamelementwise", "layer", _BY_GRADIENTS, "neither", weighs=True),
    MethodFacts("cam", "layer", "the classifier's own weights; for a linear head behind global average pooling", "odd",
                weighs=True),
    MethodFacts("eigencam", "layer", "first principal component of A", "even", gradients=None, class_sensitive="no",
                options={"sign": _SIGN}),
    MethodFacts("kpcacam", "layer", "first kernel principal component of A", "even", gradients=None,
                class_sensitive="no", headless=_INDEFINITE, options={"gamma": "1 / C"}),
    MethodFacts("eigengradcam", "layer", "first principal component of G A", "even", options={"sign": _SIGN}),
    MethodFacts("fem", "layer", "channels weighted by how often they exceed twice their deviation", "even",
                gradients=None, weighs=True, class_sensitive="no", options={"k": "deviations"}),
    MethodFacts("randomcam", "layer", "random weights, to compare with", "even", gradients=None, weighs=True,
                class_sensitive="no"),
    MethodFacts("normgrad", "layer", _POSITIONS.format("1x1 convolution that changes nothing"), "even",
                ("normgrad-conv1x1", "normgrad-1x1"), class_sensitive="inner layers"),
    MethodFacts("normgrad-3x3", "layer", _POSITIONS.format("3x3 convolution that changes nothing"), "even",
                ("normgrad-conv3x3",), class_sensitive="inner layers", options={"planes": _PLANES}),
    MethodFacts("normgrad-bias", "layer", _POSITIONS.format("bias of 0"), "even", class_sensitive="inner layers"),
    MethodFacts("normgrad-scaling", "layer", _POSITIONS.format("factor of 1 per channel"), "even"),
    MethodFacts("finercam", "contrast", "Grad-CAM of what a class has that its three nearest lack", "odd", weighs=True,
                contrast="finer", options={"base": "the method that makes its map, `gradcam`",
                                           "comparisons": "ranks of the nearest"}),
    MethodFacts("cfcam", "layer", "CF-CAM (arXiv:2504.00060): channels clustered by DBSCAN, gradients filtered by"
                " cluster, hierarchical weights; and two steps of our own, a share of mere activity less and a Gaussian"
                " over the map", "neither", normalisation="max", needs_float32=_CLUSTERING, on_stream=True,
                options={"config": "a `CfCamConfig`, from Python", "keep_frames": "of a stream", "planes": _PLANES}),
    MethodFacts("cfcam-published", "layer", "CF-CAM exactly as released", "neither", class_sensitive="no",
                normalisation="max", needs_float32=_CLUSTERING, on_stream=True,
                options={"keep_frames": "of a stream", "planes": _PLANES}),
    MethodFacts("relevance", "layer", "layer-wise relevance propagation (LRP-epsilon)", "odd", ("lrp", "lrpepsilon"),
                gradients="relevance", weighs=True),
    MethodFacts("saliency", "input", "largest magnitude of the gradient among the channels", "even",
                ("vanillagradient", "vanillagradients"), activations=False, normalisation="magnitude",
                headless=_AT_INPUT),
    MethodFacts("inputxgradient", "input", "the picture times its gradient", "odd", ("gradientxinput", "gradxinput"),
                activations=False, normalisation="magnitude", headless=_AT_INPUT),
    MethodFacts("smoothgrad", "input", "saliency of the mean gradient over noisy copies of the picture", "even",
                activations=False, normalisation="magnitude", runs="1 + `samples`", headless=_AT_INPUT,
                options={"noise": "share of the value range"}),
    MethodFacts("integrated_gradients", "input", "the gradient integrated on the way from a picture that says nothing",
                "odd", ("ig",), activations=False, normalisation="magnitude", runs="1 + `steps`", headless=_AT_INPUT,
                options={"baseline": _BASELINE, "rule": "or `trapezoid`"}),
    MethodFacts("guided_backprop", "input", "the gradient, of which each ReLU lets through what is positive", "neither",
                ("guidedbackpropagation",), activations=False, gradients="guided", class_sensitive="hardly",
                normalisation="magnitude", headless=_AT_INPUT),
    MethodFacts("guided_gradcam", "input", "guided backpropagation times Grad-CAM's map of a layer", "neither",
                gradients="guided", normalisation="magnitude", headless=_AT_INPUT),
    MethodFacts("scorecam", "model", "activations weighted by the score of the picture behind each", "neither",
                gradients=None, runs="once per channel", headless=_WHOLE_MODEL),
    MethodFacts("occlusion", "model", "how far the score falls where a patch is covered", "odd", activations=False,
                gradients=None, runs="once per patch", headless=_WHOLE_MODEL,
                options={"patch": "px", "stride": "half a patch", "baseline": _BASELINE}),
    MethodFacts("rise", "model", "random masks weighted by the score behind each", "odd", activations=False,
                gradients=None, normalisation="span", runs="`masks` times", headless=_WHOLE_MODEL),
    MethodFacts("ablationcam", "tail", "activations weighted by how far the score falls without each", "even",
                gradients=None, runs="once per channel", options={"fill": "or `mean`, `pgc`: pytorch-grad-cam's own"}),
    MethodFacts("reciprocam", "tail", "the score where the activations are kept at one position alone", "odd",
                gradients=None, normalisation="span", runs="once per position", options={"planes": _PLANES}),
)  # fmt: skip
"""Every method by its name, in the order in which they are listed."""

HEADS = tuple(name for name, facts in METHODS.items() if facts.headless is None)
"""Names of the methods that can be fused into the graph."""

HEADS_ANYWHERE = tuple(name for name in HEADS if METHODS[name].kind == "layer" and METHODS[name].gradients is None)
"""Names of those that can be fused at a layer from which no gradient can be had, too."""

OF_TAIL = tuple(name for name, facts in METHODS.items() if facts.kind == "tail")
"""Names of the methods that run the part behind a layer."""


def find(name: str) -> MethodFacts:
    """Return the facts of the method called `name`, in any of its spellings: `gradcam++`, `GradCAMPlusPlus`, ...

    Raises:
        UsageError: No method has that name; the message has close ones.
    """
    wanted = _folded(name)
    for facts in METHODS.values():
        if any(wanted == _folded(spelling) for spelling in (facts.name, *facts.aliases)):
            return facts
    raise UsageError(f"there is no CAM method {name!r}. {did_you_mean(wanted, METHODS)}")


def row_of(name: str) -> MethodFacts:
    """Return the row of a method that a decorator registers something for.

    Raises:
        ValueError: `METHODS` has no row of that name.
    """
    if name not in METHODS:
        raise ValueError(f"method {name!r}: METHODS in aerocam/methods.py has no row for it; add one")
    return METHODS[name]
