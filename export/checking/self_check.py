"""The self-check of an exported model: against its original file, right after the export or at any later time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.errors import CheckError, ManifestError, UsageError
from aerocam.export.checking.ends import check_ends, without_frame
from aerocam.export.checking.gradients import (
    RANDOM_DIRECTIONS,
    Layer,
    check_finite,
    held_names,
    is_quantised,
    widened,
)
from aerocam.export.checking.outputs import (
    difference_by_rounding,
    largest_difference,
    outputs_apart,
    run_batch,
    with_outputs,
)
from aerocam.export.checking.report import (
    GRADIENT_TOLERANCE,
    HALF_TOLERANCE,
    KERNEL_TOLERANCE,
    OUTPUT_TOLERANCE,
    CheckReport,
)
from aerocam.export.checking.tail import check_tail
from aerocam.export.ends import has_ends
from aerocam.export.layers.tensor_names import GRADIENTS, OWN_GRADIENTS
from aerocam.export.packaging import join
from aerocam.export.precision import computed_in_half, in_float16, in_float32
from aerocam.export.reading.graph import load_model
from aerocam.export.reading.inputs import add_batch, fix_inputs, freeze_inputs, model_inputs
from aerocam.export.reading.light import LightModel
from aerocam.export.reading.onnx_file import read_model
from aerocam.export.reading.plugins import cut_suppression
from aerocam.export.sessions import SessionFolder, onnxruntime_errors, own_choice, random_feeds
from aerocam.files import beside, sha256
from aerocam.manifest import Manifest
from aerocam.onnx_metadata import read_metadata
from aerocam.providers import Provider


def self_check(
    path: Path,
    model: ir.Model,
    written: Manifest,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    providers: Sequence[Provider] | None = None,
    fix: Mapping[str, Any] | None = None,
) -> CheckReport:
    """Compare a rewritten model with its original file and with finite differences.

    Args:
        path: The original model.
        model: The rewritten one; layers whose gradients leave the graph are checked, each in its own shape. What
            another rule gives is no derivative: only whether it is finite is checked.
        written: Its manifest.
        input_shapes: As given at export.
        providers: Execution providers to run on; None: the CPU.
        fix: As given at export.
    """
    original = read_model(path)
    cut_suppression(original.proto)
    fix_inputs(original.proto, fix or {})
    freeze_inputs(original.proto, input_shapes or {})
    taken = {value.name for value in model.graph.inputs}
    if fixed := [item.name for item in model_inputs(original.proto) if item.name not in taken]:
        raise UsageError(f"`fix`: input {fixed[0]!r} is a constant of the exported model; give its value, as at export")
    add_batch(original.proto)
    reference, apart = original, None
    if written.precision == "float16":
        converted = in_float16(load_model(path, input_shapes, fix))
        reference = LightModel.of(converted)
        apart = outputs_apart(original, converted, providers)
    names = {value.name for value in model.graph.outputs}
    layers = written.layers
    own = {y.name for node in model.graph for y in node.outputs}
    pairs = {}
    for i, layer in enumerate(layers):
        if GRADIENTS.format(i) in names and layer.rule == "gradient":
            folded = OWN_GRADIENTS.format(i) in own
            pairs[layer.name] = (layer.name, OWN_GRADIENTS.format(i) if folded else GRADIENTS.format(i))
    rules = {GRADIENTS.format(i): layer.rule for i, layer in enumerate(layers)}
    if others := {name: rule for name, rule in rules.items() if rule != "gradient" and name in names}:
        check_finite(model, others, providers)
    return replace(check_model(reference, model, written, pairs, providers), precision=apart)


@onnxruntime_errors()
def check_model(
    original: LightModel,
    model: ir.Model,
    written: Manifest,
    pairs: Mapping[str, tuple[str, str]],
    providers: Sequence[Provider] | None = None,
    seed: int = 0,
    given: Mapping[str, NDArray] | None = None,
) -> CheckReport:
    """Compare a rewritten model with the original and its gradients with finite differences, on a random picture.

    Args:
        original: The model as it was, with static inputs.
        model: The rewritten one.
        written: Its manifest.
        pairs: Per target layer, its own name and that of the tensor with its gradients.
        providers: Execution providers to run on; None: the CPU.
        seed: Seed of the picture and of the directions.
        given: Inputs to run on; None: the first of `draws` that says something.

    Raises:
        CheckError: On all of `draws` the score is not finite, or the gradients of all layers are exactly 0.
    """
    held = held_names(model, [name for name in pairs if not is_quantised(model, name)])
    needed = {manifest.SCORE, *held, *(name for pair in pairs.values() for name in pair)}
    explained = with_outputs(model, needed)
    with SessionFolder(providers) as sessions:
        for feeds in [dict(given)] if given is not None else draws(model, seed):
            feeds[manifest.TARGET] = own_choice(model, written.score)
            before, after, values = _run(sessions, original, explained, feeds, needed)
            told = not pairs or any(values[gradient].any() for _, gradient in pairs.values())  # of scales, one may
            if told and np.isfinite(values[manifest.SCORE]).all():
                break
        if not np.isfinite(values[manifest.SCORE]).all():
            raise CheckError(
                "the score is not finite on noise, around 0, within 0 and 1, 1 and 2 or 0 and 255; does the model need"
                " other inputs? Export it unchecked with `check=False`"
            )
        outputs, is_half = largest_difference(before, after), computed_in_half(model)
        tolerance = OUTPUT_TOLERANCE
        if not outputs <= tolerance:
            before_it, after_it = (in_float32(light) if is_half else light for light in (original, explained))
            outputs, rounding = difference_by_rounding(sessions, before_it, after_it, widened(feeds))
            tolerance = tolerance if outputs <= tolerance else max(KERNEL_TOLERANCE, rounding)
        epsilon = float(np.finfo(np.float16 if is_half else np.float32).eps)
        gradients, unchecked = {}, {}
        for layer, (activations, gradient) in pairs.items():
            if is_quantised(model, layer):
                unchecked[layer] = "its gradients go straight through quantised operators, which have steps"
                continue
            random = RANDOM_DIRECTIONS if len(pairs) == 1 else 1
            checked = Layer(layer, activations, gradient, held, written.seed_scale, random)
            error = checked.error(sessions, explained, values, seed, epsilon)
            if is_half and error is not None and GRADIENT_TOLERANCE < error < np.inf:
                error = min(error, checked.error_in_float32(sessions, explained, values, seed))
            if error is None:
                unchecked[layer] = "its gradients are too faint to be seen in the score as it is rounded"
            else:
                gradients[layer] = error
    if not told and all(error <= GRADIENT_TOLERANCE for error in gradients.values()):
        raise CheckError(
            f"layers {', '.join(map(repr, pairs))}: the gradients of the score are exactly 0 everywhere, on any noise:"
            " no map can show anything; choose another layer (aerocam layers MODEL shows them), task or output"
        )
    return CheckReport(outputs, gradients, sessions.provider, tolerance, unchecked=unchecked)


def draws(model: ir.Model, seed: int) -> Iterator[dict[str, NDArray]]:
    """Yield inputs to check a model on: noise around 0, then within 0 and 1, 1 and 2, 0 and 255, if it is bounded."""
    rng = np.random.default_rng(seed)
    noise = random_feeds(model, rng)
    yield noise
    for low, high in ((0.25, 0.75), (1.25, 1.75), (0.0, 255.0)):
        yield {
            name: rng.uniform(low, high, x.shape).astype(x.dtype) if np.issubdtype(x.dtype, np.floating) else x
            for name, x in noise.items()
        }


def _run(
    sessions: SessionFolder, original: LightModel, explained: LightModel, feeds: dict[str, NDArray], needed: Set[str]
) -> tuple[list[NDArray], list[NDArray], dict[str, NDArray]]:
    """Return the outputs of both models, and inputs and `needed` tensors by name for the target that was chosen."""
    names = [value.name for value in original.proto.graph.output]
    session = sessions.open(original)
    before = run_batch(session, names, feeds)
    del session
    session = sessions.open(explained)
    *after, chosen = session.run([*names, manifest.CHOSEN], feeds)
    wanted = [value.name for value in explained.proto.graph.output if value.name in needed]
    given = {**feeds, manifest.TARGET: chosen}
    return before, after, given | dict(zip(wanted, session.run(wanted, given), strict=True))


def check_fused_ends(
    model: ir.Model, written: Manifest, report: CheckReport, providers: Sequence[Provider] | None = None
) -> CheckReport:
    """Check a model's fused ends, and return the report with their figures.

    Raises:
        CheckError: The fused ends differ from the same steps one by one.
    """
    tolerance = HALF_TOLERANCE if computed_in_half(model) else report.tolerance
    return replace(report, ends=check_ends(model, written, providers).require(tolerance))


def check_export(
    path: str | Path,
    exported: str | Path,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    providers: Sequence[Provider] | None = None,
    fix: Mapping[str, Any] | None = None,
) -> CheckReport:
    """Compare an exported file with its original, for example on the provider that will be used.

    Args:
        path: The original model.
        exported: What `export_model` made of it.
        input_shapes: As given at export.
        providers: Execution providers to run on; None: the CPU.
        fix: As given at export.

    Raises:
        ManifestError: `exported` carries no manifest, was made of another model, or a file beside it is of another
            export.
        UsageError: The two are given the wrong way round.
        CheckError: Fused ends differ from the same steps one by one, or the scores of a tail from the model's own.
    """
    light = read_model(exported)
    if manifest.KEY not in read_metadata(exported) and manifest.KEY in read_metadata(path):
        raise UsageError(f"{exported}: it is the original, and {path} the exported file; give them the other way round")
    written = _manifest_of(light, Path(exported), f"make it with: aerocam export {path}")
    if written.source.sha256 != sha256(path):
        raise ManifestError(f"{exported}: it was made of {written.source.name!r}, not of this {path}; give that file")
    model, split = light.whole(), written.split
    if split is not None:
        model = join(model, _half(Path(exported), written, split.explain))
    report = self_check(Path(path), without_frame(model, written), written, input_shapes, providers, fix)
    if has_ends(written):
        report = check_fused_ends(model, written, report, providers)
    if split is not None and split.tail is not None:
        whole = without_frame(join(model, _half(Path(exported), written, split.tail)), written)
        report = replace(report, tail=check_tail(whole, written, providers))
    return report


def _half(exported: Path, written: Manifest, name: str) -> ir.Model:
    """Read another file of a split export.

    Raises:
        ManifestError: The file is of another export.
        ModelError: It cannot be read, or lies elsewhere.
    """
    path = beside(exported, name)
    light = read_model(path)
    again = "the files of an export belong together; export the model again"
    if _manifest_of(light, path, again) != written:
        raise ManifestError(f"{path}: it is of another export than {exported}; {again}")
    return light.whole()


def _manifest_of(light: LightModel, path: Path, advice: str) -> Manifest:
    """Read the manifest of a file.

    Raises:
        ManifestError: The file carries no manifest, or one that cannot be read.
    """
    text = next((entry.value for entry in light.proto.metadata_props if entry.key == manifest.KEY), None)
    if text is None:
        raise ManifestError(f"{path}: it carries no manifest; {advice}")
    return Manifest.from_json(text, str(path))
