"""The self-check of an exported model: against its original file, right after the export or at any later time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import ManifestError, UsageError
from aerocam.export.checking.ends import check_ends, without_frame
from aerocam.export.checking.gradients import check_finite, check_model
from aerocam.export.checking.precision import outputs_apart
from aerocam.export.checking.report import CheckReport
from aerocam.export.checking.tail import check_tail
from aerocam.export.packaging import join
from aerocam.export.precision import in_float16
from aerocam.export.reading.graph import freeze_inputs, load_model
from aerocam.export.reading.light import LightModel
from aerocam.export.reading.onnx_file import read_model
from aerocam.export.rewriting import GRADIENTS, OWN_GRADIENTS
from aerocam.files import sha256
from aerocam.manifest import Manifest
from aerocam.onnx_metadata import read_metadata
from aerocam.providers import Provider


def self_check(
    path: Path,
    model: ir.Model,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    providers: Sequence[Provider] | None = None,
) -> CheckReport:
    """Compare a rewritten model with its original file and with finite differences.

    Args:
        path: The original model.
        model: The rewritten one; layers whose gradients leave the graph are checked, each in its own shape. What
            another rule gives is no derivative: only whether it is finite is checked.
        input_shapes: As given at export.
        providers: Execution providers to run on; None: the CPU.
    """
    original, found = read_model(path), Manifest.from_json(model.metadata_props[manifest.KEY], "the model")
    freeze_inputs(original.proto, input_shapes or {})
    reference, apart = original, None
    if found.precision == "float16":
        converted = in_float16(load_model(path, input_shapes))
        reference = LightModel.of(converted)
        apart = outputs_apart(original, converted, providers)
    names = {value.name for value in model.graph.outputs}
    layers = found.layers
    own = {y.name for node in model.graph for y in node.outputs}
    pairs = {}
    for i, layer in enumerate(layers):
        if GRADIENTS.format(i) in names and layer.rule == "gradient":
            folded = OWN_GRADIENTS.format(i) in own
            pairs[layer.name] = (layer.name, OWN_GRADIENTS.format(i) if folded else GRADIENTS.format(i))
    others = {GRADIENTS.format(i): layer.rule for i, layer in enumerate(layers) if layer.rule != "gradient"}
    if others := {name: rule for name, rule in others.items() if name in names}:
        check_finite(model, others, providers)
    return replace(check_model(reference, model, pairs, providers), precision=apart)


def check_fused_ends(model: ir.Model, report: CheckReport, providers: Sequence[Provider] | None = None) -> CheckReport:
    """A report on a model with that on its fused ends, if it has any.

    Raises:
        CheckError: They do not do what their steps do one by one.
    """
    written = Manifest.from_json(model.metadata_props[manifest.KEY], "the model")
    framed = written.preprocess is not None and written.preprocess.frame is not None
    if not framed and (written.head is None or written.head.form == "raw"):
        return report
    return replace(report, ends=check_ends(model, written, providers).require(report.tolerance))


def check_export(
    path: str | Path,
    exported: str | Path,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    providers: Sequence[Provider] | None = None,
) -> CheckReport:
    """Compare an exported file with its original, for example on the provider that will be used.

    Args:
        path: The original model.
        exported: What `export_model` made of it.
        input_shapes: As given at export.
        providers: Execution providers to run on; None: the CPU.

    Raises:
        ManifestError: `exported` carries no manifest, was made of another model, or a file beside it is of another
            export.
        UsageError: The two are given the wrong way round.
        CheckError: Its fused ends, or its tail, do not do what their steps do one by one.
    """
    light = read_model(exported)
    if manifest.KEY not in read_metadata(exported) and manifest.KEY in read_metadata(path):
        raise UsageError(f"{exported}: it is the original, and {path} the exported file; give them the other way round")
    found = _manifest_of(light, Path(exported), f"make it with: aerocam export {path}")
    if found.source.sha256 != sha256(path):
        raise ManifestError(f"{exported}: it was made of {found.source.name!r}, not of this {path}; give that file")
    model, split = light.whole(), found.split
    if split is not None:
        model = join(model, _half(Path(exported), found, split.explain))
    report = self_check(Path(path), without_frame(model, found), input_shapes, providers)
    report = check_fused_ends(model, report, providers)
    activations = found.layers[0].activations
    if split is not None and split.tail is not None and activations is not None:
        whole = without_frame(join(model, _half(Path(exported), found, split.tail)), found)
        report = replace(report, tail=check_tail(whole, activations, providers))
    return report


def _half(exported: Path, written: Manifest, name: str) -> ir.Model:
    """Another file of a split export.

    Raises:
        ManifestError: It is of another export.
    """
    path = exported.with_name(name)
    light = read_model(path)
    again = "the files of an export belong together; export the model again"
    if _manifest_of(light, path, again) != written:
        raise ManifestError(f"{path}: it is of another export than {exported}; {again}")
    return light.whole()


def _manifest_of(light: LightModel, path: Path, advice: str) -> Manifest:
    """What a file says of itself.

    Raises:
        ManifestError: Nothing, or nothing that can be read.
    """
    text = next((item.value for item in light.proto.metadata_props if item.key == manifest.KEY), None)
    if text is None:
        raise ManifestError(f"{path}: it carries no manifest; {advice}")
    return Manifest.from_json(text, str(path))
