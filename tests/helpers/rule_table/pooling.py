"""Rows for pools."""

import numpy as np

from onnx_graphs import run_ort
from rule_table.case import ONE_D, THREE_D, Case, X, i64

PLACES = np.random.default_rng(0).permutation(2 * 3 * 6 * 8)[:72].reshape(2, 3, 3, 4)

ROWS = [
    Case("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("MaxPool", [X], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case("MaxPool", [X], {"kernel_shape": [2, 3], "strides": [3, 1], "pads": [0, 1, 1, 0]}),
    Case("MaxPool", [X], {"kernel_shape": [5, 5], "strides": [1, 1], "pads": [2, 2, 2, 2]}),
    Case("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", [X], {"kernel_shape": [2, 2], "dilations": [2, 3], "strides": [1, 2]}),
    Case("MaxPool", [X], {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("MaxPool", [X], {"kernel_shape": [1, 1], "strides": [2, 2]}),
    Case("MaxPool", [ONE_D], {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    Case("MaxPool", [THREE_D], {"kernel_shape": [2, 2, 2], "strides": [2, 1, 1], "pads": [0, 0, 0, 1, 1, 0]}),
    Case("GlobalAveragePool", [X]),
    Case("GlobalAveragePool", [THREE_D]),
    Case("AveragePool", [X], {"kernel_shape": [6, 5]}),
    Case("AveragePool", [X], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", [X], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", [X], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]}),
    Case("AveragePool", [X], {"kernel_shape": [2, 2], "strides": [3, 2]}),
    Case("AveragePool", [X], {"kernel_shape": [4, 4], "strides": [3, 3]}),
    Case("AveragePool", [X], {"kernel_shape": [4, 4], "pads": [0, 0, 1, 1]}),
    Case("AveragePool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("AveragePool", [X], {"kernel_shape": [3, 2], "strides": [2, 1], "auto_pad": "SAME_UPPER",
         "count_include_pad": 1}),
    Case("AveragePool", [X], {"kernel_shape": [4, 3], "auto_pad": "SAME_LOWER", "count_include_pad": 1}),
    Case("AveragePool", [X], {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [1, 2]}, opset=19),
    Case("AveragePool", [X], {"kernel_shape": [3, 2], "dilations": [2, 2], "pads": [1, 1, 2, 1], "strides": [2, 1],
         "count_include_pad": 1}, opset=19),
    Case("AveragePool", [THREE_D], {"kernel_shape": [2, 2, 2], "dilations": [2, 2, 1], "pads": [1, 0, 1, 0, 1, 0]},
         opset=19),
    Case("AveragePool", [ONE_D], {"kernel_shape": [4], "strides": [3], "pads": [2, 1]}),
    Case("AveragePool", [THREE_D], {"kernel_shape": [2, 2, 3], "strides": [2, 1, 1], "pads": [1, 0, 1, 0, 1, 1]}),
    Case("MaxPool", [X], {"kernel_shape": [2, 2], "strides": [2, 2], "storage_order": 1}, outputs=2),
    Case("GlobalMaxPool", [(2, 3, 4, 3)]),
    # onnx's reference implementation takes the maximum over other axes in 1D and 3D
    Case("GlobalMaxPool", [(2, 3, 5)], forward=run_ort),
    Case("GlobalMaxPool", [THREE_D], forward=run_ort),
    Case("LpPool", [X], {"kernel_shape": [6, 5]}),
    Case("LpPool", [X], {"kernel_shape": [3, 2], "p": 1}),
    Case("LpPool", [X], {"kernel_shape": [2, 2], "strides": [3, 2], "p": 3}),
    Case("LpPool", [X], {"kernel_shape": [2, 3], "p": 4}),
    Case("LpPool", [THREE_D], {"kernel_shape": [2, 2, 3], "strides": [2, 1, 1]}),
    # its LpPool divides by fewer entries at the border, and GlobalLpPool it lacks
    Case("LpPool", [X], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]}, forward=run_ort),
    Case("LpPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, forward=run_ort),
    Case("LpPool", [ONE_D], {"kernel_shape": [4], "strides": [3], "pads": [2, 1], "p": 1}, forward=run_ort, low=0.5),
    Case("LpPool", [X], {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [1, 2]}, forward=run_ort, opset=18),
    Case("LpPool", [ONE_D], {"kernel_shape": [2], "strides": [2], "ceil_mode": 1}, forward=run_ort, opset=18),
    Case("GlobalLpPool", [X], forward=run_ort),
    Case("GlobalLpPool", [ONE_D], {"p": 1}, forward=run_ort, low=0.5),
    Case("GlobalLpPool", [THREE_D], {"p": 3}, forward=run_ort),
    Case("MaxUnpool", [(2, 3, 3, 4), PLACES], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case("MaxUnpool", [(1, 2, 3), i64(0, 3, 4, 7, 9, 10).reshape(1, 2, 3)], {"kernel_shape": [2], "strides": [2]}),
    Case("MaxUnpool", [(1, 1, 2, 1, 2), i64(1, 7, 10, 12).reshape(1, 1, 2, 1, 2)],
         {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}),
]  # fmt: skip
