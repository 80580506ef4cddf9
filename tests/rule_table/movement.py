"""Rows for operators that move numbers."""

import numpy as np

from onnx_graphs import run_ort
from rule_table.case import Case, X, f32, i64

ROWS = [
    Case("Reshape", [X, i64(1, 8, -1)]),
    Case("Flatten", [X], {"axis": 2}),
    Case("Squeeze", [(1, 4, 1, 5), i64(2)]),
    Case("Unsqueeze", [(4, 5), i64(0, -1)]),
    Case("Transpose", [X], {"perm": [2, 0, 3, 1]}),
    Case("Transpose", [X]),
    Case("Concat", [X, (1, 3, 6, 5), X], {"axis": 1}),
    Case("Concat", [X, f32(1, 4, 6, 2)], {"axis": -1}),
    Case("Split", [X, i64(1, 3)], {"axis": 1}, outputs=2, used=(0, 1)),
    Case("Split", [X, i64(2, 1, 3)], {"axis": -2}, outputs=3, used=(1,)),
    Case("Split", [X], {"axis": 2}, outputs=2, used=(0,)),
    Case("Slice", [X, i64(1, 2), i64(3, -1), i64(1, 3)]),
    Case("Slice", [X, i64(0, 1), i64(2**62, 6), i64(-1, 2), i64(2, 3)]),
    Case("Slice", [X, i64(0, 1), i64(1, 4)]),
    Case("Pad", [X, i64(0, 1, 2, 0, 0, 0, 1, 3)]),
    Case("Pad", [X, i64(0, -1, 0, 2, 0, 1, -2, 0), np.float32(0.5)], forward=run_ort),  # the reference cannot crop
    Case("Expand", [(4, 1, 5), i64(2, 1, 6, 1)]),
]  # fmt: skip
