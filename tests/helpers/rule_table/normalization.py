"""Rows for normalisation layers."""

from onnx_graphs import run_ort, run_ort_double
from rule_table.case import ONE_D, THREE_D, Case, X, f32

ROWS = [
    Case("BatchNormalization", [X, f32(4), f32(4), f32(4), f32(4, low=0.5, high=2)], {"epsilon": 1e-2}),
    Case("BatchNormalization", [(3, 4), f32(4), f32(4), f32(4), f32(4, low=0.5, high=2)]),
    Case("LRN", [X], {"size": 3, "alpha": 0.5, "beta": 0.75, "bias": 1.5}),
    Case("LRN", [(1, 7, 2, 2)], {"size": 5, "alpha": 2.0, "beta": 0.5}),
    Case("LayerNormalization", [X, f32(5), f32(5)]),
    Case("LayerNormalization", [X, f32(6, 5)], {"axis": -2, "epsilon": 0.25}),
    Case("LayerNormalization", [X, (4, 1, 5), (6, 1)], {"axis": 1}),
    Case("LayerNormalization", [(2, 7), f32(7)], {"axis": 0}),
    Case("LayerNormalization", [X, f32(5), f32(5)], opset=23),
    Case("RMSNormalization", [X, f32(5)], opset=23),
    Case("RMSNormalization", [X, (6, 5)], {"axis": -2, "epsilon": 0.25}, opset=23),
    Case("InstanceNormalization", [X, f32(4), f32(4)], {"epsilon": 0.25}),
    Case("InstanceNormalization", [ONE_D, (4,), (4,)]),
    Case("InstanceNormalization", [(2, 2, 5, 4, 3), f32(2), f32(2)], opset=22),
    Case("GroupNormalization", [(2, 6, 3, 2), (2,), (2,)], {"num_groups": 2, "epsilon": 0.25}, opset=18),
    # from opset 21 on, its body computes in float32 whatever the type of X is
    Case("GroupNormalization", [(2, 6, 3, 2), (6,), (6,)], {"num_groups": 3}, opset=21, forward=run_ort),
    Case("GroupNormalization", [ONE_D, f32(4), f32(4)], {"num_groups": 1}, opset=21, forward=run_ort),
    Case("GroupNormalization", [THREE_D, f32(2), f32(2)], {"num_groups": 2}, opset=21, forward=run_ort),
    # onnx's reference implementation takes no absolute value for p = 1
    Case("LpNormalization", [X], {"p": 1}, forward=run_ort_double),
    Case("LpNormalization", [ONE_D], {"p": 1, "axis": 1}, forward=run_ort_double),
    Case("LpNormalization", [X], {"axis": 1}),
    Case("LpNormalization", [THREE_D], {"p": 2, "axis": -2}, opset=22),
]  # fmt: skip
