"""The figures that the self-checks measure, and their tolerances."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from aerocam.errors import CheckError
from aerocam.export.checking.gradients import KINKS

logger = logging.getLogger("aerocam.export")

OUTPUT_TOLERANCE = 1e-6
"""Largest difference of an original output, relative to its largest entry."""

KERNEL_TOLERANCE = 1e-5
"""The same where nothing is fused and both pick the same: another kernel, as of unrolled steps, may round so."""

HALF_TOLERANCE = 4e-3
"""The same of fused ends where the model computes in float16: ONNX Runtime rounds at other places once a tensor becomes
an output. Without ends, float16 is not compared as it rounds: both models are run in float32.
"""

GRADIENT_TOLERANCE = 0.5
"""Largest difference between gradient and finite difference along a direction, relative to the gradient's size there.

Differences in float32 stumble over the kinks of ReLU and max-pooling: far from the score a right gradient may be off by
0.1 to 0.4. A wrong sign is off by 2, a lost or misplaced gradient by 1. What each rule is worth in float64 is tested.
"""

LEVEL, MEAN_LEVEL = 1.05, 0.01
"""Grey levels that the input tensor may differ by, anywhere and on the mean: float32 may round a level the other way.
"""

MAP = 1e-4
"""What a map in [0, 1] may differ by."""

SHADE, MEAN_SHADE = 3.0, 0.05
"""Grey levels that the overlay may differ by: a level of the map is up to 5 of a colour, and that is half of it."""


@dataclass(frozen=True)
class EndsReport:
    """How far the ends are from their steps; 0 for one that is not there.

    Attributes:
        tensor: Largest and mean difference of the input tensor, in grey levels.
        outputs: Largest relative difference of an output from that of the graph without the ends on that tensor.
        map: Largest difference of the map.
        overlay: Largest and mean difference of the overlay, in grey levels.
        provider: Execution provider that it ran on.
    """

    tensor: tuple[float, float]
    outputs: float
    map: float
    overlay: tuple[float, float]
    provider: str

    def require(self, tolerance: float) -> EndsReport:
        """Return this report if no difference is too large.

        Args:
            tolerance: Largest `outputs` that is good.

        Raises:
            CheckError: A difference is over its tolerance, or not finite.
        """
        checks = {
            f"the tensor of a frame by {self.tensor[0]:.2g} grey levels, {self.tensor[1]:.2g} on the mean": (
                self.tensor[0] <= LEVEL and self.tensor[1] <= MEAN_LEVEL
            ),
            f"outputs by {self.outputs:.2g}": self.outputs <= tolerance,
            f"the map by {self.map:.2g}": self.map <= MAP,
            f"the overlay by {self.overlay[0]:.2g} grey levels, {self.overlay[1]:.2g} on the mean": (
                self.overlay[0] <= SHADE and self.overlay[1] <= MEAN_SHADE
            ),
        }
        if wrong := [text for text, good in checks.items() if not good]:
            raise CheckError(
                f"the fused ends differ on {self.provider} from the same steps one by one: {', '.join(wrong)};"
                " export without them, please report the model"
            )
        return self


@dataclass(frozen=True)
class CheckReport:
    """The figures of a self-check.

    Attributes:
        outputs: Largest relative difference of an original output.
        gradients: Per layer, the largest relative difference to a central finite difference.
        unchecked: Per layer that has no such figure, why.
        provider: Execution provider it ran on.
        tolerance: Largest `outputs` that is good.
        ends: What was measured of fused ends; None where there are none.
        precision: How far the outputs of the model in the precision of the export are from the original's, relative to
            the largest of each; None where that was not converted.
        tail: How far the scores of a tail, run on several activations at once, are from the model's own, relative to
            the largest; None where there is no tail.
    """

    outputs: float
    gradients: dict[str, float]
    provider: str
    tolerance: float = OUTPUT_TOLERANCE
    ends: EndsReport | None = None
    tail: float | None = None
    precision: float | None = None
    unchecked: Mapping[str, str] = field(default_factory=dict)

    def require(self) -> CheckReport:
        """Return this report if no difference is too large; warn of gradients that are off by a little.

        Raises:
            CheckError: An output or a gradient is off by more than its tolerance, or not finite.
        """
        if not self.outputs <= self.tolerance:
            raise CheckError(
                f"the exported model's outputs differ from the original's by {self.outputs:.2g} on {self.provider},"
                f" at most {self.tolerance:.0e} is expected; please report the model"
            )
        for name, reason in self.unchecked.items():
            logger.warning("layer %r: %s; they are not checked", name, reason)
        for name, difference in self.gradients.items():
            if not math.isfinite(difference):
                raise CheckError(
                    f"layer {name!r}: its gradients are not finite on {self.provider}; try a layer nearer to the score,"
                    " and of a model in float16, whose numbers end at 65504, float32"
                )
            if not difference <= GRADIENT_TOLERANCE:
                raise CheckError(
                    f"layer {name!r}: its gradients differ from finite differences by {difference:.2g} on"
                    f" {self.provider}, at most {GRADIENT_TOLERANCE} is expected; try another layer or provider,"
                    " please report the model"
                )
            if difference > KINKS:
                logger.warning(
                    "layer %r: gradients and finite differences differ by %.2g; kinks of ReLU and max-pooling do that"
                    " far from the score",
                    name,
                    difference,
                )
        return self
