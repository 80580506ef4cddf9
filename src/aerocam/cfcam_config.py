"""The constants of CF-CAM, which the method in NumPy and the fused head share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from aerocam.errors import UsageError, did_you_mean

DOMINANT = -2
"""Label of a dominant channel."""

NOISE = -1
"""Label of a channel that belongs to no cluster."""

TIE = 1e-6
"""eps is stretched by this share, more than float32 rounds. As often as not, eps is itself the distance of a pair: they
are neighbours then, on every machine and for scikit-learn too, whichever way their distance was rounded. The norm from
which on channels are dominant is reduced by the same share: channels of one norm are all dominant, or none."""

CURVE = 512
"""Largest number of channels that a k-distance curve is drawn from."""

FLAT = 1e-6
"""A map whose deviation from its mean is at most this share of its norm has no shape: float32 resolves no less."""

Similarity = Literal["values", "shape"]
EpsRule = Literal["pairwise", "neighbour"]
Smoothing = Literal["published", "bilateral", "none"]
Weighting = Literal["softmax", "linear"]
Dbscan = Literal["numpy", "scikit-learn"]


@dataclass(frozen=True)
class CfCamConfig:
    """Every constant of CF-CAM. The defaults tell classes apart; `published()` has those of the released code.

    Attributes:
        dominant_percentile: A channel is dominant where the L2 norm of its map reaches this percentile of all norms.
        similarity: What makes two channels alike. `values`: the Euclidean distance of their maps. `shape`: the same of
            the maps less their mean and at unit length, so that a strong and a weak channel that fire at the same
            place are alike; a constant map has no shape and counts as noise.
        eps_rule: What eps, the distance up to which channels are neighbours, is a percentile of. `pairwise`: all
            distances. `neighbour`: every channel's distance to its `min_samples`-th neighbour, itself counted, so that
            this share of the channels are cores of clusters, whatever the layer.
        eps_percentile: That percentile.
        eps_floor: eps is at least this.
        min_samples_fraction: A core has at least this fraction of the compared channels (not dominant, not without
            shape) as neighbours, itself counted, rounded down.
        min_samples_floor: And at least so many.
        smoothing: Filter of a cluster's mean gradient. `published`: one kernel as large as the map, zero padding.
            `bilateral`: edge-preserving, normalised. `none`.
        spatial_sigma: Reach of the filter, in positions of the layer.
        range_sigma: Its tolerance to other values. `published`: in units of G; `bilateral`: in standard deviations of
            the cluster's gradient.
        kernel_eps: Added to the kernel's sum before it is divided by; only `published`.
        weighting: `softmax` over the channels that are kept, or `linear`: the mean gradients as they are.
        keep_noise: Channels in no cluster keep their own mean gradient as weight, instead of being dropped.
        activity_share: How much of the evidence is taken to be mere activity: where the map's mean is positive, the map
            of the kept channels weighted by their own means, S = Σ_c mean(A_c) A_c, is subtracted, scaled to this share
            of that mean. 0 subtracts nothing.
        map_sigma: Standard deviation of a Gaussian over the positive part of the raw map, in positions of the layer; 0:
            none, and the raw map has its negative part.
        dbscan: Who clusters, with equal labels: `scikit-learn`, or `numpy`: our own, faster, for a
            device without scikit-learn.

    Raises:
        UsageError: A value is outside its range.
    """

    dominant_percentile: float = 50.0
    similarity: Similarity = "shape"
    eps_rule: EpsRule = "neighbour"
    eps_percentile: float = 50.0
    eps_floor: float = 1e-5
    min_samples_fraction: float = 0.01
    min_samples_floor: int = 3
    smoothing: Smoothing = "bilateral"
    spatial_sigma: float = 1.0
    range_sigma: float = 1.0
    kernel_eps: float = 1e-6
    weighting: Weighting = "linear"
    keep_noise: bool = True
    activity_share: float = 0.3
    map_sigma: float = 0.7
    dbscan: Dbscan = "scikit-learn"

    @classmethod
    def published(cls) -> CfCamConfig:
        """Return the constants of the released algorithm."""
        return cls(
            dominant_percentile=75.0,
            similarity="values",
            eps_rule="pairwise",
            eps_percentile=25.0,
            eps_floor=1e-5,
            min_samples_fraction=0.05,
            min_samples_floor=2,
            smoothing="published",
            spatial_sigma=5.0,
            range_sigma=0.1,
            kernel_eps=1e-6,
            weighting="softmax",
            keep_noise=False,
            activity_share=0.0,
            map_sigma=0.0,
        )

    def __post_init__(self) -> None:
        """Check that every field is in its range."""
        for name, kind in _CHOICES.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                raise UsageError(f"CF-CAM: {name} is {value!r}. {did_you_mean(str(value), get_args(kind))}")
        for name in ("dominant_percentile", "eps_percentile"):
            self._check(name, 0 <= getattr(self, name) <= 100, "0 to 100")
        for name in ("eps_floor", "spatial_sigma", "range_sigma", "kernel_eps"):
            self._check(name, 0 < getattr(self, name) < math.inf, "a positive number")
        self._check("activity_share", 0 <= self.activity_share <= 1, "0 to 1")
        self._check("map_sigma", 0 <= self.map_sigma < math.inf, "0 or a positive number")
        self._check("min_samples_fraction", 0 <= self.min_samples_fraction <= 1, "0 to 1")
        self._check("min_samples_floor", self.min_samples_floor >= 1, "at least 1")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise UsageError(f"CF-CAM: {name} is {getattr(self, name)!r}, expected {expected}; correct it")

    def min_samples(self, channels: int) -> int:
        """Return how many neighbours make a core point among `channels` channels."""
        return max(self.min_samples_floor, int(self.min_samples_fraction * channels))


_CHOICES = {name: kind for name, kind in get_type_hints(CfCamConfig).items() if get_origin(kind) is Literal}

DEFAULT = CfCamConfig()
PUBLISHED = CfCamConfig.published()
