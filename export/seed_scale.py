"""The scale of the seed where gradients are float16: without it, what is small becomes zero on its way back.

The numbers of float16 end at 6e-8 and lose digits from 6e-5 down; mean gradients of an ImageNet classifier's last layer
are around 1e-3, and those of single positions far below. A power of two changes no digit, and a gradient is linear in
its seed: whoever reads the gradients divides by the scale, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.autodiff import nodes_between
from aerocam.export.nodes.builder import Builder, constant_array
from aerocam.export.scores import Chosen

HALF_SCALE = 1024.0
"""The scale for float16: gradients from 6e-8 on keep their digits, those above 64 overflow."""


def seed_scale(graph: ir.Graph, layers: Sequence[ir.Value], logits: ir.Value) -> float:
    """Return the factor of the seed: 1 unless a node between a layer and the logits computes in float16.

    bfloat16 reaches as far down as float32.
    """
    path = nodes_between(graph, layers, logits)
    computed = [*layers, *(value for node in path for value in node.outputs)]
    return HALF_SCALE if any(value.dtype == ir.DataType.FLOAT16 for value in computed) else 1.0


def scaled_seed(op: Builder, start: Chosen, scale: float) -> Chosen:
    """Return where the walk back starts, with its seed times `scale`, then in the type of what it is of.

    The weights of many positions are small: in float16 they would lose digits before they are scaled.
    """
    numbers = constant_array(start.seed)
    if scale == 1.0 or numbers is None:
        return replace(start, seed=op.cast_like(op.scale(start.seed, scale), start.value))
    return Chosen(start.value, op.constant(numbers * numbers.dtype.type(scale), np.dtype(numbers.dtype)))
