"""Rows for DeformConv; ONNX Runtime runs it in float64, faster than onnx's reference implementation."""

from onnx_graphs import run_ort_double
from rule_table.case import Case, f32


def offsets(*shape: int):
    """Up to one entry and a half away, and no place nearer to an entry than a tenth, where the slope jumps."""
    values = f32(*shape, low=0.1, high=0.9)
    return values + f32(shape[0], shape[1], *(1 for _ in shape[2:]), low=-1.5, high=1.5).round()


X = (2, 4, 6, 5)

ROWS = [
    Case("DeformConv", [X, f32(3, 4, 3, 3), offsets(2, 18, 4, 3)], opset=19, forward=run_ort_double),
    Case("DeformConv", [X, f32(6, 2, 3, 2), offsets(2, 24, 3, 4), f32(6), f32(2, 12, 3, 4, low=0.2)],
         {"group": 2, "offset_group": 2, "strides": [2, 1], "pads": [1, 0, 0, 0]}, opset=19, forward=run_ort_double),
    Case("DeformConv", [X, f32(4, 1, 2, 3), offsets(2, 12, 4, 2), None, (2, 6, 4, 2)],
         {"group": 4, "dilations": [3, 1], "pads": [0, 1, 1, 0], "strides": [1, 2]}, opset=22, forward=run_ort_double),
    Case("DeformConv", [(1, 2, 4, 4), f32(2, 2, 2, 1), (1, 8, 3, 4), None, (1, 4, 3, 4)],
         {"offset_group": 2}, opset=19, forward=run_ort_double),
]  # fmt: skip
