"""Rows for normalisation layers."""

from rule_table.case import Case, X, f32

ROWS = [
    Case("BatchNormalization", [X, f32(4), f32(4), f32(4), f32(4, low=0.5, high=2)], {"epsilon": 1e-2}),
    Case("BatchNormalization", [(3, 4), f32(4), f32(4), f32(4), f32(4, low=0.5, high=2)]),
    Case("LRN", [X], {"size": 3, "alpha": 0.5, "beta": 0.75, "bias": 1.5}),
    Case("LRN", [(1, 7, 2, 2)], {"size": 5, "alpha": 2.0, "beta": 0.5}),
]  # fmt: skip
