"""Self-checks of an export on ONNX Runtime: outputs, gradients, precision, tail and fused ends."""
