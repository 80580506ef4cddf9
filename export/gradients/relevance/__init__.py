"""Rules of layer-wise relevance propagation, LRP-epsilon: a table to walk back with in place of the adjoints.

Relevance R (Bach et al., PLoS ONE 2015, eq. 58) goes from an output z_j = Σ_i a_i w_ij + b_j to its inputs in the
shares in which they make it up:

    R_i = Σ_j a_i w_ij / (z_j + ε sign z_j) R_j

What the walk carries is not R but the multiplier M with R = A M: with R_j = z_j M_j that is M_i = Σ_j w_ij s_j M_j,
s_j = |z_j| / (|z_j| + ε). So LRP-ε is the gradient in which each nonlinearity's derivative f'(z) is replaced by
f(z) / z (Ancona et al., ICLR 2018, proposition 1), and what adds up cotangents in the walk adds up relevance. The
score's own relevance is the score. Nothing is divided by z where relevance meets a weight, so ε may be small.

What each family does:

- weighted sums (Conv, ConvTranspose, Gemm and MatMul with a weight, BatchNormalization): the rule above; a bias takes
  its share and keeps it, and so does an added constant;
- functions of one tensor, entry by entry (activations, powers): all relevance passes, M_x = f(x) / x M_y; in a form
  without a division where f has one (ReLU, HardSwish, SiLU, GELU), otherwise with the ε of above;
- plain sums and means, resizes, moves, views: their adjoint. They are weighted sums whose weights are not the
  network's own; ε is left out, as nothing is divided by it;
- maxima (pools, reductions, Max and Min of two tensors): their adjoint, the winner takes all; of a tensor and a
  constant: a function of one tensor. Norms and |x|: their adjoint, which conserves relevance, as they are homogeneous;
- products of two tensors (squeeze-and-excitation, attention): all to the signal, nothing to a gate or to the weights of
  attention, which count as constants (Arras et al., WASSA 2017; Ali et al., ICML 2022); where neither factor is a gate,
  half to each (as Achtibat et al., ICML 2024). `products.py` says what a gate is;
- quotients and normalisations: the divisor counts as a constant (Ali et al.); so do the offsets, grids and masks of
  operators that read X at computed places;
- quantised values: all relevance passes, saturated or not;
- what is left (`WITHOUT_RULE`) is refused by name.

An activation or normalisation gets the same relevance as one operator and written out, a batch normalisation folded
or not, but for ε.
"""

from aerocam.export.gradients.relevance import activations, linear, products
from aerocam.export.gradients.relevance.registry import EPSILON, RELEVANCE, WITHOUT_RULE
