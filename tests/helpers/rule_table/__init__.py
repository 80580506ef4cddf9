"""The rule table: per adjoint rule, every form of its operator that changes what the rule does.

One file per family; a new rule gets its rows in the file of its family.
"""

from rule_table import (
    activations,
    attention,
    deformable,
    elementwise,
    indexing,
    linear,
    movement,
    normalization,
    pooling,
    reductions,
    resize,
    sampling,
)
from rule_table.case import Case

CASES: list[Case] = [
    *elementwise.ROWS,
    *activations.ROWS,
    *movement.ROWS,
    *indexing.ROWS,
    *reductions.ROWS,
    *linear.ROWS,
    *pooling.ROWS,
    *normalization.ROWS,
    *attention.ROWS,
    *resize.ROWS,
    *sampling.ROWS,
    *deformable.ROWS,
]
