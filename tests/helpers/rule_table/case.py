"""One row of the rule table, and the shapes and constants that rows are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_graphs import OPSET, run_reference


@dataclass(frozen=True)
class Case:
    """One row: an operator in one form.

    Attributes:
        op: The operator.
        inputs: Shapes (drawn, differentiated) or arrays (constants); None is an absent input.
        attributes: The node's.
        outputs: How many the node has.
        used: Which of them the score reads.
        low: Smallest value drawn; None: values around 0, 0.02 apart, none nearer to 0 than 0.01.
        forward: Runs the node for the differences: `run_reference` and `run_ort_double` in float64; `run_ort`
            in float32, where the others are wrong or lack the form.
        opset: Of the default domain.
    """

    op: str
    inputs: Sequence[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    used: Sequence[int] = (0,)
    low: float | None = None
    forward: Callable[..., Any] = run_reference
    opset: int = OPSET

    def __str__(self) -> str:
        shapes = ["x".join(map(str, x if isinstance(x, tuple) else np.shape(x))) for x in self.inputs if x is not None]
        return f"{self.op}-{','.join(shapes)}-" + ",".join(f"{k}={v}" for k, v in self.attributes.items())


def i64(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def f32(*shape: int, low: float = -1.0, high: float = 1.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(int(np.prod(shape)) + len(shape))
    return rng.uniform(low, high, shape).astype(np.float32)


X = (1, 4, 6, 5)
ONE_D, THREE_D = (1, 4, 9), (1, 2, 5, 4, 3)
