"""Rows for activations and softmax."""

from onnx_graphs import run_ort
from rule_table.case import Case, X, f32

WIDE = (1, 8, 8, 8)  # values from -5 to 5

ROWS = [
    Case("Relu", [X]),
    Case("Sigmoid", [X]),
    Case("Tanh", [X]),
    Case("LeakyRelu", [X]),
    Case("LeakyRelu", [X], {"alpha": 0.25}),
    Case("PRelu", [X, f32(4, 1, 1)]),
    Case("PRelu", [X, (4, 1, 1)]),
    Case("PRelu", [X, (1,)]),
    Case("PRelu", [X, X]),
    Case("ThresholdedRelu", [WIDE]),
    Case("ThresholdedRelu", [X], {"alpha": 0.4}),
    Case("Elu", [X]),
    Case("Elu", [X], {"alpha": 0.5}),
    Case("Selu", [X]),
    Case("Selu", [X], {"alpha": 0.5, "gamma": 2.0}),
    Case("Celu", [X]),
    Case("Celu", [X], {"alpha": 0.5}),
    Case("HardSigmoid", [WIDE]),
    Case("HardSigmoid", [X], {"alpha": 1.0, "beta": 0.4}),
    Case("HardSwish", [WIDE]),
    Case("Softplus", [WIDE]),
    Case("Softsign", [WIDE]),
    Case("Mish", [WIDE], opset=18),
    Case("Gelu", [WIDE], forward=run_ort, opset=20),  # erf, see elementwise
    Case("Gelu", [WIDE], {"approximate": "tanh"}, opset=20),
    Case("Swish", [WIDE], opset=24),
    Case("Swish", [WIDE], {"alpha": 1.75}, opset=24),
    Case("Softmax", [X], {"axis": 1}),
    Case("Softmax", [X]),
    Case("LogSoftmax", [X], {"axis": 1}),
    Case("LogSoftmax", [X], {"axis": -2}),
    Case("LogSoftmax", [X]),
]  # fmt: skip
