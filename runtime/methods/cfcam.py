"""CF-CAM: cluster filter class activation mapping (He, Pan, Yao, arXiv:2504.00060).

Three steps for one image: the strongest channels are kept as they are (dominant), the others are clustered by DBSCAN
and those in no cluster dropped as noise, and every cluster's gradient is averaged and filtered into one weight that its
channels share. `CfCamConfig` holds every constant, and two choices of them:

- `CfCamConfig.published()` is the released code, number by number. Its weights go through a softmax, and gradients of
  real networks are so small that the softmax is all but uniform: the map shows where the network is active and hardly
  depends on the class.
- `CfCamConfig()` is made to tell classes apart, with the same three steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from aerocam.errors import UsageError, did_you_mean
from aerocam.runtime.methods import clustering, smoothing
from aerocam.runtime.methods.clustering import NOISE
from aerocam.runtime.methods.registry import Array, cam_method

DOMINANT = -2
"""Label of a dominant channel."""

Similarity = Literal["values", "shape"]
EpsRule = Literal["pairwise", "neighbour"]
Smoothing = Literal["published", "bilateral", "none"]
Weighting = Literal["softmax", "linear"]
Dbscan = Literal["numpy", "scikit-learn"]

_CHOICES: dict[str, Any] = {
    "similarity": Similarity,
    "eps_rule": EpsRule,
    "smoothing": Smoothing,
    "weighting": Weighting,
    "dbscan": Dbscan,
}


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
        dbscan: Who clusters, with equal labels: `scikit-learn`, or `numpy`: our own, faster, for a
            device without scikit-learn.

    Raises:
        UsageError: A value outside its range.
    """

    dominant_percentile: float = 75.0
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
    keep_noise: bool = False
    dbscan: Dbscan = "scikit-learn"

    @classmethod
    def published(cls) -> CfCamConfig:
        """The released algorithm."""
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
        )

    def __post_init__(self) -> None:
        """Check every field."""
        for name, kind in _CHOICES.items():
            value = getattr(self, name)
            if value not in get_args(kind):
                raise UsageError(f"CF-CAM: {name} is {value!r}. {did_you_mean(str(value), get_args(kind))}")
        for name in ("dominant_percentile", "eps_percentile"):
            self._check(name, 0 <= getattr(self, name) <= 100, "0 to 100")
        for name in ("eps_floor", "spatial_sigma", "range_sigma", "kernel_eps"):
            self._check(name, 0 < getattr(self, name) < math.inf, "a positive number")
        self._check("min_samples_fraction", 0 <= self.min_samples_fraction <= 1, "0 to 1")
        self._check("min_samples_floor", self.min_samples_floor >= 1, "at least 1")

    def _check(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise UsageError(f"CF-CAM: {name} is {getattr(self, name)!r}, expected {expected}; correct it")

    def min_samples(self, channels: int) -> int:
        """Neighbours that make a core among `channels` channels."""
        return max(self.min_samples_floor, int(self.min_samples_fraction * channels))


DEFAULT = CfCamConfig()
PUBLISHED = CfCamConfig.published()


@dataclass(frozen=True)
class ChannelClusters:
    """What the clustering made of one image's channels.

    Attributes:
        labels: Shape (C,): the number of the channel's cluster, or NOISE (-1), or DOMINANT (-2).
        eps: Distance up to which two channels were neighbours, in the units of `CfCamConfig.similarity`.
        min_samples: Neighbours that made a core.
    """

    labels: npt.NDArray[np.intp]
    eps: float
    min_samples: int

    @property
    def dominant(self) -> npt.NDArray[np.bool_]:
        """Shape (C,): which channels are dominant."""
        return self.labels == DOMINANT

    @property
    def count(self) -> int:
        """Number of clusters."""
        return max(int(self.labels.max()) + 1, 0)


@cam_method("cfcam", normalisation="max")
def cf_cam(activations: Array, gradients: Array, *, config: CfCamConfig = DEFAULT) -> Array:
    """CF-CAM: L = Σ_c w_c A_c over the channels that are dominant or in a cluster.

    A dominant channel has w_c = mean_hw G_c, a channel of cluster k the mean over h, w of the filtered mean gradient of
    k; under `weighting="softmax"` these then go through a softmax over the kept channels. To be followed by ReLU and
    division by the maximum. Where the release is silent: one channel that is not dominant is noise; without any
    positive value the map stays zero; A or G that is not finite gives a map of NaN.

    Raises:
        UsageError: `config` is something else.
        MissingDependencyError: `config.dbscan` is `scikit-learn`, and that is not installed.
    """
    if not isinstance(config, CfCamConfig):
        raise UsageError(f"method cfcam: option config is {config!r}, expected a CfCamConfig; give it from Python")
    return np.stack([_one_image(a, g, config) for a, g in zip(activations, gradients, strict=True)])


@cam_method("cfcam-published", normalisation="max")
def cf_cam_published(activations: Array, gradients: Array) -> Array:
    """CF-CAM exactly as released: `cfcam` with `CfCamConfig.published()`. Hardly depends on the class; see there."""
    return cf_cam(activations, gradients, config=PUBLISHED)


def cluster_channels(activations: npt.ArrayLike, config: CfCamConfig = DEFAULT) -> ChannelClusters:
    """The first two steps of CF-CAM for one image.

    Args:
        activations: A of one image, shape (C, H, W), finite.
        config: Its constants.

    Raises:
        MissingDependencyError: `config.dbscan` is `scikit-learn`, and that is not installed.
    """
    maps = np.asarray(activations, dtype=np.float64)
    maps = maps.reshape(len(maps), -1)
    norms = np.sqrt(np.einsum("ij,ij->i", maps, maps))
    dominant = norms >= np.percentile(norms, config.dominant_percentile)
    compared = np.flatnonzero(~dominant)
    vectors = maps[compared]
    if config.similarity == "shape":
        vectors = clustering.shapes(vectors)
        shaped = vectors.any(axis=1)
        compared, vectors = compared[shaped], vectors[shaped]
    squared = clustering.squared_distances(vectors)
    min_samples = config.min_samples(len(vectors))
    eps = _neighbourhood(squared, min_samples, config)
    labels = np.where(dominant, DOMINANT, NOISE)
    if config.dbscan == "numpy":
        labels[compared] = clustering.dbscan(squared, eps, min_samples)
    else:
        labels[compared] = clustering.scikit_learn_dbscan(squared, eps, min_samples)
    return ChannelClusters(labels, eps, min_samples)


def _neighbourhood(squared: npt.NDArray[np.float64], min_samples: int, config: CfCamConfig) -> float:
    """eps: the distance up to which channels are neighbours."""
    if config.eps_rule == "pairwise":
        eps = clustering.pairwise_percentile(squared, config.eps_percentile)
    else:
        eps = clustering.neighbour_percentile(squared, min_samples, config.eps_percentile)
    return max(eps, config.eps_floor) * (1 + clustering.TIE)


def _one_image(activations: Array, gradients: Array, config: CfCamConfig) -> Array:
    """The raw map of one image: A and G (C, H, W) -> (H, W)."""
    if not (np.isfinite(activations).all() and np.isfinite(gradients).all()):
        return np.full(activations.shape[1:], np.nan, np.float32)
    labels = cluster_channels(activations, config).labels
    weights = gradients.mean(axis=(1, 2), dtype=np.float64)
    clustered = labels >= 0
    if clustered.any():
        weights[clustered] = _cluster_weights(gradients, labels, config)[labels[clustered]]
    kept = (labels != NOISE) | config.keep_noise
    if config.weighting == "softmax":
        weights = np.exp(weights - weights[kept].max(), where=kept, out=np.zeros_like(weights))
        weights /= weights[kept].sum()
    weights = np.where(kept, weights, 0).astype(np.float32)
    return np.tensordot(weights, activations, axes=1)


def _cluster_weights(gradients: Array, labels: npt.NDArray[np.intp], config: CfCamConfig) -> npt.NDArray[np.float64]:
    """One weight per cluster: the mean of its filtered mean gradient."""
    order = np.argsort(labels, kind="stable")[np.count_nonzero(labels < 0) :]
    counts = np.bincount(labels[order])
    starts = np.cumsum(counts) - counts
    maps = np.add.reduceat(gradients[order], starts, axis=0, dtype=np.float64) / counts[:, None, None]
    if config.smoothing == "published":
        return smoothing.published_mean(maps, config.spatial_sigma, config.range_sigma, config.kernel_eps)
    if config.smoothing == "bilateral":
        maps = smoothing.bilateral(maps, config.spatial_sigma, config.range_sigma)
    return maps.mean(axis=(1, 2))
