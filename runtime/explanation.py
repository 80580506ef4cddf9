"""What one explanation holds, shows and saves."""

from __future__ import annotations

import functools
import io
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.files import make_folder, write_together
from aerocam.runtime import saliency
from aerocam.runtime.opencv import cv2
from aerocam.runtime.overlay import draw_targets, overlay_map
from aerocam.runtime.placement import Placement
from aerocam.runtime.scores import ClassScore
from aerocam.runtime.targets import Target


@dataclass(eq=False)
class Explanation:
    """Why the model gives one frame this score.

    Attributes:
        frame: The frame, uint8 (H, W, 3) in BGR, or (H, W). Not a copy.
        raws: One raw map per layer, float32 (targets, h, w) at the layer's size, before ReLU and normalisation: these
            can be compared between frames, the normalised map cannot.
        placement: Where the frame lies in the input tensor.
        targets: What was explained, one entry per map.
        classes: The model's top classes, best first.
        method: Name of the CAM method.
        layers: Names of the target layers.
        normalisation: The method's, see `saliency.normalise`.
        fusion: How several layers became one map.
        timings: ms by stage.
        warnings: What a reader of the map has to know; empty if all is well.
    """

    frame: NDArray[np.uint8]
    raws: list[NDArray[np.float32]]
    placement: Placement
    targets: list[Target]
    classes: list[ClassScore]
    method: str
    layers: tuple[str, ...]
    normalisation: saliency.Normalisation = "minmax"
    fusion: saliency.Fusion = "mean"
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def target(self) -> Target:
        """The first target."""
        return self.targets[0]

    @property
    def raw(self) -> NDArray[np.float32]:
        """The raw map of the first layer, float32 (targets, h, w)."""
        return self.raws[0]

    @functools.cached_property
    def tensor_map(self) -> NDArray[np.float32]:
        """The map over the input tensor, float32 (targets, H, W) in [0, 1], as pytorch-grad-cam gives it."""
        return saliency.combine(self.raws, self.placement.tensor_size, self.normalisation, self.fusion)

    @functools.cached_property
    def map(self) -> NDArray[np.float32]:
        """The map over the frame, float32 (targets, H, W) in [0, 1]; 0 where the model does not see the frame."""
        return np.stack([self.placement.place(one) for one in self.tensor_map])

    def overlay(
        self, alpha: float = 0.5, colormap: str = "jet", caption: bool = True, target: int | None = None
    ) -> NDArray[np.uint8]:
        """The maps laid over the frame: of one target, or at each place the strongest.

        The part of the frame that the model does not see keeps its own colours.

        Args:
            alpha: Weight of the map's colour, 0 to 1.
            colormap: One of OpenCV's colour maps by name, such as `jet` or `turbo`.
            caption: Whether to draw classes, their probabilities and, for a detector, the boxes.
            target: Which of `targets`; None: all of them.

        Returns:
            uint8 (H, W, 3), BGR, a new array.

        Raises:
            UsageError: An unknown colour map, or a weight outside 0 to 1.
        """
        frame = self.frame if self.frame.ndim == 3 else cv2.cvtColor(self.frame, cv2.COLOR_GRAY2BGR)
        shown = range(len(self.targets)) if target is None else [target]
        tensor_map = self.tensor_map[shown[0]] if len(shown) == 1 else self.tensor_map.max(axis=0)
        seen = self.placement.cut(tensor_map)
        picture = overlay_map(frame, seen, alpha=alpha, colormap=colormap, region=self.placement.region)
        if caption:
            texts = [(f"{self.targets[i].label} {self.targets[i].score:.2f}", self.targets[i].box) for i in shown]
            draw_targets(picture, texts)
        return picture

    def record(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON: numbers that are not finite are None."""
        height, width = self.frame.shape[:2]
        record = {
            "targets": [asdict(target) | {"raw": self._ends(i)} for i, target in enumerate(self.targets)],
            "classes": [asdict(one) for one in self.classes],
            "method": self.method,
            "fusion": self.fusion,
            "frame": {"width": width, "height": height},
            "layers": list(self.layers),
            "timings_ms": {stage: round(spent, 3) for stage, spent in self.timings.items()},
            "warnings": list(self.warnings),
        }
        plain: dict[str, Any] = jsonable(record)
        return plain

    def _ends(self, target: int) -> list[dict[str, Any]]:
        """Size, minimum and maximum of a target's raw maps, layer by layer."""
        maps = [raw[target] for raw in self.raws]
        return [{"size": list(one.shape), "min": float(one.min()), "max": float(one.max())} for one in maps]

    def save(
        self, directory: str | Path, stem: str, *, alpha: float = 0.5, colormap: str = "jet", caption: bool = True
    ) -> dict[str, Path]:
        """Write `<stem>.cam.png` (overlay), `<stem>.cam.npy` (raw map) and `<stem>.cam.json` (record).

        With several layers each raw map has a file: `<stem>.cam.1.npy`, `<stem>.cam.2.npy`, in the record's order.

        Args:
            directory: Where; it is made if it is absent.
            stem: Beginning of the three names.
            alpha: See `overlay`.
            colormap: See `overlay`.
            caption: See `overlay`.

        Returns:
            The paths, under `overlay`, `record` and `raw` (with several layers `raw.1`, `raw.2`, ...).

        Raises:
            MediaError: A file cannot be written; then none of them is.
            UsageError: See `overlay`.
        """
        picture = self.overlay(alpha, colormap, caption)
        folder = Path(directory)
        make_folder(folder)
        text = json.dumps(self.record(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
        numbers = [""] if len(self.raws) == 1 else [f".{number}" for number in range(1, len(self.raws) + 1)]
        contents = {
            "overlay": (f"{stem}.cam.png", cv2.imencode(".png", picture)[1].tobytes()),
            "record": (f"{stem}.cam.json", text.encode()),
            **{f"raw{no}": (f"{stem}.cam{no}.npy", _npy(raw)) for no, raw in zip(numbers, self.raws, strict=True)},
        }
        write_together({folder / name: content for name, content in contents.values()})
        return {kind: folder / name for kind, (name, _) in contents.items()}


def _npy(array: NDArray[Any]) -> bytes:
    """An array as the content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def jsonable(value: Any) -> Any:
    """`value` with every number that is not finite replaced by None: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
