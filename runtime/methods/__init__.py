"""CAM methods in NumPy: the reference that every fused head is tested against.

A method takes the activations A and the gradients G = d score / d A of one layer, both (N, C, H, W), and gives the raw
map, float32, (N, H, W): before ReLU, normalisation and resize, which the runtime applies afterwards. Inputs are never
written to. Arithmetic is float32 or wider, never float16.

    from aerocam.runtime.methods import get

    raw = get("gradcam++")(activations, gradients)

Methods on the input picture (`INPUT_METHODS`) take the picture and a function that has the model's gradient at any
picture of its shape; some of them run the model many times. Methods that only run the model forward
(`FORWARD_METHODS`) take a function that has the scores of pictures, or of a layer's activations. `Explainer` calls all
kinds.

What a method is, its name, what it reads and how its map is shown, is its row in `aerocam.methods`; here is arithmetic
alone. To add a method: its row, one function under `@computes` in the file of its family, and its golden case.
"""

# Importing them fills the tables.
from aerocam.runtime.methods import ablation, activation, cfcam, contrast, gradient, input, perturbation
from aerocam.runtime.methods.cfcam import CfCamConfig, ChannelClusters, cluster_channels
from aerocam.runtime.methods.kinds import (
    CamMethod,
    ContrastMethod,
    ForwardMethod,
    InputMethod,
    Method,
    Scorer,
    without_gradients,
)
from aerocam.runtime.methods.registry import (
    CAM_METHODS,
    COMPUTED,
    CONTRAST_METHODS,
    FORWARD_METHODS,
    INPUT_METHODS,
    computes,
    find,
    get,
)
