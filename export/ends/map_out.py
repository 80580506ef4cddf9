"""A fused head's map in [0, 1]: ReLU, normalisation, resize and the way back into the frame, in the graph.

The order is pytorch-grad-cam's: normalise at the layer's size, resize to the input tensor, normalise again. A map that
is not finite counts as zero where it is drawn, and leaves the graph as NaN: nobody shall take it for one that says
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from aerocam.export.ends.interpolation import Matrix, resize_floats
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.geometry import Geometry
from aerocam.methods import EPSILON, Normalisation, find

PLANE = [1, 2]
"""Axes of the positions of maps (T, H, W)."""


@dataclass(frozen=True)
class Scale:
    """What brings maps to [0, 1]: (x - low) / range; each (T, 1, 1), `low` None for 0."""

    low: ir.Value | None
    range: ir.Value

    @classmethod
    def of(cls, op: Builder, maps: ir.Value, normalisation: Normalisation) -> Scale:
        """Return the scale of maps, float32 (T, H, W), none of them negative, under a normalisation."""
        peak = op.reduce("ReduceMax", maps, PLANE)
        if normalisation == "max":
            return cls(None, op.Where(op.Greater(peak, 0.0), peak, op.constant(1.0)))
        low = op.reduce("ReduceMin", maps, PLANE)
        return cls(low, op.Add(op.Sub(peak, low), EPSILON))

    def __call__(self, op: Builder, maps: ir.Value) -> ir.Value:
        """Bring the maps, or what linear resizes make of them, to the scale."""
        return op.Div(maps if self.low is None else op.Sub(maps, self.low), self.range)


@dataclass(frozen=True)
class Maps:
    """The maps of a head, finite, at the layer's size.

    Attributes:
        layer: In [0, 1], float32 (T, h, w).
        spoiled: NaN for a map that is not finite, else 0; float32 (T, 1, 1).
        normalisation: The method's normalisation.
    """

    layer: ir.Value
    spoiled: ir.Value
    normalisation: Normalisation

    @classmethod
    def of(cls, op: Builder, raw: ir.Value, method: str) -> Maps:
        """Return the maps in [0, 1] that a head's raw map (T, h, w) gives."""
        spoiled = op.sum(op.Mul(raw, 0.0), PLANE)
        finite = op.Where(op.IsNaN(spoiled), op.constant(0.0), raw)
        normalisation = find(method).normalisation
        positive = op.Sub(finite, op.reduce("ReduceMin", finite, PLANE)) if normalisation == "span" else op.Relu(finite)
        return cls(Scale.of(op, positive, normalisation)(op, positive), spoiled, normalisation)

    def over_tensor(self, op: Builder, size: tuple[int, int]) -> ir.Value:
        """Return the maps in [0, 1] at the size of the input tensor, (T, H, W)."""
        resized, scale = self._resized(op, size)
        return scale(op, resized)

    def over_frame(self, op: Builder, geometry: Geometry) -> ir.Value:
        """Return the maps in [0, 1] over the frame, (T, H, W); 0 where the model does not see the frame.

        The second resize is a linear one too, so the two are one, and the scale between them comes last.
        """
        _, scale = self._resized(op, geometry.tensor_size)
        (top, left, bottom, right), region = geometry.seen, geometry.region
        back = resize_floats((bottom - top, right - left), (region[2] - region[0], region[3] - region[1]))
        first = resize_floats(static_shape(self.layer)[1:], geometry.tensor_size)  # type: ignore[arg-type]
        rows, columns = back.rows @ first.rows[top:bottom], back.columns @ first.columns[left:right]
        height, width = geometry.frame_size
        inside = scale(op, _between(op, rows, self.layer, columns))
        return op.pad(inside, (0, *region[:2]), (0, height - region[2], width - region[3]))

    def _resized(self, op: Builder, size: tuple[int, int]) -> tuple[ir.Value, Scale]:
        """Return the maps resized to a size, (H, W), and the scale of the result."""
        how = resize_floats(static_shape(self.layer)[1:], size)  # type: ignore[arg-type]
        resized = _between(op, how.rows, self.layer, how.columns)
        return resized, Scale.of(op, resized, self.normalisation)


def _between(op: Builder, rows: Matrix, maps: ir.Value, columns: Matrix) -> ir.Value:
    """Return rows @ map @ columns.T for each map of (T, h, w)."""
    wide = op.MatMul(maps, op.constant(columns.T, "float32"))
    return op.MatMul(op.constant(rows, "float32"), wide)
