"""Rows for operators that move numbers."""

import numpy as np

from onnx_graphs import run_ort, run_ort_double
from rule_table.case import ONE_D, THREE_D, Case, X, f32, i64

ROWS = [
    Case("Reshape", [X, i64(1, 8, -1)]),
    Case("Reshape", [X, i64(0, 0, -1)]),
    Case("Flatten", [X], {"axis": 2}),
    Case("Squeeze", [(1, 4, 1, 5), i64(2)]),
    Case("Squeeze", [(1, 4, 1, 5)]),
    Case("Unsqueeze", [(4, 5), i64(0, -1)]),
    Case("Transpose", [X], {"perm": [2, 0, 3, 1]}),
    Case("Transpose", [X]),
    Case("Concat", [X, (1, 3, 6, 5), X], {"axis": 1}),
    Case("Concat", [X, f32(1, 4, 6, 2)], {"axis": -1}),
    Case("Split", [X, i64(1, 3)], {"axis": 1}, outputs=2, used=(0, 1)),
    Case("Split", [X, i64(2, 1, 3)], {"axis": -2}, outputs=3, used=(1,)),
    Case("Split", [X], {"axis": 2}, outputs=2, used=(0,)),
    Case("Split", [X], {"axis": -1, "num_outputs": 2}, outputs=2, used=(0, 1), opset=18),  # 3 and 2 entries
    Case("Split", [X], {"axis": 2, "num_outputs": 4}, outputs=4, used=(2,), opset=18),
    Case("Slice", [X, i64(1, 2), i64(3, -1), i64(1, 3)]),
    Case("Slice", [X, i64(0, 1), i64(2**62, 6), i64(-1, 2), i64(2, 3)]),
    Case("Slice", [X, i64(0, 1), i64(1, 4)]),
    Case("Slice", [X, i64(-1), i64(-(2**62)), i64(3), i64(-1)]),
    Case("Slice", [X, i64(-2, 3), i64(-6, 0), i64(2, 1), i64(-2, -1)]),
    Case("Slice", [X, i64(9, 0), i64(1, 1), i64(-2, 1), i64(-3, 2)]),
    Case("Slice", [X, *(np.array(n, np.int32) for n in ([4, 0], [0, 3], [-1, 1], [-2, 2]))]),
    Case("Pad", [X, i64(0, 1, 2, 0, 0, 0, 1, 3)]),
    Case("Pad", [X, i64(0, -1, 0, 2, 0, 1, -2, 0), np.float32(0.5)], forward=run_ort),  # the reference cannot crop
    Case("Pad", [X, i64(1, 2, 3, 0), np.float32(0.5), i64(3, -2)], opset=18),
    Case("Pad", [X, i64(1, 3), None, i64(-1)], {"mode": "edge"}, opset=18),
    Case("Pad", [X, i64(0, 0, 2, 0, 0, 1, 5, 3)], {"mode": "edge"}),
    Case("Pad", [X, i64(0, 0, 2, 0, 0, 0, 5, 3)], {"mode": "reflect"}),
    Case("Pad", [X, i64(0, 0, 0, 2, 0, 0, 0, 2)], {"mode": "reflect"}),
    Case("Pad", [X, i64(0, 0, -1, 2, 0, 0, 2, -1)], {"mode": "reflect"}, forward=run_ort_double),  # cannot crop
    Case("Pad", [ONE_D, i64(0, 0, 3, 0, 0, 1)], {"mode": "reflect"}),
    Case("Pad", [THREE_D, i64(0, 0, 1, 2, 0, 0, 0, 1, 0, 2)], {"mode": "reflect"}),
    Case("Pad", [X, i64(0, 1, 2, 0, 0, 0, 5, 3)], {"mode": "wrap"}, opset=19),
    Case("Expand", [(4, 1, 5), i64(2, 1, 6, 1)]),
    Case("Tile", [X, i64(2, 1, 3, 1)]),
    Case("Tile", [(1, 4), i64(3, 2)]),
    Case("Tile", [X, i64(1, 1, 1, 1)]),
    Case("DepthToSpace", [(2, 12, 3, 4)], {"blocksize": 2}),
    Case("DepthToSpace", [(2, 12, 3, 4)], {"blocksize": 2, "mode": "CRD"}),
    Case("DepthToSpace", [(1, 9, 2, 3)], {"blocksize": 3, "mode": "CRD"}),
    Case("SpaceToDepth", [(2, 3, 4, 6)], {"blocksize": 2}),
    Case("SpaceToDepth", [(2, 3, 4, 6)], {"blocksize": 2, "mode": "CRD"}, opset=28),
    Case("Trilu", [(2, 4, 5)]),
    Case("Trilu", [(2, 4, 5), np.int64(-1)], {"upper": 0}),
    Case("Trilu", [(4, 3), np.int64(1)]),
    Case("CastLike", [X, f32(2)]),
    Case("CastLike", [X, f32(2)], opset=19),
]  # fmt: skip
