"""Read any ONNX file into one normal form, and write files whole or not at all."""
