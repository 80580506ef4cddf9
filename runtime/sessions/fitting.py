"""Whether a model has the inputs and outputs that its manifest names, with the places in them that it counts on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from aerocam import manifest as contract
from aerocam.errors import ModelError
from aerocam.manifest import Boxes, Manifest, Preprocess
from aerocam.runtime.sessions.session import Session, TensorSpec

Shape = tuple[int, ...]


def require(session: Session, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Make sure that a model has what its manifest names.

    Raises:
        ModelError: An input or an output is absent, or of another form than the manifest says.
    """
    absent = [name for name in inputs if all(name != spec.name for spec in session.inputs)]
    absent += [name for name in outputs if all(name != spec.name for spec in session.outputs)]
    if absent:
        raise ModelError(
            f"{session.path}: it has no {', '.join(repr(name) for name in absent)}, which its manifest names;"
            " export the model again"
        )
    require_fitting(session)


def require_fitting(session: Session) -> None:
    """Make sure that those inputs and outputs that a model has are of the form that its manifest says.

    Raises:
        ModelError: One is not.
    """
    shapes = dict(_input_shapes(session.manifest))
    for spec in session.inputs:
        if spec.name in shapes and not (spec.fixed and spec.shape == shapes[spec.name]):
            raise _other(session, "input", spec, str(shapes[spec.name]))
    expected, targets = dict(_output_shapes(session.manifest)), session.manifest.score.targets
    maps = () if session.manifest.head is None else (session.manifest.head.output,)
    for spec in session.outputs:
        if spec.name in expected and not (_of_numbers(spec) and spec.shape == expected[spec.name]):
            raise _other(session, "output", spec, str(expected[spec.name]))
        if spec.name in session.manifest.own_outputs and not _of_numbers(spec):
            raise _other(session, "output", spec, "a fixed shape of numbers")
        if spec.name in maps and not (_of_numbers(spec) and (len(spec.shape), spec.shape[0]) == (3, targets)):
            raise _other(session, "output", spec, f"({targets}, h, w)")
    own = {spec.name: spec for spec in session.outputs if spec.name in session.manifest.own_outputs}
    for name, place in _problems(session.manifest, {name: _sizes(spec) for name, spec in own.items()}):
        raise _other(session, "output", own[name], place)


def _of_numbers(spec: TensorSpec) -> bool:
    return spec.fixed and spec.dtype.kind in "biuf" and all(size for size in _sizes(spec))


def _sizes(spec: TensorSpec) -> Shape:
    return tuple(size for size in spec.shape if isinstance(size, int))


def _other(session: Session, what: str, spec: TensorSpec, expected: str) -> ModelError:
    return ModelError(
        f"{session.path}: {what} '{spec.name}' is {spec}, its manifest says {expected}; export the model again"
    )


def _input_shapes(manifest: Manifest) -> Iterator[tuple[str, Shape]]:
    """Yield names and shapes of the inputs that aerocam fills."""
    score = manifest.score
    yield contract.TARGET, (score.targets * (2 if manifest.has_anchors else 1),)
    yield contract.REFERENCE, (score.targets, score.classes)
    if score.positions is not None:
        yield contract.REGION, (score.targets, *score.positions)
    if manifest.preprocess is not None:
        yield image_input(manifest.preprocess), image_shape(manifest.preprocess)


def image_input(rule: Preprocess) -> str:
    """Return the name of the input that takes the picture, or the frame."""
    return rule.input if rule.frame is None else contract.FRAME


def image_shape(rule: Preprocess) -> Shape:
    """Return its shape."""
    return rule.shape if rule.frame is None else (*rule.frame, 3)


def _output_shapes(manifest: Manifest) -> Iterator[tuple[str, Shape]]:
    """Yield names and shapes of the outputs that the export added."""
    targets, rule, head = manifest.score.targets, manifest.preprocess, manifest.head
    yield contract.SCORE, (targets,)
    yield contract.CHOSEN, (targets * (2 if manifest.has_anchors else 1),)
    for layer in manifest.layers:
        if layer.activations is not None:
            yield layer.activations, layer.shape
        if layer.gradients is not None:
            yield layer.gradients, (targets, *layer.shape[1:])
    if head is not None and rule is not None and head.form == "frame":
        yield head.output, (targets, *(rule.frame or rule.size))
    if head is not None and head.overlay is not None and rule is not None and rule.frame is not None:
        yield head.overlay, (*rule.frame, 3)


def _problems(manifest: Manifest, shapes: dict[str, Shape]) -> Iterator[tuple[str, str]]:
    """Yield the model's own outputs that lack a place that is read, and what was expected there."""
    score, boxes = manifest.score, manifest.boxes
    if (shape := shapes.get(score.output)) is not None:
        last = _last_place(manifest)
        if score.positions is not None:
            fits = _has(shape, score.class_axis, score.classes - 1, None)
            needed = score.position_offset + math.prod(score.positions)
            if not (fits and shape[score.class_axis] == score.classes and _others(shape, score.class_axis) >= needed):
                yield score.output, f"{score.classes} channels on axis {score.class_axis} at {needed} positions"
        elif not score.anchors:
            if math.prod(shape) != score.classes and not (math.prod(shape) == 1 and score.classes == 2):
                yield score.output, f"{score.classes} numbers"
        else:
            places = None if manifest.task == "segment" else score.anchors  # a segmenter's may be drawn larger
            if not score.class_axis or not _has(shape, score.class_axis, last, places):
                yield score.output, f"{last + 1} numbers or more on axis {score.class_axis} at {score.anchors} places"
    if boxes is None:
        return
    if (shape := shapes.get(boxes.output)) is not None and not (
        len(shape) == 3 and _has(shape, boxes.axis, _last_of_box(boxes), score.anchors)
    ):
        yield boxes.output, f"{_last_of_box(boxes) + 1} numbers or more on axis {boxes.axis}, {score.anchors} boxes"
    masks = boxes.masks
    shape = None if masks is None else shapes.get(masks.output)
    if masks is not None and shape is not None and (len(shape) != 4 or shape[:2] != (1, masks.count)):
        yield masks.output, f"(1, {masks.count}, h, w)"


def _last_place(manifest: Manifest) -> int:
    """Return the last place on the axis of the classes that is read."""
    score = manifest.score
    if score.label_at is not None:
        return max(score.class_offset, score.label_at)
    classes = max(score.classes, 0 if score.background is None else score.background + 1)
    return max(score.class_offset + classes - 1, score.objectness or 0)


def _last_of_box(boxes: Boxes) -> int:
    """Return the last place on the axis of the boxes that is read."""
    ends = [boxes.offset + 3, boxes.angle or 0]
    if boxes.masks is not None:
        ends.append(boxes.masks.offset + boxes.masks.count - 1)
    if boxes.keypoints is not None:
        ends.append(boxes.keypoints.offset + boxes.keypoints.count * boxes.keypoints.numbers - 1)
    return max(ends)


def _has(shape: Shape, axis: int, place: int, others: int | None) -> bool:
    """Say whether an axis has a place, and the others so many places together; the first is one picture's."""
    here = axis < len(shape) and place < shape[axis]
    return here and shape[0] == 1 and (others is None or _others(shape, axis) == others)


def _others(shape: Shape, axis: int) -> int:
    return math.prod(shape) // shape[axis]
