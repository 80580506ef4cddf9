"""What `aerocam explain` makes of all pictures together: the page and the contact sheet."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from aerocam.cli.arguments import refuse_used
from aerocam.errors import UsageError

if TYPE_CHECKING:
    from aerocam.runtime.drawing.overlay import Look
    from aerocam.runtime.explainer import Explainer
    from aerocam.runtime.explanation import Explanation
    from aerocam.runtime.predictions.detections import Objects
    from aerocam.runtime.predictions.targets import Targets


class Result(Protocol):
    """Takes the explanations one by one, and writes when its context ends without an error."""

    def add(self, name: str, explanation: Explanation, files: Mapping[str, Path]) -> None:
        """Take the explanation of a picture, and what was saved of it."""

    def fail(self, name: str, reason: str) -> None:
        """Note that a picture could not be explained, and why."""


def open_results(
    args: argparse.Namespace, explainer: Explainer, targets: Targets | Objects, look: Look
) -> list[AbstractContextManager[Any]]:
    """Open the results that are asked for; each is a `Result` in its context.

    Raises:
        UsageError: A format cannot be written.
        WriteError: A folder cannot be written to.
    """
    from aerocam.runtime.results.page import ResultsPage
    from aerocam.runtime.results.sheet import ResultsSheet

    titles = _titles(targets)
    results: list[AbstractContextManager[Any]] = []
    if args.sheet:
        results.append(ResultsSheet(args.sheet, titles, look))
    if args.html:
        results.append(ResultsPage(args.html, _facts(args, explainer, titles, look), look))
    return results


def refuse_overwriting(args: argparse.Namespace, images: Sequence[str]) -> None:
    """Make sure that neither page nor sheet is the model, one of the pictures, or the other.

    Raises:
        UsageError: A page or a sheet would overwrite one of these, or is a folder.
    """
    from aerocam.runtime.results.sheet import sheet_paths

    sheets = sheet_paths(Path(args.sheet), len(images)) if args.sheet else []
    pages = [Path(args.html)] if args.html else []
    pictures = {os.path.realpath(image) for image in images}
    for path in [*pages, *sheets]:
        refuse_used(path, {"the model": args.model})
        if os.path.realpath(path) in pictures or path.is_dir():
            what = "a folder" if path.is_dir() else "one of the pictures"
            raise UsageError(f"{path}: this is {what}; name another file to write to")
    if {os.path.realpath(path) for path in pages} & {os.path.realpath(path) for path in sheets}:
        raise UsageError(f"{args.html}: --html and --sheet name the same file; name two")


def _titles(targets: Targets | Objects) -> list[str]:
    """Return what the targets are called above their columns."""
    from aerocam.runtime.predictions.detections import Objects

    if not isinstance(targets, Objects):
        return [_title(target) for target in (targets if isinstance(targets, list) else [targets])]
    if targets.number is not None:
        return [f"object {targets.number}"]
    return [f"object {number}" for number in range(1, targets.most + 1)]


def _title(target: Any) -> str:
    """Return what a target is called above its column."""
    class_, anchor = target if isinstance(target, tuple) else (target, None)
    title = f"class {class_}" if isinstance(class_, int) else str(class_)
    if class_ is None or class_ == -1:
        title = "top class"
    elif isinstance(class_, int) and class_ < 0:
        title = f"top class no. {-class_}"
    return title if anchor is None else f"{title}, anchor {anchor}"


def _facts(args: argparse.Namespace, explainer: Explainer, titles: Sequence[str], look: Look) -> dict[str, str]:
    """Return the settings of the run, as the page says them."""
    source, layers = explainer.manifest.source, ", ".join(layer.name for layer in explainer.manifest.layers)
    regions = "none" if look.regions is None else f"{look.regions}, the largest of each target"
    return {
        "Model": Path(args.model).name,
        "Exported from": f"{source.name} (SHA-256 {source.sha256[:12]}…)",
        "Layer": layers if len(explainer.manifest.layers) == 1 else f"{layers} (fused: {explainer.fusion})",
        "Method": explainer.method,
        "Targets": ", ".join(titles),
        **({"Region looked at": args.region} if args.region else {}),
        "Regions": regions,
        "Overlay": f"{look.colormap}, weight {look.alpha:g}",
        "Runs on": f"{_providers(args)}, threads: {args.threads or 'one per core'}",
    }


def _providers(args: argparse.Namespace) -> str:
    return " ".join([args.providers or "the CPU", *args.provider_option])
