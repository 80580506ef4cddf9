"""What a model is written for: ONNX Runtime, which is where it is checked, or TensorRT, which takes fewer forms."""

from typing import Literal

Destination = Literal["onnxruntime", "tensorrt"]
