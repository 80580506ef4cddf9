"""Rows for reductions and running sums."""

from typing import Any

import numpy as np

from onnx_graphs import run_ort_double
from rule_table.case import ONE_D, THREE_D, Case, X, i64

SMALL = (2, 3, 4)


def forms(op: str, shape: tuple[int, ...] = X, **options: Any) -> list[Case]:
    """Axes as an attribute, which opset 18 makes an input, and every way to give none."""
    return [
        Case(op, [shape], {"axes": [1, 2]}, **options),
        Case(op, [shape], {"axes": [-1, 1], "keepdims": 0}, **options),
        Case(op, [shape], {"keepdims": 0}, **options),
        Case(op, [shape, i64(-1)], opset=18, **options),
        Case(op, [shape, i64(2, 0)], {"keepdims": 0}, opset=18, **options),
        Case(op, [shape], opset=18, **options),
        Case(op, [shape, i64()], {"noop_with_empty_axes": 1}, opset=18, **options),
    ]


ROWS = [
    Case("ReduceSum", [X, i64(1, -1)], {"keepdims": 0}),
    Case("ReduceSum", [X]),
    Case("ReduceSum", [X, i64(-2)], opset=18),
    Case("ReduceSum", [X, i64()]),
    Case("ReduceSum", [X], {"noop_with_empty_axes": 1}),
    Case("ReduceSum", [X, i64()], {"noop_with_empty_axes": 1, "keepdims": 0}, opset=18),
    Case("ReduceMean", [X], {"axes": [2, 3]}),
    *forms("ReduceMean"),
    *forms("ReduceMax"),
    Case("ReduceMax", [ONE_D], {"axes": [2]}),
    Case("ReduceMax", [THREE_D], {"axes": [-1, -2, -3], "keepdims": 0}),
    *forms("ReduceMin"),
    *forms("ReduceL1"),
    *forms("ReduceL2"),
    *forms("ReduceSumSquare"),
    *forms("ReduceLogSum", low=0.5),
    *forms("ReduceLogSumExp"),
    *forms("ReduceProd", SMALL, low=0.5),
    # the reference takes the axis as a scalar only, model() makes it an array of one entry
    Case("CumSum", [X, i64(1)], forward=run_ort_double),
    Case("CumSum", [X, i64(-1)], {"exclusive": 1}, forward=run_ort_double),
    Case("CumSum", [X, i64(2)], {"reverse": 1}, forward=run_ort_double),
    Case("CumSum", [X, np.array([-3], np.int32)], {"exclusive": 1, "reverse": 1}, forward=run_ort_double),
]  # fmt: skip
