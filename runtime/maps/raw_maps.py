"""Raw maps from a model's outputs: by a method in NumPy, or ready from a fused head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import Layer, Manifest
from aerocam.runtime.maps.contrast import FromContrast
from aerocam.runtime.maps.forward import FromForward
from aerocam.runtime.maps.input import KINDS, FromInput, Rerun
from aerocam.runtime.maps.saliency import Form, Normalisation
from aerocam.runtime.methods import CamMethod, ContrastMethod, ForwardMethod, InputMethod, Method, find, get

Outputs = Mapping[str, NDArray[Any]]


class RawMaps(Protocol):
    """Makes one raw map per layer from a model's outputs.

    Attributes:
        method: Name of the CAM method.
        normalisation: The method's.
        layers: Names of the target layers.
        outputs: Names of the model's outputs that it needs; no other has to leave the accelerator.
        form: What the maps are; other than `raw` only from a fused head, which has normalised them.
        overlay: Name of the output with the overlay of these maps, or None.
        runs_again: Whether it may run the model again, which overwrites the outputs of the run before.
    """

    method: str
    normalisation: Normalisation
    layers: tuple[str, ...]
    outputs: tuple[str, ...]
    form: Form
    overlay: str | None
    runs_again: bool

    def __call__(self, outputs: Outputs, rerun: Rerun | None = None) -> list[NDArray[np.float32]]:
        """One float32 (targets, h, w) per layer, before ReLU and normalisation unless `form` says else; new arrays.

        Args:
            outputs: The model's, for the frame.
            rerun: The model on other pictures; for a method that `runs_again`.
        """
        ...


def raw_maps(
    manifest: Manifest, method: str | None, options: Mapping[str, Any] | None = None, counterfactual: bool = False
) -> RawMaps:
    """The way to the raw maps.

    Args:
        manifest: The model's.
        method: CAM method; None means that of the fused head, or `default_method` where there is none.
        options: Keyword arguments of the method.
        counterfactual: Whether the negative of the score is explained: what speaks against the target.

    Raises:
        UsageError: No such method or option, the file does not have the outputs it needs, or a method without
            gradients is asked for a counterfactual.
    """
    if counterfactual:
        manifest = replace(manifest, seed_scale=-manifest.seed_scale)
    options, head = options or {}, manifest.head
    wanted = find(method or (head.method if head is not None else default_method(manifest)))
    if counterfactual and isinstance(wanted, InputMethod) and wanted.rule == "guided":
        raise UsageError(
            f"method '{wanted.name}': guided gradients of the negative score are not the negative ones; take gradcam"
        )
    if counterfactual and isinstance(wanted, ForwardMethod) and not wanted.follows_sign:
        raise UsageError(
            f"method '{wanted.name}': its weights are shares of the score, the same for what speaks for a target and"
            " against it; take reciprocam or gradcam"
        )
    fused = {"eigen_smooth": True} if head is not None and head.eigen_smooth else {}
    if head is not None and options in ({}, fused) and wanted is find(head.method):
        return FromHead(manifest, _normalisation(manifest, wanted))
    if isinstance(wanted, ForwardMethod):
        return FromForward(manifest, wanted, options)
    if isinstance(wanted, InputMethod):
        cams = FromLayers(manifest, "gradcam") if wanted.over_layers else None
        return FromInput(manifest, wanted, options, cams)
    if isinstance(wanted, ContrastMethod):
        return _contrast(manifest, wanted, options)
    if counterfactual and not wanted.needs_gradients:
        raise UsageError(
            f"method '{wanted.name}': it reads no gradients, so nothing speaks against a target; try gradcam"
        )
    return FromLayers(manifest, wanted.name, options)


def _contrast(manifest: Manifest, wanted: ContrastMethod, options: Mapping[str, Any]) -> RawMaps:
    """A contrast: by the file's own gradients where they are of it, else made of several classes' gradients.

    Its option `base` names the CAM method that makes a map of them, which takes all options that are not its own.
    """
    base = get(str(options.get("base", "gradcam")))
    if not base.needs_gradients:
        raise UsageError(f"method '{wanted.name}': option base is {base.name!r}, which reads no gradients; try gradcam")
    own = {name: value for name, value in options.items() if name in wanted.options}
    layers = FromLayers(manifest, base.name, {k: v for k, v in options.items() if k not in own and k != "base"})
    if manifest.score.contrast != "none" and not own:
        layers.method = wanted.name
        return layers
    return FromContrast(manifest, wanted, own, layers)


LINEAR = frozenset({"cam", "finercam", "gradcam", "hirescam", "reciprocam", "relevance", "xgradcam"})
"""Methods whose raw map changes its sign with the gradient's, or the score's."""


def default_method(manifest: Manifest) -> str:
    """gradcam; of a contrast finercam; for a detector hirescam; for multipliers in place of gradients relevance.

    The score of one box depends on a few positions. Grad-CAM averages the gradient over all of them and then lights up
    wherever such features are: of 35 boxes on two pages it had not one half its mass inside, HiResCAM had 29.
    """
    if any(layer.rule == "relevance" for layer in manifest.layers):
        return "relevance"
    if manifest.score.contrast == "finer":
        return "finercam"
    return "hirescam" if manifest.task == "detect" else "gradcam"


class FromHead:
    """The map as the model's fused head gives it."""

    runs_again = False

    def __init__(self, manifest: Manifest, normalisation: Normalisation) -> None:
        """Take the head from the manifest, which must have one.

        Args:
            manifest: The model's.
            normalisation: The method's.
        """
        assert manifest.head is not None
        self.method, self.normalisation = manifest.head.method, normalisation
        self.form, self.overlay = _form(manifest), manifest.head.overlay
        self._sign = np.float32(math.copysign(1, manifest.seed_scale))
        if self._sign < 0 and (self.method not in LINEAR or self.form != "raw"):
            raise UsageError(
                f"method '{self.method}': its fused head has no map of the negative score; export the model with"
                " --tensors as well"
            )
        if self._sign < 0:
            self.overlay = None  # of what speaks for the target
        self.layers: tuple[str, ...] = (", ".join(layer.name for layer in manifest.layers),)
        self.outputs: tuple[str, ...] = (manifest.head.output, *([self.overlay] if self.overlay else []))

    def __call__(self, outputs: Outputs, rerun: Rerun | None = None) -> list[NDArray[np.float32]]:
        """See `RawMaps`."""
        return [outputs[self.outputs[0]].astype(np.float32) * self._sign]


def _form(manifest: Manifest) -> Form:
    """What a fused head's map is."""
    assert manifest.head is not None
    framed = manifest.preprocess is not None and manifest.preprocess.frame is not None
    return "tensor" if manifest.head.form == "frame" and not framed else manifest.head.form


class FromLayers:
    """A CAM method in NumPy on each layer's activations and gradients; guided gradients are left to other methods."""

    form: Form = "raw"
    overlay: str | None = None
    runs_again = False

    def __init__(self, manifest: Manifest, method: str, options: Mapping[str, Any] | None = None) -> None:
        """Find the outputs that the method needs, and try its options.

        Raises:
            UsageError: No such method or option, or the file does not have the outputs it needs.
        """
        self._compute, self._options = get(method), dict(options or {})
        self.method, self.normalisation = self._compute.name, _normalisation(manifest, self._compute)
        layers = [layer for layer in manifest.layers if layer.rule != "guided"]
        if not layers:
            raise UsageError(
                f"method '{self.method}': the file has guided gradients of the input only, activations and true"
                " gradients of a layer are expected; export the model again: aerocam export MODEL [--guided]"
            )
        if self._compute.needs_gradients:
            _check_rule(layers, self._compute)
        self.layers = tuple(layer.name for layer in layers)
        self._scale = np.float32(1 / manifest.seed_scale)
        self._targets = manifest.score.targets
        self._pairs: list[tuple[str, str | None]] = []
        for layer in layers:
            absent = "activations" if layer.activations is None else None
            if self._compute.needs_gradients and layer.gradients is None:
                absent = absent or "gradients"
            if layer.activations is None or absent is not None:
                raise UsageError(_why_not(manifest, self.method, layer.name, absent))
            self._pairs.append((layer.activations, layer.gradients if self._compute.needs_gradients else None))
        self.outputs = tuple(name for pair in self._pairs for name in pair if name is not None)
        self.gradients = tuple(name for _, name in self._pairs if name is not None)
        if self._options:
            self._compute(*np.zeros((2, 1, 2, 2, 2), np.float32), **self._options)
        make = self._compute.on_stream
        self._streams = [make(**self._options) for _ in self._pairs] if make is not None else []

    def __call__(self, outputs: Outputs, rerun: Rerun | None = None) -> list[NDArray[np.float32]]:
        """See `RawMaps`."""
        arrays = [(outputs[first], outputs[second] if second else None) for first, second in self._pairs]
        return [self._raw(i, rerun, a, g) for i, (a, g) in enumerate(arrays)]

    def _raw(
        self, layer: int, rerun: Rerun | None, activations: NDArray[Any], gradients: NDArray[Any] | None
    ) -> NDArray[np.float32]:
        """One layer's raw map, NaN where its activations or gradients keep the method from having one."""
        g = gradients
        if g is not None and self._scale != 1:
            g = g.astype(np.float32) * self._scale
        try:
            with np.errstate(invalid="ignore", over="ignore"):
                if g is None:
                    return np.repeat(self._compute(activations, **self._options), self._targets, axis=0)
                make = self._compute.on_stream
                if make is not None and rerun is not None:
                    a, g = (np.ascontiguousarray(x, np.float32) for x in (activations, g))
                    stream = self._streams[layer] if rerun.frame else make(**self._options)
                    return stream(a, g, rerun.frame)
                return self._compute(np.broadcast_to(activations, g.shape), g, **self._options)
        except (np.linalg.LinAlgError, ValueError):
            if np.isfinite(activations).all() and (g is None or np.isfinite(g).all()):
                raise
            return np.full((self._targets, *activations.shape[2:]), np.nan, np.float32)


def _normalisation(manifest: Manifest, method: Method) -> Normalisation:
    """The method's; relevance of the input itself is shown as the methods on the input picture are."""
    rule = manifest.preprocess
    at_input = rule is not None and all(layer.name == rule.input for layer in manifest.layers)
    relevance = isinstance(method, CamMethod) and method.rule == "relevance"
    return "magnitude" if at_input and relevance else method.normalisation


def _check_rule(layers: Sequence[Layer], method: CamMethod) -> None:
    """Make sure that what layers have in place of gradients is what the method takes.

    Raises:
        UsageError: It is something else.
    """
    for layer in layers:
        if layer.rule != method.rule:
            flag = " with --relevance" if method.rule == "relevance" else " without --relevance, or take relevance"
            raise UsageError(
                f"method '{method.name}': the file has {KINDS[layer.rule]} of layer '{layer.name}',"
                f" {KINDS[method.rule]} are expected; export the model again{flag}"
            )


def _why_not(manifest: Manifest, method: str, layer: str, absent: str | None) -> str:
    """Why a method cannot be had from this file, and how it can."""
    head = f", only the fused head for {manifest.head.method}" if manifest.head is not None else ""
    return (
        f"method '{method}': the file has no {absent} of layer '{layer}'{head};"
        " export the model again without a head, or with both: aerocam export MODEL [--head METHOD --tensors]"
    )
