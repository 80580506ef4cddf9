"""The rule table against other implementations: PyTorch's autograd and onnx-ad, where either covers a row.

For every row, the gradients of the same weighted sum of outputs: by the rule in ONNX Runtime in float32, by autograd in
float64 through the short mapping below, and by onnx-ad in ONNX Runtime in float32. A row counts only where the other
implementation's outputs equal the node's. Needs PyTorch and onnx-ad beside the package:

    PYTHONPATH=src:tests/helpers python tests/crosscheck/rules.py

prints a table, writes docs/crosscheck-rules.md, and fails if a gradient differs from PyTorch's, or
from onnx-ad's in a row that PyTorch does not cover.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ad
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor
from torch.nn import functional as F

from onnx_graphs import in_float64, node_model, run_ort, run_ort_double, run_reference
from rule_check import draw, gradients, score_weights
from rule_table import CASES
from rule_table.case import Case

TOLERANCE = 1e-4
REPORT = Path(__file__).parents[2] / "docs" / "crosscheck-rules.md"
PACKAGES = ("torch", "onnx-ad", "onnx", "onnxruntime", "numpy")

Attributes = dict[str, Any]
"""A node's attributes, and the shape of its first output as `y`."""

CONVS = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
MAX_POOLS = (F.max_pool1d, F.max_pool2d, F.max_pool3d)


def padding(a: Attributes, sizes: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
    """What windows reach into, before and after each spatial axis."""
    rank, mode = len(sizes), a.get("auto_pad", "NOTSET")
    edges = []
    for i, (n, k) in enumerate(zip(sizes, kernel, strict=True)):
        reach = (k - 1) * a.get("dilations", [1] * rank)[i] + 1
        total = (a["y"][2 + i] - 1) * a.get("strides", [1] * rank)[i] + reach - n
        given = a.get("pads", [0] * 2 * rank)[i] if mode == "NOTSET" else 0
        before = {"SAME_UPPER": max(total, 0) // 2, "SAME_LOWER": (max(total, 0) + 1) // 2}.get(mode, given)
        edges.append((before, total - before))
    return edges


def padded(x: Tensor, edges: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """`x` with a border along its last axes; negative: cut."""
    return F.pad(x, [n for edge in reversed(edges) for n in edge], value=value)


def window(a: Attributes, rank: int) -> dict[str, Any]:
    return {"stride": a.get("strides", [1] * rank), "dilation": a.get("dilations", [1] * rank)}


def conv(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    rank = x.ndim - 2
    x = padded(x, padding(a, x.shape[2:], w.shape[2:]))
    return CONVS[rank - 1](x, w, b, groups=a.get("group", 1), **window(a, rank))


def conv_transpose(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """The full result, then what pads or a given shape leave of it."""
    rank = x.ndim - 2
    y = TRANSPOSED[rank - 1](x, w, groups=a.get("group", 1), **window(a, rank))
    named = "output_shape" in a or a.get("auto_pad", "").startswith("SAME")
    edges = []
    for i, (full, size) in enumerate(zip(y.shape[2:], a["y"][2:], strict=True)):
        total = max(full + a.get("output_padding", [0] * rank)[i] - size, 0)
        before = (total + (a.get("auto_pad") != "SAME_UPPER")) // 2 if named else a.get("pads", [0] * rank)[i]
        edges.append((-before, size - full + before))
    y = padded(y, edges)
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def max_pool(a: Attributes, x: Tensor) -> Tensor:
    rank = x.ndim - 2
    x = padded(x, padding(a, x.shape[2:], a["kernel_shape"]), -math.inf)
    return MAX_POOLS[rank - 1](x, a["kernel_shape"], **window(a, rank))


def window_sums(a: Attributes, x: Tensor) -> Tensor:
    ones = torch.ones(x.shape[1], 1, *a["kernel_shape"], dtype=x.dtype)
    return CONVS[x.ndim - 3](x, ones, groups=x.shape[1], **window(a, x.ndim - 2))


def average_pool(a: Attributes, x: Tensor) -> Tensor:
    rank, edges = x.ndim - 2, padding(a, x.shape[2:], a["kernel_shape"])
    counted = [(0, 0)] * rank
    if a.get("count_include_pad"):
        pads = a.get("pads", [after for _, after in edges] * 2)[rank:]
        counted = [(before, min(after, pad)) for (before, after), pad in zip(edges, pads, strict=True)]
    rest = [(b - c, e - d) for (b, e), (c, d) in zip(edges, counted, strict=True)]
    counts = padded(padded(torch.ones_like(x), counted, 1.0), rest)
    return window_sums(a, padded(x, edges)) / window_sums(a, counts)


def lp_pool(a: Attributes, x: Tensor) -> Tensor:
    p = a.get("p", 2)
    return window_sums(a, padded(x.abs() ** p, padding(a, x.shape[2:], a["kernel_shape"]))) ** (1 / p)


def plane_axes(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def reduced(compute: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> Callable[..., Tensor]:
    """A reduction whose axes are an attribute or an input; none: all, or with `noop_with_empty_axes` none."""

    def result(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = a.get("axes", []) if axes is None else axes.tolist()
        if not chosen and a.get("noop_with_empty_axes"):  # of single entries
            return compute(x[..., None], (x.ndim,), False) if a["op"] not in ("ReduceMax", "ReduceMin") else x
        return compute(x, tuple(chosen) or tuple(range(x.ndim)), bool(a.get("keepdims", 1)))

    return result


def product(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def running_sum(a: Attributes, x: Tensor, axis: Tensor) -> Tensor:
    over = int(axis)
    turned = x.flip(over) if a.get("reverse") else x
    y = turned.cumsum(over) - (turned if a.get("exclusive") else 0)
    return y.flip(over) if a.get("reverse") else y


def gemm(a: Attributes, x: Tensor, w: Tensor, c: Tensor | None = None) -> Tensor:
    y = a.get("alpha", 1.0) * (x.T if a.get("transA") else x) @ (w.T if a.get("transB") else w)
    return y if c is None else y + a.get("beta", 1.0) * c


def sliced(_: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Any = None, steps: Any = None) -> Tensor:
    axes = range(len(starts)) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps, strict=True):
        x = x.index_select(axis, torch.tensor(list(range(x.shape[axis])[start:end:step])))
    return x


def pad(a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
    """Axis by axis, since PyTorch's borders of copies go around the last axes only."""
    mode = {"edge": "replicate", "wrap": "circular"}.get(a.get("mode", "constant"), a.get("mode", "constant"))
    chosen = range(x.ndim) if axes is None else axes.tolist()
    for axis, before, after in zip(chosen, *pads.reshape(2, -1).tolist(), strict=True):
        last = x.movedim(axis, -1)
        flat = F.pad(last.reshape(1, -1, last.shape[-1]), (min(before, 0), min(after, 0)))
        options = {"value": 0.0 if value is None else float(value)} if mode == "constant" else {}
        flat = F.pad(flat, (max(before, 0), max(after, 0)), mode=mode, **options)
        x = flat.reshape(*last.shape[:-1], -1).movedim(-1, axis)
    return x


def split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> Sequence[Tensor]:
    axis = a.get("axis", 0)
    return x.split(a["y"][axis] if sizes is None else sizes.tolist(), axis)


def depth_to_space(a: Attributes, x: Tensor) -> Tensor:
    block = a["blocksize"]
    if a.get("mode", "DCR") == "DCR":
        x = x.unflatten(1, (block * block, -1)).transpose(1, 2).flatten(1, 2)
    return F.pixel_shuffle(x, block)


def space_to_depth(a: Attributes, x: Tensor) -> Tensor:
    block = a["blocksize"]
    return F.pixel_unshuffle(x, block).unflatten(1, (-1, block * block)).transpose(1, 2).flatten(1, 2)


def trilu(a: Attributes, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    return (torch.triu if a.get("upper", 1) else torch.tril)(x, 0 if diagonal is None else int(diagonal))


def gather(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    return x[(slice(None),) * (a.get("axis", 0) % x.ndim) + (indices.long(),)]


def gather_elements(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = a.get("axis", 0)
    return x.gather(axis, indices.long() % x.shape[axis])


def gather_nd(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    batch = a.get("batch_dims", 0)
    own = [
        torch.arange(n).reshape([-1 if j == i else 1 for j in range(indices.ndim - 1)])
        for i, n in enumerate(x.shape[:batch])
    ]
    return x[(*own, *indices.unbind(-1))]


def scatter_elements(a: Attributes, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    axis = a.get("axis", 0)
    put = x.scatter_add if a.get("reduction") == "add" else x.scatter
    return put(axis, indices.long() % x.shape[axis], updates)


def scatter_nd(a: Attributes, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    return x.index_put(tuple(indices.unbind(-1)), updates, accumulate=a.get("reduction") == "add")


def reverse_sequence(a: Attributes, x: Tensor, lengths: Tensor) -> Tensor:
    time, batch = a.get("time_axis", 0), a.get("batch_axis", 1)
    rows = x.movedim((batch, time), (0, 1))
    turned = [torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(rows, lengths.tolist(), strict=True)]
    return torch.stack(turned).movedim((0, 1), (batch, time))


def max_unpool(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    flat = torch.zeros(math.prod(a["y"]), dtype=x.dtype)
    return flat.index_put((indices.flatten(),), x.flatten()).reshape(a["y"])


def layer_norm(a: Attributes, x: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    y = F.layer_norm(x, x.shape[a.get("axis", -1) % x.ndim :], eps=a.get("epsilon", 1e-5)) * scale
    return y if offset is None else y + offset


def rms_norm(a: Attributes, x: Tensor, scale: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[a.get("axis", -1) % x.ndim :], eps=a.get("epsilon", 1e-5)) * scale


def group_norm(a: Attributes, x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    parts = [part.repeat_interleave(x.shape[1] // len(part)) for part in (scale, offset)]
    return F.group_norm(x, a["num_groups"], *parts, eps=a.get("epsilon", 1e-5))


def batch_norm(a: Attributes, x: Tensor, scale: Tensor, offset: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, offset, eps=a.get("epsilon", 1e-5))


def local_response_norm(a: Attributes, x: Tensor) -> Tensor:
    return F.local_response_norm(x, a["size"], a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0))


def attention(a: Attributes, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    if flat := q.ndim == 3:
        q = q.unflatten(2, (a["q_num_heads"], -1)).transpose(1, 2)
        k, v = (part.unflatten(2, (a["kv_num_heads"], -1)).transpose(1, 2) for part in (k, v))
    seen = torch.zeros(q.shape[2], k.shape[2], dtype=q.dtype)
    if a.get("is_causal"):
        seen = seen.masked_fill(torch.ones_like(seen).tril() == 0, -math.inf)
    if mask is not None:
        seen = seen + (torch.zeros(mask.shape, dtype=q.dtype).masked_fill(~mask, -math.inf) if mask.dtype == torch.bool
                       else mask)  # fmt: skip
    y = F.scaled_dot_product_attention(q, k, v, seen, scale=a.get("scale"), enable_gqa=True)
    return y.transpose(1, 2).flatten(2) if flat else y


def grid_sample(a: Attributes, x: Tensor, grid: Tensor) -> Tensor:
    mode = {"linear": "bilinear"}.get(a.get("mode", "linear"), a.get("mode", "bilinear"))
    return F.grid_sample(x, grid, mode, a.get("padding_mode", "zeros"), bool(a.get("align_corners", 0)))


MODES = {"linear": ("linear", "bilinear", "trilinear"), "cubic": ("", "bicubic", "")}


def between(sizes: Sequence[int], x: Tensor, scales: dict[int, float]) -> Tensor:
    """Linear, half_pixel, axis by axis: PyTorch's own leaves an axis alone whose length a scale does not change."""
    for axis, scale in scales.items():
        n = x.shape[axis]
        place = ((torch.arange(sizes[axis], dtype=x.dtype) + 0.5) / scale - 0.5).clamp(0, n - 1)
        low = place.floor().long()
        share = (place - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        high = (low + 1).clamp(max=n - 1)
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
    return x


def resize(a: Attributes, x: Tensor, _: Any = None, scales: Any = None, sizes: Any = None) -> Tensor:
    """By PyTorch's function; its forms are fewer, and the outputs tell where they mean the same.

    ONNX Runtime copies what keeps its shape, whatever the scales.
    """
    rank, mode = x.ndim - 2, a.get("mode", "nearest")
    if a["y"] == list(x.shape):
        return x
    if (policy := a.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
        ratios = [size / x.shape[axis] for axis, size in zip(a["axes"], sizes.tolist(), strict=True)]
        scale = max(ratios) if policy == "not_smaller" else min(ratios)
        return torch.ops.aten.upsample_bilinear2d(x, a["y"][2:], False, scale, scale)
    coordinates = a.get("coordinate_transformation_mode", "half_pixel")
    options: dict[str, Any] = {"size": a["y"][2:]}
    if scales is not None:
        axes = [axis % x.ndim for axis in a.get("axes", range(x.ndim))]
        by_axis = dict(zip(axes, scales.tolist(), strict=True))
        kept = any(by_axis.get(i, 1.0) != 1 and (i < 2 or x.shape[i] == a["y"][i]) for i in range(x.ndim))
        if kept and mode == "linear" and coordinates == "half_pixel":
            return between(a["y"], x, by_axis)
        options = {"scale_factor": [by_axis.get(i + 2, 1.0) for i in range(rank)], "recompute_scale_factor": False}
    if mode == "nearest":
        return F.interpolate(x, mode="nearest" if coordinates == "asymmetric" else "nearest-exact", **options)
    options["align_corners"] = coordinates == "align_corners"
    return F.interpolate(x, mode=MODES[mode][rank - 1], antialias=bool(a.get("antialias", 0)), **options)


def clip(_: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x if low is None and high is None else x.clamp(low, high)


def entrywise(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that has no attributes."""
    return lambda a, *xs: function(*xs)


def folded(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A function of two, over any number of operands."""

    def result(a: Attributes, x: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            x = function(x, other)
        return x / (1 + len(others)) if a["op"] == "Mean" else x

    return result


UNCHANGED = ("Identity", "Dropout", "Cast", "CastLike")
RESHAPED = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
NAMED = (
    "Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Erf", "Neg", "Reciprocal", "Sin", "Cos", "Tan", "Sinh",
    "Cosh", "Asin", "Acos", "Atan", "Asinh", "Acosh", "Atanh", "Where", "MatMul", "Pow", "Sub", "Mul", "Div", "Add",
)  # fmt: skip
"""Operators that PyTorch has by the same name."""

TORCH: dict[str, Callable[..., Any]] = {
    **{op: lambda a, x, *_: x for op in UNCHANGED},
    **{op: lambda a, x, *_: x.reshape(a["y"]) for op in RESHAPED},
    **{op: entrywise(getattr(torch, op.lower())) for op in NAMED},
    "Sum": folded(torch.add),
    "Mean": folded(torch.add),
    "Max": folded(torch.maximum),
    "Min": folded(torch.minimum),
    "Mod": entrywise(torch.fmod),
    "Clip": clip,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "PRelu": lambda a, x, slope: torch.where(x > 0, x, slope * x),
    "ThresholdedRelu": lambda a, x: F.threshold(x, a.get("alpha", 1.0), 0.0),
    "Elu": lambda a, x: F.elu(x, a.get("alpha", 1.0)),
    "Selu": lambda a, x: a["gamma"] * F.elu(x, a["alpha"]) if a.get("gamma") else F.selu(x),
    "Celu": lambda a, x: F.celu(x, a.get("alpha", 1.0)),
    "HardSigmoid": lambda a, x: (a.get("alpha", 0.2) * x + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": entrywise(F.hardswish),
    "Softplus": entrywise(F.softplus),
    "Softsign": entrywise(F.softsign),
    "Mish": entrywise(F.mish),
    "Gelu": lambda a, x: F.gelu(x, approximate=a.get("approximate", "none")),
    "Swish": lambda a, x: x * torch.sigmoid(a.get("alpha", 1.0) * x),
    "Softmax": lambda a, x: x.softmax(a.get("axis", -1)),
    "LogSoftmax": lambda a, x: x.log_softmax(a.get("axis", -1)),
    "ReduceSum": reduced(lambda x, axes, keep: x.sum(axes, keep)),
    "ReduceMean": reduced(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceMax": reduced(lambda x, axes, keep: x.amax(axes, keep)),
    "ReduceMin": reduced(lambda x, axes, keep: x.amin(axes, keep)),
    "ReduceL1": reduced(lambda x, axes, keep: torch.linalg.vector_norm(x, 1, axes, keep)),
    "ReduceL2": reduced(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "ReduceSumSquare": reduced(lambda x, axes, keep: (x * x).sum(axes, keep)),
    "ReduceLogSum": reduced(lambda x, axes, keep: x.sum(axes, keep).log()),
    "ReduceLogSumExp": reduced(lambda x, axes, keep: x.logsumexp(axes, keep)),
    "ReduceProd": reduced(product),
    "CumSum": running_sum,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "Einsum": lambda a, *xs: torch.einsum(a["equation"], *xs),
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "LpPool": lp_pool,
    "GlobalAveragePool": lambda a, x: x.mean(plane_axes(x), True),
    "GlobalMaxPool": lambda a, x: x.amax(plane_axes(x), True),
    "GlobalLpPool": lambda a, x: torch.linalg.vector_norm(x, a.get("p", 2), plane_axes(x), True),
    "MaxUnpool": max_unpool,
    "Transpose": lambda a, x: x.permute(a.get("perm", list(range(x.ndim))[::-1])),
    "Concat": lambda a, *xs: torch.cat(xs, a["axis"]),
    "Split": split,
    "Slice": sliced,
    "Pad": pad,
    "Expand": lambda a, x, shape: x.expand(a["y"]),
    "Tile": lambda a, x, repeats: x.repeat(repeats.tolist()),
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Trilu": trilu,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "ReverseSequence": reverse_sequence,
    "TopK": lambda a, x, k: x.topk(int(k), a.get("axis", -1), bool(a.get("largest", 1))),
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "InstanceNormalization": lambda a, x, s, b: F.instance_norm(x, weight=s, bias=b, eps=a.get("epsilon", 1e-5)),
    "GroupNormalization": group_norm,
    "LpNormalization": lambda a, x: F.normalize(x, a.get("p", 2), a.get("axis", -1)),
    "LRN": local_response_norm,
    "Attention": attention,
    "GridSample": grid_sample,
    "Resize": resize,
}
"""Per operator, a function of its attributes and inputs."""


class NotCovered(Exception):
    """An implementation lacks a row's form, or means something else by it."""


def by_torch(
    case: Case, outputs: list[NDArray[Any]], weights: list[NDArray[Any]], _model: ModelProto
) -> list[NDArray[Any]]:
    """Gradients by autograd in float64."""
    if case.op not in TORCH:
        raise NotCovered("no mapping")
    inputs, constants, order = draw(case)
    leaves = {name: torch.tensor(x.astype(np.float32)).double().requires_grad_() for name, x in inputs.items()}
    fixed = {name: torch.tensor(x) for name, x in constants.items()}
    fixed = {name: x.double() if x.is_floating_point() else x for name, x in fixed.items()}
    values = [leaves[name] if name in leaves else fixed.get(name) for name in order]
    attributes = {**case.attributes, "y": list(outputs[0].shape), "op": case.op}
    try:
        results = TORCH[case.op](attributes, *values)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise NotCovered(str(error).splitlines()[0]) from error
    results = [results] if isinstance(results, Tensor) else results
    for i in case.used:
        same(results[i].detach().numpy(), outputs[i])
    score = sum(
        (results[i] * torch.tensor(weight.astype(np.float32))).sum()
        for i, weight in zip(case.used, weights, strict=True)
    )
    found = torch.autograd.grad(score, list(leaves.values()), allow_unused=True)
    return [np.zeros(x.shape) if dx is None else dx.numpy() for x, dx in zip(leaves.values(), found, strict=True)]


def by_onnx_ad(
    case: Case, outputs: list[NDArray[Any]], weights: list[NDArray[Any]], model: ModelProto
) -> list[NDArray[Any]]:
    """Gradients by the model that onnx-ad derives, in ONNX Runtime in float32."""
    inputs, _, _ = draw(case)
    names = [f"y{i}" for i in case.used]
    feeds = {name: x.astype(np.float32) for name, x in inputs.items()}
    try:
        derived = onnx_ad.reverse(model, outputs=names, layout="onnx")
        seeds = {f"adj_{name}": w.astype(np.float32)[..., None] for name, w in zip(names, weights, strict=True)}
        wanted = {item.name for item in derived.graph.output}
        found = run_ort(derived, {**feeds, **seeds}, [*names, *(f"adj_{name}" for name in feeds)])
    except Exception as error:  # whatever it is: a form that is not covered
        raise NotCovered(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
    assert wanted.issuperset(names)
    for i, result in zip(case.used, found, strict=False):
        same(result, outputs[i])
    return [dx[..., 0] for dx in found[len(names) :]]


def same(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Raise `NotCovered` unless two outputs agree."""
    if found.shape != np.shape(expected):
        raise NotCovered(f"an output of shape {found.shape}, the node's has {np.shape(expected)}")
    if not (apart := difference(found, expected)) < TOLERANCE:
        raise NotCovered(f"another output, by {apart:.1e}")


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest difference, relative to the largest number expected; NaN counts as infinite."""
    scale = max(float(np.abs(expected).max(initial=0)), 1e-6)
    apart = float(np.abs(found.astype(np.float64) - expected).max(initial=0)) / scale
    return math.inf if math.isnan(apart) else apart


def forward(case: Case) -> tuple[ModelProto, list[NDArray[Any]]]:
    """The node's model in float32, and its outputs as the rule table has them."""
    inputs, constants, order = draw(case)
    feeds = {name: x.astype(np.float32) for name, x in inputs.items()}
    proto = node_model(case.op, feeds, constants, order, case.attributes, case.outputs, case.opset)
    if case.forward in (run_reference, run_ort_double):
        return proto, case.forward(in_float64(proto), {name: x.astype(np.float64) for name, x in feeds.items()})
    return proto, case.forward(proto, feeds)


ORACLES = {"PyTorch": by_torch, "onnx-ad": by_onnx_ad}


def compare(case: Case) -> dict[str, float | str]:
    """Per oracle, the largest difference of a gradient, or why the row is not covered."""
    model, outputs = forward(case)
    weights = score_weights(case, outputs, np.random.default_rng(1))
    ours = gradients(case, weights)
    result: dict[str, float | str] = {}
    for name, oracle in ORACLES.items():
        try:
            theirs = oracle(case, outputs, weights, model)
        except NotCovered as reason:
            result[name] = str(reason)
        else:
            result[name] = max(difference(a, b) for a, b in zip(ours, theirs, strict=True))
    return result


def report(
    rows: dict[str, list[dict[str, float | str]]], missing: list[str], apart: list[str], disputed: list[str]
) -> str:
    """The document: versions, a table per operator, what differs, what was not compared."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    everything = [row for group in rows.values() for row in group]
    lines = [
        "# The rule table against other implementations", "",
        f"{datetime.date.today()}, by `PYTHONPATH=src:tests/helpers python tests/crosscheck/rules.py`: {versions}.", "",
        "Every row of `tests/helpers/rule_table`, by its adjoint rule (float32, ONNX Runtime), by PyTorch's autograd"
        " (float64) and by onnx-ad (float32, ONNX Runtime). A row is compared where the other implementation's outputs"
        f" equal the node's. Differences are relative to the gradient's largest entry; above {TOLERANCE:g}"
        " the script fails, and where PyTorch covers the row, PyTorch decides.", "",
        f"{len(everything)} rows; {len(everything) - len(missing)} compared; the rule differs in {len(apart)}.", "",
        "| operator | rows | PyTorch | onnx-ad | largest difference, PyTorch | onnx-ad |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for op, group in [("all", everything), *sorted(rows.items())]:
        values = [[row[name] for row in group if isinstance(row[name], float)] for name in ORACLES]
        largest = [f"{max(column):.1e}" if column else "" for column in values]
        lines.append(f"| {op} | {len(group)} | {' | '.join([*(str(len(column)) for column in values), *largest])} |")
    for title, items in (
        ("The rule differs", apart),
        ("onnx-ad differs, PyTorch agrees with the rule", disputed),
        ("Compared with neither", missing),
    ):
        lines += ["", f"## {title}", "", *([f"- `{item}`" for item in items] or ["None."])]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Compare every row, print and write the report."""
    rows: dict[str, list[dict[str, float | str]]] = {}
    missing: list[str] = []
    apart: list[str] = []
    disputed: list[str] = []
    for case in CASES:
        row = compare(case)
        rows.setdefault(case.op, []).append(row)
        values = {name: value for name, value in row.items() if isinstance(value, float)}
        if not values:
            missing.append(f"{case}: " + "; ".join(f"{name}: {reason}" for name, reason in row.items()))
        differing = [f"{case}: {name}, by {value:.1e}" for name, value in values.items() if value > TOLERANCE]
        agreed = values.get("PyTorch", math.inf) <= TOLERANCE
        (disputed if agreed else apart).extend(differing)
        if "-v" in sys.argv:
            print(f"{case}: {row}", file=sys.stderr)
    text = report(rows, missing, apart, disputed)
    REPORT.write_text(text, encoding="utf-8")
    print(text, end="")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
