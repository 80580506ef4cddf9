"""Rows for operators that pick or place numbers by index."""

import numpy as np

from onnx_graphs import run_ort_double
from rule_table.case import ONE_D, THREE_D, Case, X, i64

ROWS = [
    Case("Gather", [X, i64(2)], {"axis": 1}),
    Case("Gather", [X, np.int64(-1)], {"axis": 2}),
    Case("Gather", [X, np.array([[0, 3], [3, -2]])], {"axis": 1}),
    Case("Gather", [X, np.array([1, 1, 4], np.int32)], {"axis": -1}),
    Case("Gather", [X, i64(3, 1, 0, 2)], {"axis": 1}),
    Case("Gather", [X, i64(1, 2, 3)], {"axis": 2}),
    Case("Gather", [X, i64(4, 0, -3)], {"axis": 2}),
    Case("Gather", [X, i64(2, 2, 2, 2, 2, 0)], {"axis": 3}),  # deep enough for a matrix
    Case("GatherElements", [X, np.array([[[[0, 5, -1, 2, 2], [0, 4, 1, 1, 0]]] * 4])], {"axis": 2}),
    Case("GatherElements", [(3, 4), np.array([[1, 0, 2, 1]], np.int32)]),
    Case("GatherElements", [(3, 4), np.array([[1, -4], [3, 3]])], {"axis": -1},
         forward=run_ort_double),  # fewer rows than X has, which the reference takes for another shape
    Case("GatherElements", [ONE_D, np.array([[[8, 0]] * 4])], {"axis": 2}),
    Case("GatherND", [(3, 4, 5), np.array([[0, 1], [2, -1], [0, 1]])]),
    Case("GatherND", [(3, 4, 5), np.array([[[2]], [[0]]])]),
    Case("GatherND", [(3, 4, 5), np.array([[1, 1, 1], [1, 1, 2]])]),
    Case("GatherND", [(2, 4, 5), np.array([[[1], [1], [3]], [[0], [-2], [0]]])], {"batch_dims": 1}),
    Case("GatherND", [(2, 3, 4, 2), np.array([[[1], [0], [3]], [[0], [2], [2]]])], {"batch_dims": 2}),
    Case("TopK", [X, i64(2)], {"axis": 1}, outputs=2),
    Case("TopK", [X, i64(3)], {"largest": 0}, outputs=2),
    Case("TopK", [ONE_D, i64(9)], {"axis": -2 + 1}, outputs=2),
    Case("TopK", [THREE_D, i64(3)], {"axis": -3, "sorted": 1}, outputs=2),
    Case("ScatterElements", [X, np.array([[[[0, 4, 2, 1, 1], [3, -1, 1, 2, 5]]]]), (1, 1, 2, 5)], {"axis": 2}),
    Case("ScatterElements", [(3, 4), np.array([[1, -4], [3, 0]]), (2, 2)], {"axis": -1}),
    Case("ScatterElements", [(3, 4), np.array([[1, 0, 1, 2], [1, 1, 1, 0]], np.int32), (2, 4)], {"reduction": "add"}),
    Case("ScatterElements", [(3, 4), np.array([[1, 0, 0]]), (1, 3)], {"axis": 1, "reduction": "add"}, opset=18),
    # the reference knows no max or min of floats
    Case("ScatterElements", [(3, 4), np.array([[1, 1, 1, 1], [2, 1, 1, 1]]), (2, 4)], {"reduction": "max"}, opset=18,
         forward=run_ort_double),
    Case("ScatterElements", [(3, 4), np.array([[1, -4], [3, 0]]), (2, 2)], {"axis": -1, "reduction": "min"}, opset=18,
         forward=run_ort_double),
    Case("ScatterND", [(3, 4), np.array([[0, 1], [0, 1], [2, 0]]), (3,)], {"reduction": "min"}, opset=18,
         forward=run_ort_double),
    Case("ScatterND", [(3, 4), np.array([[2], [0]]), (2, 4)], {"reduction": "max"}, opset=18,
         forward=run_ort_double),
    Case("ScatterND", [(3, 4, 5), np.array([[0, 1], [2, -1]]), (2, 5)]),
    Case("ScatterND", [(3, 4, 5), np.array([[[2]], [[0]]]), (2, 1, 4, 5)]),
    Case("ScatterND", [(3, 4), np.array([[0, 1], [0, 1], [2, 0]]), (3,)], {"reduction": "add"}),
    Case("ScatterND", [(3, 4), np.array([[0], [0]]), (2, 4)], {"reduction": "add"}, opset=18),
    Case("ReverseSequence", [(4, 3, 2), i64(1, 4, 3)]),
    Case("ReverseSequence", [(3, 4, 2), i64(2, 3, 4)], {"batch_axis": 0, "time_axis": 1}),
]  # fmt: skip
