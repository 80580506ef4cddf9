"""Rows for arithmetic, entry by entry."""

import numpy as np

from rule_table.case import Case, X, f32

ROWS = [
    Case("Identity", [X]),
    Case("Dropout", [X]),
    Case("Dropout", [X], outputs=2),
    Case("Cast", [X], {"to": 1}),
    Case("Add", [X, X]),
    Case("Add", [X, (4, 1, 1)]),
    Case("Add", [(1, 4, 1, 1), X]),
    Case("Add", [X, f32(5)]),
    Case("Sum", [X, X, X]),
    Case("Sum", [X, (1, 1, 6, 5)]),
    Case("Sub", [X, X]),
    Case("Sub", [(1,), X]),
    Case("Mul", [X, X]),
    Case("Mul", [X, (1, 4, 1, 1)]),
    Case("Mul", [(1, 1, 6, 5), X]),
    Case("Div", [X, X], low=1.0),
    Case("Div", [X, (4, 1, 1)], low=1.0),
    Case("Div", [X, f32(4, 1, 1, low=1, high=2)]),
    Case("Neg", [X]),
    Case("Clip", [X, np.float32(-0.505), np.float32(0.605)]),
    Case("Clip", [X, None, np.float32(0.605)]),
    Case("Clip", [X, np.float32(-0.505)]),
    Case("Clip", [X]),
]  # fmt: skip
