"""One explainable model as two: one that runs on every frame, and one that explains what it is asked to.

The forward model is the original with the target layers as further outputs. The explaining one takes these and the
target, computes the part behind the layers once more, and the gradients; so it holds neither image nor backbone, and
nothing of it runs on a frame that nobody asks about. A third, the tail, has the scores of several activations at once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import onnx_ir as ir
import onnx_ir.passes.common as passes

from aerocam import manifest
from aerocam.export.gradients.autodiff import descendants, values_read
from aerocam.export.layers.tensor_names import tensor_names
from aerocam.export.nodes.builder import make_input, tensor_table
from aerocam.manifest import Manifest


def with_carried(model: ir.Model, written: Manifest, before: Collection[str]) -> Manifest:
    """Complete a manifest with what is carried from file to file, if the model is to be split.

    Only a rewritten model shows that: the rules of the gradients read values of the model around the target layers, and
    which ones depends on the nodes on the way.

    Args:
        model: The rewritten model.
        written: Its manifest so far.
        before: As for `carried_values`.
    """
    if written.split is None:
        return written
    layers = [layer.name for layer in written.layers]
    carried = carried_values(model, layers, added_names(model, len(layers)), before)
    return replace(written, split=replace(written.split, carried=tuple(carried)))


def parts(model: ir.Model, written: Manifest, originals: Sequence[str]) -> tuple[ir.Model, ...]:
    """Return the models that are written: the rewritten one, or the forward, the explaining and any tail model."""
    if written.split is None:
        return (model,)
    halves = split(model, written.split.carried, originals, added_names(model, len(written.layers)))
    return halves if written.split.tail is None else (*halves, tail(model, written.split.carried))


def added_names(model: ir.Model, layers: int) -> list[str]:
    """Return the inputs and outputs of a rewritten model that are this package's own."""
    own = {manifest.TARGET, manifest.REFERENCE, manifest.CHOSEN, manifest.SCORE, manifest.MAP}
    own |= {manifest.BATCH, manifest.SCORES}
    own.update(name for i in range(layers) for name in tensor_names(i))
    return [str(value.name) for value in (*model.graph.inputs, *model.graph.outputs) if value.name in own]


def carried_values(
    model: ir.Model, layers: Sequence[str], added: Collection[str], before: Collection[str]
) -> list[str]:
    """Return what an explaining model takes from the forward one: the layers, and what reaches the score around them.

    Args:
        model: A rewritten model.
        layers: Names of the target layers.
        added: Names of the inputs and outputs that the rewriting added, but for the layers themselves.
        before: Names of all tensors before the rewriting: no other is carried.
    """
    tensors = tensor_table(model)
    carried = dict.fromkeys(tensors[name] for name in layers)
    behind = descendants(model.graph, [*carried, *(value for value in model.graph.inputs if value.name in added)])
    waiting, seen = [value for value in model.graph.outputs if value.name in added], set(carried)
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        producer = value.producer()
        if value not in behind and value.name in before and value.name in tensors:
            carried[value] = None
        elif producer is not None:
            waiting += values_read(producer)
    return [str(value.name) for value in carried]


def split(
    model: ir.Model, carried: Sequence[str], originals: Sequence[str], added: Collection[str]
) -> tuple[ir.Model, ir.Model]:
    """Return the forward model and the explaining one.

    Args:
        model: A rewritten model; it stays as it is.
        carried: As `carried_values` gives it.
        originals: Names of the original outputs.
        added: As for `carried_values`.
    """
    forward = model.clone()
    inputs = {value.name for value in model.graph.inputs}
    _keep(forward, list(dict.fromkeys([*originals, *(name for name in carried if name not in inputs)])))
    forward.graph.inputs[:] = [value for value in forward.graph.inputs if value.name not in added]
    wanted = [str(value.name) for value in model.graph.outputs if value.name in added]
    explain = _behind(model, carried, [name for name in wanted if name != manifest.SCORES])
    kept = {*carried, *added} - {manifest.BATCH}
    explain.graph.inputs[:] = [value for value in explain.graph.inputs if value.name in kept]
    return forward, explain


def tail(model: ir.Model, carried: Sequence[str]) -> ir.Model:
    """Return the model that computes the scores of several activations; its inputs are batch, target and what it reads.

    Args:
        model: A rewritten model; it stays as it is.
        carried: As `carried_values` gives it.
    """
    copy = _behind(model, carried, [manifest.SCORES])
    always = (manifest.BATCH, manifest.TARGET)
    copy.graph.inputs[:] = [value for value in copy.graph.inputs if value.uses() or value.name in always]
    return copy


def _behind(model: ir.Model, carried: Sequence[str], outputs: Sequence[str]) -> ir.Model:
    """Return a copy of the model that computes `outputs` from the tensors that are carried over."""
    copy = model.clone()
    tensors = tensor_table(copy)
    for name in carried:
        make_input(copy.graph, tensors[name])
    _keep(copy, outputs)
    return copy


def _keep(model: ir.Model, outputs: Sequence[str]) -> None:
    """Keep these outputs alone, and remove the nodes that none of them needs."""
    tensors = tensor_table(model)
    model.graph.outputs[:] = [tensors[name] for name in outputs]
    passes.RemoveUnusedNodesPass()(model)


def join(forward: ir.Model, explain: ir.Model | None = None) -> ir.Model:
    """Join two models to one, in which the explaining model takes its inputs from the forward model.

    Args:
        forward: As `split` gives it, or joined before; it is changed. Without an explaining model it stays as it is.
        explain: As `split` gives it, or `tail`; it is changed.
    """
    if explain is None:
        return forward
    tensors = tensor_table(forward)
    taken = {str(node.name) for node in forward.graph} | tensors.keys() | forward.graph.initializers.keys()
    for node in explain.graph:
        if node.name:  # many may have none; names must differ
            node.name = _untaken(node.name, taken)
        for y in node.outputs:
            y.name = _untaken(str(y.name), taken)
    own = [value for value in explain.graph.inputs if value.name not in tensors]
    for value in explain.graph.inputs:
        for user, index in list(value.uses()) if value.name in tensors else ():
            user.replace_input_with(index, tensors[str(value.name)])
    weights = list(explain.graph.initializers.values())
    merged = {value: forward.graph.initializers.get(str(value.name)) for value in weights}
    for value, existing in merged.items():
        if existing is not None and _are_equal(value, existing):
            value.replace_all_uses_with(existing)
    nodes, outputs = list(explain.graph), list(explain.graph.outputs)
    for container in (explain.graph.inputs, explain.graph.outputs, explain.graph.initializers):
        container.clear()
    explain.graph.remove(nodes)
    forward.graph.inputs.extend(own)
    forward.graph.extend(nodes)
    for value in weights:
        if value.uses():
            value.name = _untaken(str(value.name), taken)
            forward.graph.register_initializer(value)
    forward.graph.outputs.extend(outputs)
    return forward


def _are_equal(weight: ir.Value, other: ir.Value) -> bool:
    """Return whether two weights have the same type, shape and numbers."""
    a, b = weight.const_value, other.const_value
    if a is None or b is None or (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    return a is b or a.tobytes() == b.tobytes()


def _untaken(name: str, taken: Collection[str]) -> str:
    """Return `name`, lengthened until it is not taken."""
    while name in taken:
        name = f"{name}_again"
    return name
