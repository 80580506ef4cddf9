"""Class activation maps for ONNX and TensorRT models on edge devices.

`aerocam.export` (host) rewrites an ONNX model so that the same graph also emits what class activation maps need;
`aerocam.runtime` (device) turns its outputs into maps and overlays; `aerocam.benchmarks` measures what that costs.
"""

__version__ = "0.1.0"
