"""Which way leads from a model's outputs to raw maps: by a method in NumPy, or ready from a fused head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aerocam.errors import UsageError
from aerocam.manifest import Manifest
from aerocam.runtime.maps.contract import RawMaps
from aerocam.runtime.maps.contrast import FromContrast
from aerocam.runtime.maps.forward import FromForward
from aerocam.runtime.maps.head import FromHead
from aerocam.runtime.maps.input import FromInput
from aerocam.runtime.maps.layers import FromLayers
from aerocam.runtime.methods import ContrastMethod, ForwardMethod, InputMethod, find, get


def raw_maps(
    manifest: Manifest, method: str | None, options: Mapping[str, Any] | None = None, counterfactual: bool = False
) -> RawMaps:
    """Return the way to the raw maps.

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
    if counterfactual and isinstance(wanted, InputMethod) and wanted.facts.gradients == "guided":
        raise UsageError(
            f"method '{wanted.name}': guided gradients of the negative score are not the negative ones; take gradcam"
        )
    if counterfactual and isinstance(wanted, ForwardMethod) and wanted.facts.parity == "even":
        raise UsageError(
            f"method '{wanted.name}': its weights are shares of the score, the same for what speaks for a target and"
            " against it; take reciprocam or gradcam"
        )
    fused = {"eigen_smooth": True} if head is not None and head.eigen_smooth else {}
    if head is not None and options in ({}, fused) and wanted is find(head.method):
        return FromHead(manifest, wanted.facts)
    if isinstance(wanted, ForwardMethod):
        return FromForward(manifest, wanted, options)
    if isinstance(wanted, InputMethod):
        cams = FromLayers(manifest, "gradcam") if wanted.facts.activations else None
        return FromInput(manifest, wanted, options, cams)
    if isinstance(wanted, ContrastMethod):
        return _contrast(manifest, wanted, options)
    if counterfactual and wanted.facts.gradients is None:
        raise UsageError(
            f"method '{wanted.name}': it reads no gradients, so nothing speaks against a target; try gradcam"
        )
    return FromLayers(manifest, wanted.name, options)


def _contrast(manifest: Manifest, wanted: ContrastMethod, options: Mapping[str, Any]) -> RawMaps:
    """Return a contrast: by the file's own gradients where they are of it, else made of several classes' gradients.

    Its option `base` names the CAM method that makes a map of them, which takes all options that are not its own.
    """
    base = get(str(options.get("base", "gradcam")))
    if base.facts.gradients is None:
        raise UsageError(f"method '{wanted.name}': option base is {base.name!r}, which reads no gradients; try gradcam")
    own = {name: value for name, value in options.items() if name in wanted.options}
    layers = FromLayers(manifest, base.name, {k: v for k, v in options.items() if k not in own and k != "base"})
    if manifest.score.contrast != "none" and not own:
        layers.method = wanted.name
        return layers
    return FromContrast(manifest, wanted, own, layers)


def default_method(manifest: Manifest) -> str:
    """Return gradcam; of a contrast finercam; for anchors and dense outputs hirescam; for multipliers relevance.

    The score of a box or a region depends on a few positions. Grad-CAM averages the gradient over all of them and then
    lights up wherever such features are: of 35 boxes on two pages it had not one half its mass inside, HiResCAM had 29.
    """
    if any(layer.rule == "relevance" for layer in manifest.layers):
        return "relevance"
    if manifest.score.contrast == "finer":
        return "finercam"
    return "hirescam" if manifest.has_anchors or manifest.score.positions is not None else "gradcam"
