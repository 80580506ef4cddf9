"""CAM methods in NumPy: the reference that every fused head is tested against.

A method takes the activations A and the gradients G = d score / d A of one layer, both (N, C, H, W), and gives the raw
map, float32, (N, H, W): before ReLU, normalisation and resize, which the runtime applies afterwards, the normalisation
as `CamMethod.normalisation` says. Inputs are never written to. Arithmetic is float32 or wider, never float16.

    from aerocam.runtime.methods import get

    raw = get("gradcam++")(activations, gradients)

Methods on the input picture (`INPUT_METHODS`) take the picture and a function that has the model's gradient at any
picture of its shape; some of them run the model many times. Methods that only run the model forward
(`FORWARD_METHODS`) take a function that has the scores of pictures, or of a layer's activations. `Explainer` calls all
kinds.

To add a method: one function under `@cam_method` in the file of its family, one row in
`tests/runtime/methods/test_methods.py`.
"""

from aerocam.runtime.methods import (  # noqa: F401 - importing them fills the tables
    ablation,
    activation,
    cfcam,
    contrast,
    eigen,
    gradient,
    input,
    normgrad,
    perturbation,
    relevance,
)
from aerocam.runtime.methods.cfcam import CfCamConfig, ChannelClusters, cluster_channels
from aerocam.runtime.methods.contrast import CONTRAST_METHODS, ContrastMethod
from aerocam.runtime.methods.forward import FORWARD_METHODS, ForwardMethod, Scorer, forward_method
from aerocam.runtime.methods.registry import (
    CAM_METHODS,
    INPUT_METHODS,
    CamMethod,
    InputMethod,
    Method,
    cam_method,
    find,
    get,
    input_method,
    without_gradients,
)

__all__ = [
    "CAM_METHODS",
    "CONTRAST_METHODS",
    "FORWARD_METHODS",
    "INPUT_METHODS",
    "CamMethod",
    "CfCamConfig",
    "ChannelClusters",
    "ContrastMethod",
    "ForwardMethod",
    "InputMethod",
    "Method",
    "Scorer",
    "cam_method",
    "cluster_channels",
    "find",
    "forward_method",
    "get",
    "input_method",
    "without_gradients",
]
