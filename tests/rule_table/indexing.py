"""Rows for operators that pick or place numbers by index."""

import numpy as np

from rule_table.case import Case, X, i64

ROWS = [
    Case("Gather", [X, i64(2)], {"axis": 1}),
    Case("Gather", [X, np.int64(-1)], {"axis": 2}),
    Case("Gather", [X, np.array([[0, 3], [3, -2]])], {"axis": 1}),
    Case("Gather", [X, np.array([1, 1, 4], np.int32)], {"axis": -1}),
]  # fmt: skip
