"""DBSCAN (Ester et al., 1996) as a graph of fixed size, with the labels of scikit-learn's.

A cluster is a connected component of core rows; its label is its first core. Every core starts as a component of its
own, with itself as root. In every round each component looks for the smallest root among its neighbours', and hooks on
to that component where its root is smaller.

After round i let k_i be the number of components left of one cluster. Those that hook are not left. One that is left
has either taken in another, or its neighbours all hooked to yet smaller ones, and it hooks itself in the next round;
so at most as many are left after round i + 1 as took in others in round i: k_{i+1} <= k_{i-1} - k_i. Read backwards,
1, 2, 3, 5, 8, ...: a cluster of n cores, whatever its form, is one component after as many rounds as there are
Fibonacci numbers from 2 to n.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from aerocam.export.heads.ordering import in_order
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape

LARGEST = 3840
"""Most rows: roots are sorted by TopK, of which TensorRT gives no more."""

KEY = 4096
"""Two numbers below this, as one float32, exact."""


def dbscan(op: Builder, squared: ir.Value, squared_eps: ir.Value, min_samples: ir.Value) -> ir.Value:
    """Return the label of each row, float32 (n,): the first core of its cluster, or -1 for noise.

    Args:
        op: Builder of the graph.
        squared: Squared distances, float32 (n, n), symmetric, n at most `LARGEST`.
        squared_eps: Squared distance up to which rows are neighbours, (1, 1).
        min_samples: Neighbours that make a core, itself counted, (1, 1).
    """
    (n, _) = static_shape(squared)
    near = op.Cast(op.LessOrEqual(squared, squared_eps), to=ir.DataType.FLOAT)
    core = op.Cast(op.GreaterOrEqual(op.sum(near, [1]), min_samples), to=ir.DataType.FLOAT)
    core = op.reshape(core, n)
    roots = op.constant(np.arange(n, dtype=np.float32))
    for i, jumps in enumerate(rounds(n)):
        smallest = op.Sub(float(n), _largest(op, near, core, roots))
        offered = op.Add(roots, op.Mul(core, op.Sub(smallest, roots)))
        parent = op.Cast(_smallest_of_component(op, roots, offered) if i else offered, to=ir.DataType.INT64)
        for _ in range(jumps):
            parent = op.Gather(parent, parent, axis=0)
        moved = op.Gather(parent, op.Cast(roots, to=ir.DataType.INT64), axis=0) if i else parent
        roots = op.Cast(moved, to=ir.DataType.FLOAT)
    largest = _largest(op, near, core, roots)  # 0: no core near by; of several clusters in reach the first
    reached = op.Cast(op.Greater(largest, 0.0), to=ir.DataType.FLOAT)
    return op.Sub(op.Mul(reached, op.Sub(float(n + 1), largest)), 1.0)


def rounds(n: int) -> Iterator[int]:
    """Yield for each round that a cluster of up to n cores may need the jumps that flatten the trees of what hooked on.

    From k_{i-1} >= k_i + k_{i+1} follows k_i <= (n - F_i) / F_{i+1}, F the Fibonacci numbers 1, 1, 2, 3, ...; of k
    components hooked in a row the last has its root k - 1 steps away, and a jump doubles the steps.
    """
    smaller, larger, left = 0, 1, n
    while left > 1:
        yield (left - 2).bit_length()
        smaller, larger = larger, smaller + larger
        left = (n - smaller) // larger


def _largest(op: Builder, near: ir.Value, core: ir.Value, roots: ir.Value) -> ir.Value:
    """Return per row n less the smallest root among the cores near by, or 0 where no core is near; (n,).

    The product stands for a Where, and the largest for the smallest, which are slow on a CPU.
    """
    n = static_shape(core)[0]
    values = op.Mul(core, op.Sub(float(n), roots))
    return op.reduce("ReduceMax", op.Mul(near, op.reshape(values, 1, n)), [1], keepdims=False)


def _smallest_of_component(op: Builder, roots: ir.Value, offered: ir.Value) -> ir.Value:
    """Return at each root the smallest of what the rows of its component offer, (n,); elsewhere 0.

    Sorted by root and offer, the first row of each component has it and writes it; the others write where nothing is
    read, so that no two write to one place.
    """
    (n,) = static_shape(roots)
    keys = in_order(op, op.Add(op.Mul(roots, float(KEY)), offered), n)
    root = op.Floor(op.Mul(keys, 1 / KEY))
    offer = op.Sub(keys, op.Mul(root, float(KEY)))
    before = op.Concat(op.constant([-1.0]), op.slice_axis(root, 0, 0, n - 1), axis=0)
    unread = op.constant(np.arange(n, 2 * n, dtype=np.float32))
    index = op.Cast(op.Where(op.Equal(root, before), unread, root), to=ir.DataType.INT64)
    empty = op.constant(np.zeros(2 * n, np.float32))
    return op.slice_axis(op.ScatterElements(empty, index, offer, axis=0), 0, 0, n)
