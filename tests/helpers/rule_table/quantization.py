"""Operators that round: their gradient is straight-through, which differences cannot show."""

STRAIGHT_THROUGH = frozenset(
    {"ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul",
     "QuantizeLinear"}
)  # fmt: skip
"""Rules without rows here: `test_a_gradient_goes_straight_through` has a graph for each, with values by NumPy."""
