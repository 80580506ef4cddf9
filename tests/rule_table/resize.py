"""Rows for resampling."""

import numpy as np

from rule_table.case import Case, X, i64

ROWS = [
    Case("Resize", [X, None, np.float32([1, 1, 2, 3])], {"mode": "nearest", "nearest_mode": "floor",
         "coordinate_transformation_mode": "asymmetric"}),
    Case("Resize", [X, None, np.float32([1, 1, 1.5, 0.6])], {"mode": "nearest"}),
    Case("Resize", [X, None, np.float32([1, 1, 2, 2])], {"mode": "linear"}),
    Case("Resize", [X, None, np.float32([1, 1, 1.3, 1.7])], {"mode": "linear"}),
    Case("Resize", [X, None, None, i64(1, 4, 9, 3)], {"mode": "linear",
         "coordinate_transformation_mode": "align_corners"}),
    Case("Resize", [X, None, np.float32([1, 1, 2, 0.8])], {"mode": "cubic", "cubic_coeff_a": -0.5}),
]  # fmt: skip
