"""Whether two classes of one picture have two maps."""

from __future__ import annotations

import numpy as np

from aerocam.benchmarks.evaluation.case import Case
from aerocam.benchmarks.evaluation.metrics.masking import constant, finite
from aerocam.benchmarks.evaluation.metrics.registry import Value, metric
from aerocam.benchmarks.evaluation.metrics.similarity import pearson


@metric(
    "class_sensitivity",
    direction="lower",
    definition="Pearson's correlation over px of the normalised maps of the target and of a second class of the same"
    " picture: 1 where both are constant, 0 where one is, NaN where one is not finite or there is no second class; mean"
    " over pictures.",
    source="Random-logit test of Sixt et al., When Explanations Lie, 2020, with a plausible class for the random one",
    needs=("second class",),
)
def class_sensitivity(case: Case) -> Value:
    """How alike the maps of two classes are; see `metric`."""
    if case.second < 0:
        return float("nan")
    other = case.subject.explain(case.tensor, case.second).map
    if not (finite(case.map) and finite(other)):
        return float("nan")
    flat = constant(case.map), constant(other)
    return float(np.all(flat)) if any(flat) else pearson(case.map, other)
