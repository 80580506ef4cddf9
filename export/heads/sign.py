"""Whether a tensor can be negative: most layers end in an operator that settles it, and heads get shorter then."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.nodes.builder import constant_array

NEVER_NEGATIVE = frozenset(
    {"Abs", "Exp", "HardSigmoid", "Relu", "ReduceL1", "ReduceL2", "ReduceSumSquare", "Sigmoid", "Softmax", "Softplus"}
)
"""Operators whose results are 0 or more whatever they are given."""

KEEPING = frozenset(
    {
        "Add", "AveragePool", "Cast", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "GlobalAveragePool",
        "GlobalMaxPool", "Identity", "MaxPool", "Mul", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sum",
        "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators whose results are 0 or more where all their float inputs are."""


def never_negative(value: ir.Value) -> bool:
    """Whether the operators that compute `value` let it be 0 or more only."""
    node = value.producer()
    if node is None:
        array = constant_array(value)
        return array is not None and bool((array >= 0).all())
    if node.op_type == "Clip":
        low = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
        return low is not None and float(low.reshape(-1)[0]) >= 0
    if node.op_type in NEVER_NEGATIVE:
        return True
    floats = [x for x in node.inputs if x is not None and x.dtype is not None and x.dtype.is_floating_point()]
    return node.op_type in KEEPING and all(never_negative(x) for x in floats)
