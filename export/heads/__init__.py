"""CAM methods as ONNX nodes, so that nothing but the map leaves the accelerator.

Each has the name, the shapes and the values of its NumPy reference in `aerocam.runtime.methods`: activations and
gradients (N, C, H, W) -> raw map (N, H, W), before ReLU and normalisation. Several targets have gradients each,
(T, C, H, W), and the same activations, (1, C, H, W): the maps are (T, H, W). The arithmetic is float32 whatever the
model's type.

Heads in `TAIL_HEADS` take what follows the layer in place of the gradients, and run it on a batch made in the graph.

What a method is, and whether it can be a head, is its row in `aerocam.methods`. To add a head: one function under
`@fuses` in the file of its family; the tests run over the tables.
"""

from aerocam.export.heads import activation, cfcam, gradient, tail  # importing them fills the tables
from aerocam.export.heads.registry import CAM_HEADS, TAIL_HEADS, CamHead, TailHead, fuses
