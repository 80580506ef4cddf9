"""Rows for activations and softmax."""

from rule_table.case import Case, X

ROWS = [
    Case("Relu", [X]),
    Case("Sigmoid", [X]),
    Case("Softmax", [X], {"axis": 1}),
    Case("Softmax", [X]),
]  # fmt: skip
