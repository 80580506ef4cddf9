"""Operators that round: their gradient is straight-through, which differences cannot show."""

STRAIGHT_THROUGH = frozenset({"DequantizeLinear", "QLinearConv", "QLinearMatMul", "QuantizeLinear"})
"""Rules without rows here: `test_a_gradient_goes_straight_through` has a graph for each, with values by NumPy."""
