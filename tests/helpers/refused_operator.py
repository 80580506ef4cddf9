"""An operator without an adjoint rule, whichever operators have one: the rule of one is taken out of the table."""

from __future__ import annotations

import pytest

from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import REFUSED

OPERATOR, REASON = "Softsign", "no test has a rule for it; Div, Add and Abs say the same"
"""It may take the place of a Relu in any network."""


def without_a_rule(patch: pytest.MonkeyPatch) -> str:
    """Refuse `OPERATOR`, for `REASON`, until the test is over; return its name."""
    patch.delitem(ADJOINTS, OPERATOR)
    patch.setitem(REFUSED, OPERATOR, REASON)
    return OPERATOR
