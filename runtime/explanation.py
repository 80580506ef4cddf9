"""What one explanation holds, shows and saves."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.files import make_folder, write_together
from aerocam.runtime.drawing.overlay import PALETTE, Drawn, draw_targets, overlay_map
from aerocam.runtime.drawing.regions import Region, RegionRule, find_regions
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.frames.placement import Placement
from aerocam.runtime.maps import saliency
from aerocam.runtime.predictions.masks import in_frame
from aerocam.runtime.predictions.scores import ClassScore
from aerocam.runtime.predictions.targets import Target
from aerocam.runtime.results.serialising import json_text, jsonable, npy_bytes

DRAWN = (0.5, "jet")
"""Weight and colour map of the overlay that a model draws itself."""


@dataclass(eq=False)
class Explanation:
    """Why the model gives one frame this score.

    Attributes:
        frame: The frame, uint8 (H, W, 3) in BGR, or (H, W). Not a copy.
        raws: One raw map per layer, float32 (targets, h, w) at the layer's size, before ReLU and normalisation: these
            can be compared between frames, the normalised map cannot. Where `form` is not `raw`, the one map that the
            model gives instead, normalised by itself: its raw map does not leave the graph.
        placement: Where the frame lies in the input tensor.
        targets: What was explained, one entry per map.
        classes: The model's top classes, best first.
        method: Name of the CAM method.
        layers: Names of the target layers.
        normalisation: The method's, see `saliency.normalise`.
        fusion: How several layers became one map.
        gaussian: Standard deviation of the Gaussian over each map, in positions of its layer.
        augmented: The raw maps of altered frames, turned back, each as `raws`: the map is the mean of all then.
        form: What `raws` holds: raw maps, or maps in [0, 1] at the layer's size, over the tensor or over the frame.
        drawn: The overlay of all targets in jet at a weight of 0.5, without any text, where the model draws it itself.
        predicted: For a segmenter, per target where it predicts the class, bool (h, w) in its output; else empty.
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
    gaussian: float = 0.0
    augmented: list[list[NDArray[np.float32]]] = field(default_factory=list)
    form: saliency.Form = "raw"
    drawn: NDArray[np.uint8] | None = None
    predicted: list[NDArray[np.bool_]] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _regions: dict[tuple[RegionRule, bool], list[list[Region]]] = field(default_factory=dict, init=False, repr=False)

    @property
    def target(self) -> Target:
        """The first target."""
        return self.targets[0]

    @property
    def raw(self) -> NDArray[np.float32]:
        """The raw map of the first layer, float32 (targets, h, w).

        Raises:
            UsageError: The model gives a normalised map only.
        """
        if self.form != "raw":
            raise UsageError(
                f"raw: the model gives its map normalised ({self.form}), no raw one; read map, or export it again"
                " without --map"
            )
        return self.raws[0]

    @functools.cached_property
    def tensor_map(self) -> NDArray[np.float32]:
        """The map over the input tensor, float32 (targets, H, W) in [0, 1], as pytorch-grad-cam gives it.

        A mean over altered frames is not normalised once more: its maximum is below 1 where they differ.

        Raises:
            UsageError: The model gives the map over the frame only.
        """
        if self.form == "raw":
            size, rules = self.placement.tensor_size, (self.normalisation, self.fusion, self.gaussian)
            maps = [saliency.combine(raws, size, *rules) for raws in (self.raws, *self.augmented)]
            return maps[0] if len(maps) == 1 else np.mean(maps, axis=0, dtype=np.float32)
        given = saliency.finite(self.raws[0])
        if self.form == "frame":
            raise UsageError(
                "tensor_map: the model gives its map over the frame, not over the tensor; read map, or export it again"
                " with --map layer"
            )
        if self.form == "tensor":
            return given
        return saliency.normalise(saliency.resize(given, self.placement.tensor_size), self.normalisation)

    @functools.cached_property
    def map(self) -> NDArray[np.float32]:
        """The map over the frame, float32 (targets, H, W) in [0, 1]; 0 where the model does not see the frame."""
        if self.form == "frame":
            return saliency.finite(self.raws[0])
        return np.stack([self.placement.place(one) for one in self.tensor_map])

    def _seen_map(self, shown: Sequence[int]) -> NDArray[np.float32]:
        """The strongest of these maps where the model sees the frame, (h, w) at the tensor's size or the frame's.

        Which of them is strongest is decided at that size: before they are resized, or after.
        """
        maps = self.map if self.form == "frame" else self.tensor_map
        strongest = maps[shown[0]] if len(shown) == 1 else maps.max(axis=0)
        if self.form != "frame":
            return self.placement.cut(strongest)
        top, left, bottom, right = self.placement.region
        return strongest[top:bottom, left:right]

    def regions(self, rule: RegionRule = "otsu", *, largest: bool = True) -> list[list[Region]]:
        """Where the maps are strong, by target: box and mask over the frame; worked out once.

        Args:
            rule: `otsu`, or a share of the map's maximum; see `find_regions`.
            largest: Only the largest region of each target.

        Returns:
            One list per target, the largest region first; empty where the map is.

        Raises:
            UsageError: There is no such rule.
        """
        if (rule, largest) not in self._regions:
            seen = self.placement.region
            found = [find_regions(one, rule, largest=largest, within=seen) for one in self.map]
            self._regions[rule, largest] = found
        return self._regions[rule, largest]

    @functools.cached_property
    def masks(self) -> list[NDArray[np.bool_]]:
        """For a segmenter, per target where it predicts the class, bool (H, W) over the frame; else empty."""
        return [in_frame(mask, self.placement) for mask in self.predicted]

    @functools.cached_property
    def _mask_parts(self) -> list[list[Region]]:
        """The connected parts of the masks."""
        return [find_regions(mask.astype(np.float32), 0.5, largest=False) for mask in self.masks]

    def overlay(
        self,
        alpha: float = 0.5,
        colormap: str = "jet",
        caption: bool = True,
        target: int | None = None,
        *,
        boxes: bool | None = None,
        regions: RegionRule | None = None,
    ) -> NDArray[np.uint8]:
        """The maps laid over the frame: of one target, or at each place the strongest.

        The part of the frame that the model does not see keeps its own colours.

        Args:
            alpha: Weight of the map's colour, 0 to 1.
            colormap: One of OpenCV's colour maps by name, such as `jet` or `turbo`.
            caption: Whether to write classes and their probabilities.
            target: Which of `targets`; None: all of them.
            boxes: Whether to draw a detector's boxes, or the outline of a segmenter's mask; None: with the caption.
            regions: Draw each target's largest region by this rule, see `regions`: its outline, and its box where there
                is no detector's; None: not.

        Returns:
            uint8 (H, W, 3), BGR, a new array. Each target has its colour of `overlay.PALETTE`.

        Raises:
            UsageError: An unknown colour map or rule, or a weight outside 0 to 1.
        """
        frame = self.frame if self.frame.ndim == 3 else cv2.cvtColor(self.frame, cv2.COLOR_GRAY2BGR)
        shown = range(len(self.targets)) if target is None else [target]
        if self.drawn is not None and (alpha, colormap.lower()) == DRAWN and len(shown) == len(self.targets):
            picture = self.drawn.copy()
        else:
            seen, region = self._seen_map(shown), self.placement.region
            picture = overlay_map(frame, seen, alpha=alpha, colormap=colormap, region=region)
        boxes = caption if boxes is None else boxes
        if caption or boxes or regions is not None:
            draw_targets(picture, [self._drawn(i, boxes, regions) for i in shown], caption)
        return picture

    def _drawn(self, target: int, boxes: bool, rule: RegionRule | None) -> Drawn:
        """What the overlay shows of a target."""
        one, colour = self.targets[target], PALETTE[target % len(PALETTE)]
        found = [] if rule is None else self.regions(rule)[target]
        mask = self._mask_parts[target] if boxes and self.predicted else ()
        return Drawn(f"{one.label} {one.score:.2f}", colour, one.box if boxes else None, found, mask)

    def record(self, regions: RegionRule | None = None) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON: numbers that are not finite are None.

        Args:
            regions: Also each target's largest region by this rule; None: not.
        """
        height, width = self.frame.shape[:2]
        kind = "raw" if self.form == "raw" else "map"
        targets = [one | {kind: self._ends(i)} for i, one in enumerate(self.target_records(regions))]
        record = {
            "targets": targets,
            "classes": [asdict(one) for one in self.classes],
            "method": self.method,
            "fusion": self.fusion,
            **({} if self.gaussian == 0 else {"gaussian": self.gaussian}),
            **({} if not self.augmented else {"augmented": len(self.augmented)}),
            **({} if regions is None else {"region_rule": regions}),
            "frame": {"width": width, "height": height},
            "layers": list(self.layers),
            "timings_ms": {stage: round(spent, 3) for stage, spent in self.timings.items()},
            "warnings": list(self.warnings),
        }
        plain: dict[str, Any] = jsonable(record)
        return plain

    def target_records(self, regions: RegionRule | None = None) -> list[dict[str, Any]]:
        """The targets as dictionaries; `mask` of a segmenter, `regions` if a rule is given: box, area, polygons."""
        plain = [asdict(target) for target in self.targets]
        if self.predicted:
            pairs = zip(plain, self._mask_parts, strict=True)
            plain = [one | {"mask": [part.record() for part in parts]} for one, parts in pairs]
        if regions is None:
            return plain
        found = self.regions(regions)
        return [one | {"regions": [r.record() for r in parts]} for one, parts in zip(plain, found, strict=True)]

    def _ends(self, target: int) -> list[dict[str, Any]]:
        """Size, minimum and maximum of a target's maps in `raws`, layer by layer."""
        maps = [raw[target] for raw in self.raws]
        return [{"size": list(one.shape), "min": float(one.min()), "max": float(one.max())} for one in maps]

    def save(
        self,
        directory: str | Path,
        stem: str,
        *,
        alpha: float = 0.5,
        colormap: str = "jet",
        caption: bool = True,
        regions: RegionRule | None = None,
    ) -> dict[str, Path]:
        """Write `<stem>.cam.png` (overlay), `<stem>.cam.npy` (raw map) and `<stem>.cam.json` (record).

        Where the model gives its map normalised, that is in the .npy, and the record has `map` in place of `raw`.

        With several targets each also has an overlay of its own: `<stem>.cam.1.png`, `<stem>.cam.2.png`. With several
        layers each raw map has a file: `<stem>.cam.1.npy`, `<stem>.cam.2.npy`. Both in the record's order.

        Args:
            directory: Where; it is made if it is absent.
            stem: Beginning of the names.
            alpha: See `overlay`.
            colormap: See `overlay`.
            caption: See `overlay`.
            regions: See `overlay` and `record`.

        Returns:
            The paths, under `overlay`, `record` and `raw` (with several targets also `overlay.1`, `overlay.2`, ...;
            with several layers `raw.1`, `raw.2`, ... instead).

        Raises:
            WriteError: A file cannot be written; then none of them is.
            UsageError: See `overlay`.
        """
        wanted = [None, *range(len(self.targets))] if len(self.targets) > 1 else [None]
        numbers = [""] if len(self.raws) == 1 else [f".{number}" for number in range(1, len(self.raws) + 1)]
        text = json_text(self.record(regions))
        contents: dict[str, tuple[str, bytes]] = {}
        for one in wanted:
            number = "" if one is None else f".{one + 1}"
            picture = self.overlay(alpha, colormap, caption, one, regions=regions)
            contents[f"overlay{number}"] = f"{stem}.cam{number}.png", cv2.imencode(".png", picture)[1].tobytes()
        contents["record"] = f"{stem}.cam.json", text.encode()
        for number, raw in zip(numbers, self.raws, strict=True):
            contents[f"raw{number}"] = f"{stem}.cam{number}.npy", npy_bytes(raw)
        folder = Path(directory)
        make_folder(folder)
        write_together({folder / name: content for name, content in contents.values()})
        return {kind: folder / name for kind, (name, _) in contents.items()}
