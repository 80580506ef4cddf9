"""Several at once: nodes written for one array, replayed on a stack of them.

Two uses: the adjoint of several targets in one pass (`stack`), and the part behind a layer on several activations
(`replay`). To add an operator: one function under `@stacking` in the file of its family; the tests run over the rule
table, forward and backward.
"""

from aerocam.export.gradients.stacking import along_axes, batched, movement  # importing them fills the table
from aerocam.export.gradients.stacking.registry import RULES, NoFormError, Replay, replay, stack, stacking
