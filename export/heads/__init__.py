"""CAM methods as ONNX nodes, so that nothing but the map leaves the accelerator.

Each has the name, the shapes and the values of its NumPy reference in `aerocam.runtime.methods`: activations and
gradients (N, C, H, W) -> raw map (N, H, W), before ReLU and normalisation. Several targets have gradients each,
(T, C, H, W), and the same activations, (1, C, H, W): the maps are (T, H, W). The arithmetic is float32 whatever the
model's type.

To add a head: one function under `@cam_head` in the file of its family; the tests run over the table.
"""

from aerocam.export.heads import cfcam, gradient  # noqa: F401 - importing them fills the table
from aerocam.export.heads.registry import CAM_HEADS, Head, append_head, cam_head

__all__ = ["CAM_HEADS", "Head", "append_head", "cam_head"]
