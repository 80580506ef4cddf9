"""Rows for operators that read between the entries.

GridSample runs in ONNX Runtime: the reference rounds to float32 on the way and knows the names of opset 20 only.
"""

import numpy as np

from onnx_graphs import run_ort, run_ort_double
from rule_table.case import Case, f32

PLANE, GRID = (1, 2, 6, 5), (1, 6, 10, 2)
EVEN = (1, 2, 6, 6)  # no point of the grid lies half-way between two entries
SPACE, SPACE_GRID = (2, 2, 5, 6, 5), (2, 2, 4, 3, 3)
ROIS = np.float32(
    [[1, 1, 9, 10], [-3, 0, 18, 9], [0, 2.5, 5, 2.7], [-4, 3, 30, 40], [7, 1, 3, 9]]
)  # the last one ends before it starts
IMAGES = np.array([0, 1, 0, 1, 1])

ROWS = [
    *(Case("GridSample", [shape, grid], {"mode": mode, "padding_mode": padding, "align_corners": corners}, opset=20,
           forward=run_ort_double)
      for mode, shape, grid in (("linear", PLANE, GRID), ("linear", SPACE, SPACE_GRID),
                                ("nearest", EVEN, GRID), ("nearest", (2, 2, 6, 6, 6), SPACE_GRID))
      for padding in ("zeros", "border", "reflection")
      for corners in (0, 1)),
    *(Case("GridSample", [(2, 2, 4, 5), f32(2, 3, 3, 2, low=-1.7, high=1.7)], {"mode": "cubic", "padding_mode": padding,
           "align_corners": corners}, opset=20, forward=run_ort_double)
      for padding in ("zeros", "border", "reflection")
      for corners in (0, 1)),
    Case("GridSample", [(1, 2, 6, 5), (1, 4, 3, 2)], {"mode": "cubic"}, opset=20, forward=run_ort_double),
    Case("GridSample", [PLANE, f32(1, 3, 4, 2, low=-1.6, high=1.6)], {"padding_mode": "border"}, forward=run_ort),
    Case("GridSample", [(2, 3, 4, 5), f32(2, 3, 4, 2, low=-4, high=4)], {"mode": "bilinear", "align_corners": 1,
         "padding_mode": "reflection"}, forward=run_ort),
    Case("GridSample", [(2, 3, 4, 5), f32(2, 3, 4, 2, low=-1.6, high=1.6)], {"mode": "nearest"}, forward=run_ort),
    Case("GridSample", [(1, 2, 1, 5), f32(1, 3, 4, 2, low=-1.6, high=1.6)], {"padding_mode": "reflection",
         "align_corners": 1}, forward=run_ort),  # one row has no span to reflect in
    *(Case("RoiAlign", [(2, 3, 7, 8), ROIS, IMAGES], {"coordinate_transformation_mode": mode, "output_height": 2,
           "output_width": 3, "sampling_ratio": ratio, "spatial_scale": 0.5})
      for mode in ("half_pixel", "output_half_pixel")
      for ratio in (0, 2)),
    Case("RoiAlign", [(1, 2, 5, 6), ROIS[:2], np.array([0, 0])]),
    Case("RoiAlign", [(1, 2, 5, 6), ROIS[:2] / 2, np.array([0, 0])], {"output_height": 3, "output_width": 1,
         "sampling_ratio": 3}, opset=18),
]  # fmt: skip
