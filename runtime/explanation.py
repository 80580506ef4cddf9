"""Explanations: what one holds, shows and saves."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.runtime.drawing.overlay import PALETTE, Annotation, draw_targets, overlay_map
from aerocam.runtime.drawing.regions import Region, RegionRule, find_regions
from aerocam.runtime.frames.preprocess import Placement
from aerocam.runtime.maps import saliency
from aerocam.runtime.maps.extent import Extent, extent
from aerocam.runtime.maps.mapping import LayerMaps, Maps, Recipe
from aerocam.runtime.predictions.explained import mask_in_frame
from aerocam.runtime.predictions.prediction import Prediction
from aerocam.runtime.predictions.scores import ClassScore
from aerocam.runtime.predictions.targets import Target
from aerocam.runtime.results import record as records

DRAWN = (0.5, "jet")
"""Weight and colour map of the overlay that a model draws itself."""


@dataclass(frozen=True)
class Held:
    """Holds what the model says of a frame whose maps are those of an earlier one.

    Attributes:
        targets: The frame's own.
        predicted: Their masks, see `Explanation.predicted`.
        paired: Whether each target is that of the map at its place; objects come and go.
    """

    targets: list[Target]
    predicted: list[NDArray[np.bool_]]
    paired: bool


@dataclass(eq=False)
class Explanation:
    """Says why the model gives one frame this score: what was explained, its maps, and how they are shown and saved.

    Example:
        >>> from aerocam.runtime import Explainer, read_picture
        >>> with Explainer("model.cam.onnx") as explainer:
        ...     explanation = explainer(read_picture("photo.png"))
        >>> explanation.target.label, explanation.raw.shape, explanation.map.shape
        ('red', (1, 8, 12), (1, 64, 96))
        >>> overlay = explanation.overlay(alpha=0.4, colormap="turbo")
        >>> sorted(path.name for path in explanation.save("out", "photo").values())
        ['photo.cam.json', 'photo.cam.npy', 'photo.cam.png']

    Attributes:
        prediction: What the model says of the frame; detached, so that it lasts.
        maps: What was made of the frame, target by target.
        recipe: How the maps were made.
        timings: Milliseconds by stage.
        warnings: What a reader of the map has to know; empty if all is well.
        held: The frame's own targets where the maps are those of an earlier one; None: they are of this one.
    """

    prediction: Prediction
    maps: Maps
    recipe: Recipe
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    held: Held | None = None
    _regions: dict[tuple[RegionRule, bool], list[list[Region]]] = field(default_factory=dict, init=False, repr=False)

    @property
    def frame(self) -> NDArray[Any]:
        """Return the frame, (H, W, 3) in BGR, or (H, W), or of bands (H, W, C). Not a copy."""
        return self.prediction.frame

    @property
    def picture(self) -> NDArray[np.uint8]:
        """Return the frame as it is drawn, uint8 (H, W, 3) in BGR; of other types from its darkest to its brightest."""
        return self.prediction.picture

    @property
    def placement(self) -> Placement:
        """Return where the frame lies in the input tensor."""
        return self.prediction.placement

    @property
    def classes(self) -> list[ClassScore]:
        """Return the model's top classes, best first."""
        return self.prediction.classes

    @property
    def targets(self) -> list[Target]:
        """Return what was explained, one entry per map; none where `Objects` found none and `guess` is False."""
        return self.maps.targets if self.held is None else self.held.targets

    @property
    def raws(self) -> LayerMaps:
        """Return one raw map per layer, float32 (targets, h, w) at the layer's size, before ReLU and normalisation.

        These can be compared between frames, the normalised map cannot. Where `form` is not `raw`, it is the one map
        that the model gives instead, normalised by itself: its raw map does not leave the graph.
        """
        return self.maps.raws

    @property
    def augmented(self) -> list[LayerMaps]:
        """Return the raw maps of altered frames, turned back, each as `raws`: the map is the mean of all then."""
        return self.maps.augmented

    @property
    def drawn(self) -> NDArray[np.uint8] | None:
        """Return the overlay of all targets in jet at a weight of 0.5, without text, where the model draws it."""
        return self.maps.drawn

    @property
    def predicted(self) -> list[NDArray[np.bool_]]:
        """Return per target where the model predicts it, bool (h, w) over the tensor in whatever size; else nothing.

        A segmenter predicts a class, a detector with masks an object.
        """
        return self.maps.predicted if self.held is None else self.held.predicted

    @property
    def method(self) -> str:
        """Return the name of the CAM method."""
        return self.recipe.method

    @property
    def layers(self) -> tuple[str, ...]:
        """Return the names of the target layers."""
        return self.recipe.layers

    @property
    def normalisation(self) -> saliency.Normalisation:
        """Return the method's normalisation, see `saliency.normalise`."""
        return self.recipe.normalisation

    @property
    def fusion(self) -> saliency.Fusion:
        """Return how the maps of several layers became one."""
        return self.recipe.fusion

    @property
    def gaussian(self) -> float:
        """Return the standard deviation of the Gaussian over each map, in positions of its layer."""
        return self.recipe.gaussian

    @property
    def form(self) -> saliency.Form:
        """Return what `raws` holds: raw maps, or maps in [0, 1] at the layer's size, over the tensor or the frame."""
        return self.recipe.form

    @property
    def target(self) -> Target:
        """Return the first target."""
        return self.targets[0]

    @property
    def raw(self) -> NDArray[np.float32]:
        """Return the raw map of the first layer, float32 (targets, h, w).

        Raises:
            UsageError: The model gives a normalised map only.
        """
        if self.form != "raw":
            raise UsageError(
                f"raw: the model gives its map normalised ({self.form}), no raw one; read map, or export it again"
                " without `map_form`"
            )
        return self.raws[0]

    @functools.cached_property
    def tensor_map(self) -> NDArray[np.float32]:
        """Return the map over the input tensor, float32 (targets, H, W) in [0, 1], as pytorch-grad-cam gives it.

        A mean over altered frames is not normalised once more: its maximum is below 1 where they differ.

        Raises:
            UsageError: The model gives the map over the frame only.
        """
        if not self.raws:
            return np.zeros((0, *self.placement.tensor_size), np.float32)
        if self.form == "raw":
            size, rules = self.placement.tensor_size, (self.normalisation, self.fusion, self.gaussian)
            maps = [saliency.combine(raws, size, *rules) for raws in (self.raws, *self.augmented)]
            return maps[0] if len(maps) == 1 else np.mean(maps, axis=0, dtype=np.float32)
        model_map = saliency.finite(self.raws[0])
        if self.form == "frame":
            raise UsageError(
                "tensor_map: the model gives its map over the frame, not over the tensor; read map, or export it again"
                " with `map_form='layer'`"
            )
        if self.form == "tensor":
            return model_map
        return saliency.normalise(saliency.resize(model_map, self.placement.tensor_size), self.normalisation)

    @functools.cached_property
    def map(self) -> NDArray[np.float32]:
        """Return the map over the frame, float32 (targets, H, W) in [0, 1]; 0 outside what the model sees."""
        if not self.raws:
            return np.zeros((0, *self.placement.frame_size), np.float32)
        if self.form == "frame":
            return saliency.finite(self.raws[0])
        return np.stack([self.placement.place(map_) for map_ in self.tensor_map])

    def extents(self) -> list[Extent | None]:
        """Return where each map is: peak, centre and spread in px of the frame; None for one that is zero."""
        top, left, bottom, right = region = self.placement.region
        if self.form == "frame":
            return [extent(map_[top:bottom, left:right], region) for map_ in self.map]
        return [extent(self.placement.cut(map_), region) for map_ in self.tensor_map]

    def _seen_map(self, shown: Sequence[int]) -> NDArray[np.float32]:
        """Return the strongest of these maps over what the model sees, (h, w) at the tensor's size or the frame's.

        Which of them is strongest is decided at that size: before they are resized, or after.
        """
        maps = self.map if self.form == "frame" else self.tensor_map
        strongest = maps[shown[0]] if len(shown) == 1 else maps.max(axis=0)
        if self.form != "frame":
            return self.placement.cut(strongest)
        top, left, bottom, right = self.placement.region
        return strongest[top:bottom, left:right]

    def regions(self, rule: RegionRule = "otsu", *, largest: bool = True) -> list[list[Region]]:
        """Find where the maps are strong, by target: box and mask over the frame; worked out once.

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
            regions = [find_regions(map_, rule, largest=largest, within=seen) for map_ in self.map]
            self._regions[rule, largest] = regions
        return self._regions[rule, largest]

    @functools.cached_property
    def masks(self) -> list[NDArray[np.bool_]]:
        """Return per target where the model predicts it, bool (H, W) over the frame; nothing of models without masks.

        A segmenter predicts a class, a detector with masks an object.
        """
        return [mask_in_frame(mask, self.placement) for mask in self.predicted]

    @functools.cached_property
    def _mask_parts(self) -> list[list[Region]]:
        """Return the connected parts of the masks."""
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
        """Lay the maps over the frame: that of one target, or at each place the strongest.

        The part of the frame that the model does not see keeps its own colours.

        Args:
            alpha: Weight of the map's colour, 0 to 1.
            colormap: One of OpenCV's colour maps by name, such as `jet` or `turbo`.
            caption: Whether to write classes and their probabilities.
            target: Which of `targets`; None: all of them.
            boxes: Whether to draw what the model says where a target is: a detector's box, upright or rotated, and its
                keypoints, and the outline of a mask; None: with the caption.
            regions: Draw each target's largest region by this rule, see `regions`: its outline, and its box where there
                is no detector's; None: not.

        Returns:
            uint8 (H, W, 3), BGR, a new array. Each target has its colour of `overlay.PALETTE`.

        Raises:
            UsageError: An unknown colour map or rule, or a weight outside 0 to 1.
        """
        shown = range(len(self.targets)) if target is None else [target]
        maps = shown if self._paired else range(len(self.maps.targets))
        if not shown or not maps:
            picture = self.picture.copy()
        elif self.drawn is not None and (alpha, colormap.lower()) == DRAWN and len(shown) == len(self.targets):
            picture = self.drawn.copy()
        else:
            seen, region = self._seen_map(maps), self.placement.region
            picture = overlay_map(self.picture, seen, alpha=alpha, colormap=colormap, region=region)
        boxes = caption if boxes is None else boxes
        if caption or boxes or regions is not None:
            rule = regions if self._paired else None
            draw_targets(picture, [self._annotation(i, boxes, rule) for i in shown], caption)
        return picture

    @property
    def _paired(self) -> bool:
        """Say whether each target has the map at its place."""
        return self.held is None or self.held.paired

    def _annotation(self, target: int, boxes: bool, rule: RegionRule | None) -> Annotation:
        """Return what the overlay shows of a target."""
        shown, colour = self.targets[target], PALETTE[target % len(PALETTE)]
        regions = [] if rule is None else self.regions(rule)[target]
        mask = self._mask_parts[target] if self.predicted else ()
        text = f"{shown.label} {shown.score:.2f}"
        if not boxes:
            return Annotation(text, colour, None, regions)
        return Annotation(text, colour, shown.box, regions, mask, shown.polygon, shown.keypoints or ())

    def record(self, regions: RegionRule | None = None) -> dict[str, Any]:
        """Return everything but the arrays, ready for JSON: numbers that are not finite are None.

        Args:
            regions: Also each target's largest region by this rule; None: not.
        """
        targets = self.target_records(regions)
        of_frame = records.explanation_record(self.prediction, self.maps, self.recipe, targets, regions)
        return records.jsonable(of_frame | records.run_record(self.timings, self.warnings))

    def target_records(self, regions: RegionRule | None = None) -> list[dict[str, Any]]:
        """Return the targets as dictionaries.

        Where the model gives masks they have `mask`; `regions` are there if a rule is given: box, area, polygons.
        """
        masks = self._mask_parts if self.predicted else []
        parts = None if regions is None or not self._paired else self.regions(regions)
        return records.target_records(self.targets, masks, parts)

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
        record, each = self.record(regions), range(len(self.targets)) if len(self.targets) > 1 else ()
        overlays = (self.overlay(alpha, colormap, caption, target, regions=regions) for target in (None, *each))
        return records.write_explanation(Path(directory), stem, overlays, self.raws, record)
