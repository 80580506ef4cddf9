"""Stand-ins for what only a machine with a GPU has: a GPU's memory and streams, CUDA's Python packages, TensorRT.

They have NVIDIA's names, and do what the sessions ask of them with real numbers: an engine is an ONNX file, which ONNX
Runtime runs when the stream comes to it. `tests/helpers/bindings` checks the names against NVIDIA's own packages.
"""
