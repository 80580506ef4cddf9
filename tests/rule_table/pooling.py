"""Rows for pools."""

from rule_table.case import ONE_D, THREE_D, Case, X

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
    Case("AveragePool", [ONE_D], {"kernel_shape": [4], "strides": [3], "pads": [2, 1]}),
    Case("AveragePool", [THREE_D], {"kernel_shape": [2, 2, 3], "strides": [2, 1, 1], "pads": [1, 0, 1, 0, 1, 1]}),
]  # fmt: skip
