"""Rows for reductions."""

from rule_table.case import Case, X, i64

ROWS = [
    Case("ReduceSum", [X, i64(1, -1)], {"keepdims": 0}),
    Case("ReduceSum", [X]),
    Case("ReduceMean", [X], {"axes": [2, 3]}),
    Case("ReduceMean", [X], {"axes": [-1, 1], "keepdims": 0}),
    Case("ReduceMean", [X], {"keepdims": 0}),
]  # fmt: skip
