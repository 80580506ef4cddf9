"""Rows for resampling."""

import numpy as np

from onnx_graphs import run_ort
from rule_table.case import ONE_D, THREE_D, Case, X, i64

ROWS = [
    Case("Resize", [X, None, np.float32([1, 1, 2, 3])], {"mode": "nearest", "nearest_mode": "floor",
         "coordinate_transformation_mode": "asymmetric"}),
    Case("Resize", [X, None, np.float32([1, 1, 1.5, 0.6])], {"mode": "nearest"}),
    Case("Resize", [X, None, np.float32([1, 1, 2, 2])], {"mode": "linear"}),
    Case("Resize", [X, None, np.float32([1, 1, 1.3, 1.7])], {"mode": "linear"}),
    Case("Resize", [X, None, None, i64(1, 4, 9, 3)], {"mode": "linear",
         "coordinate_transformation_mode": "align_corners"}),
    Case("Resize", [X, None, np.float32([1, 1, 2, 0.8])], {"mode": "cubic", "cubic_coeff_a": -0.5}),
    Case("Resize", [X, None, np.float32([1, 1, 2, 1.15])], {"mode": "linear"}),  # 5 entries stay 5, in other places
    Case("Resize", [X, None, np.float32([1, 1, 1.1, 1.15])], {"mode": "linear"},
         forward=run_ort),  # ONNX Runtime copies what keeps its shape, the reference does not
    Case("Resize", [X, None, np.float32([0.8, 1])], {"mode": "linear", "axes": [2, 3], "antialias": 1}, opset=18),
    Case("Resize", [X, None, np.float32([1, 1, 0.5, 0.6])], {"mode": "cubic", "antialias": 1}, opset=18),
    Case("Resize", [X, None, np.float32([1, 1, 0.5, 0.6])], {"mode": "cubic", "exclude_outside": 1}),
    Case("Resize", [X, None, np.float32([1.6, 2])], {"mode": "linear", "axes": [-1, 2]}, opset=18,
         forward=run_ort),  # the reference takes axes from the front only
    Case("Resize", [X, None, None, i64(9, 3)], {"mode": "linear", "axes": [3, 2]}, opset=19),
    Case("Resize", [X, None, None, i64(10, 9)], {"mode": "linear", "axes": [2, 3],
         "keep_aspect_ratio_policy": "not_larger"}, opset=18),
    Case("Resize", [X, None, None, i64(12, 7)], {"mode": "linear", "axes": [2, 3],
         "keep_aspect_ratio_policy": "not_larger"}, opset=18),
    Case("Resize", [X, None, None, i64(7, 9)], {"mode": "linear", "axes": [2, 3],
         "keep_aspect_ratio_policy": "not_smaller"}, opset=18),
    Case("Resize", [X, None, np.float32([1, 1, 1.3, 1.7])], {"mode": "linear",
         "coordinate_transformation_mode": "half_pixel_symmetric"}, opset=19),
    Case("Resize", [X, None, np.float32([1, 1, 1.3, 0.7])], {"mode": "linear",
         "coordinate_transformation_mode": "pytorch_half_pixel"}),
    Case("Resize", [X, None, np.float32([1, 1, 1.5, 0.6])], {"mode": "nearest", "nearest_mode": "ceil",
         "coordinate_transformation_mode": "align_corners"}),
    Case("Resize", [X, np.float32([0, 0, 0.2, 0.4, 1, 1, 0.8, 0.9]), None, i64(1, 4, 3, 4)], {"mode": "linear",
         "coordinate_transformation_mode": "tf_crop_and_resize"}),
    Case("Resize", [X, np.float32([0, 0, -0.4, 0.1, 1, 1, 1.2, 0.9]), None, i64(1, 4, 6, 5)], {"mode": "linear",
         "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 10.0}, forward=run_ort),
    Case("Resize", [X, np.float32([0.1, 0.3, 0.9, 0.7]), np.float32([0.8, 1.5])], {"axes": [3, 2], "mode": "linear",
         "coordinate_transformation_mode": "tf_crop_and_resize"}, opset=18, forward=run_ort),
    Case("Resize", [ONE_D, None, np.float32([1, 1, 1.7])], {"mode": "linear"}),
    Case("Resize", [ONE_D, None, np.float32([1, 1, 2])], {"mode": "nearest",
         "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    Case("Resize", [THREE_D, None, np.float32([1, 1, 2, 1, 1.5])], {"mode": "linear"}),
    Case("Resize", [THREE_D, None, np.float32([1, 1, 2, 1, 3])], {"mode": "nearest",
         "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    Case("Resize", [X, None, np.float32([1, 1.5, 2, 1])], {"mode": "linear"}),
]  # fmt: skip
