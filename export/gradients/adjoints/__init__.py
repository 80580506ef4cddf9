"""Adjoint rules by family. Importing this package fills the table."""

from aerocam.export.gradients.adjoints import (
    activations,
    attention,
    deformable,
    elementwise,
    indexing,
    linear,
    movement,
    normalization,
    pooling,
    quantization,
    reductions,
    resize,
    sampling,
)
from aerocam.export.gradients.adjoints.registry import ADJOINTS, NO_GRADIENT
