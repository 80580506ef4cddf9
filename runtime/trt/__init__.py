"""TensorRT on the device: engines built from exported models, and sessions on them.

`bindings` alone imports TensorRT. Nothing here imports onnx.
"""
