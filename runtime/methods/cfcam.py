"""CF-CAM: cluster filter class activation mapping (He, Pan, Yao, arXiv:2504.00060).

Three steps for one image: the strongest channels are kept as they are (dominant), the others are clustered by DBSCAN,
those in no cluster are noise, and every cluster's gradient is averaged and filtered into one weight that its channels
share. `CfCamConfig` holds every constant, and two choices of them:

- `CfCamConfig.published()` is the released code, number by number. Its weights go through a softmax, and gradients of
  real networks are so small that the softmax is all but uniform: the map shows where the network is active and hardly
  depends on the class.
- `CfCamConfig()` is made to tell classes apart: linear weights, noise that keeps its own, a share of mere activity
  taken away, and a filter on the map, where it has an effect. docs/cfcam-default.md has the figures that chose it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from aerocam.cfcam_config import DEFAULT, DOMINANT, NOISE, PUBLISHED, TIE, CfCamConfig
from aerocam.errors import UsageError
from aerocam.runtime.methods import clustering, smoothing
from aerocam.runtime.methods.kinds import Array, planes_of
from aerocam.runtime.methods.registry import computes


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


class KeptClusters:
    """CF-CAM on a stream: a frame's clusters are kept for the next ones, gradients and weights are always its own.

    Has the state of one layer of one stream.
    """

    def __init__(self, *, config: CfCamConfig = DEFAULT, keep_frames: int = 1, planes: int = 1) -> None:
        """Start without clusters.

        Args:
            config: The method's constants.
            keep_frames: For how many frames clusters are used, the one that they are of counted.
            planes: See `cf_cam`.

        Raises:
            UsageError: An option is something else.
        """
        _check(config, keep_frames)
        self._config, self._keep_frames, self._planes = config, keep_frames, planes
        self._first, self._labels = 0, np.zeros(0, np.intp)

    def __call__(self, activations: Array, gradients: Array, frame: int) -> Array:
        """Return the raw maps of one frame, (T, H, W).

        Args:
            activations: A, float32 (1, C, H, W).
            gradients: G of T targets, float32 (T, C, H, W).
            frame: Its number in the stream; one that was seen before stands for the same activations.
        """
        if not np.isfinite(activations).all():
            return np.full((len(gradients), *activations.shape[2:]), np.nan, np.float32)
        if not len(self._labels) or not self._first <= frame < self._first + self._keep_frames:
            self._first, self._labels = frame, cluster_channels(activations[0], self._config).labels
        return np.stack([_raw_map(activations[0], g, self._labels, self._config, self._planes) for g in gradients])


@computes("cfcam", on_stream=KeptClusters)
def cf_cam(
    activations: Array, gradients: Array, *, config: CfCamConfig = DEFAULT, keep_frames: int = 1, planes: int = 1
) -> Array:
    """Compute CF-CAM: L = Σ_c w_c A_c over the channels that are dominant or in a cluster.

    A dominant channel has w_c = mean_hw G_c, a channel of cluster k the mean over h, w of the filtered mean gradient of
    k; under `weighting="softmax"` these then go through a softmax over the kept channels. To be followed by ReLU and
    division by the maximum. Where the release is silent: one channel that is not dominant is noise; without any
    positive value the map stays zero; A or G that is not finite gives a map of NaN.

    `keep_frames` is for the frames of a stream, see `KeptClusters`; here every image has its own clusters. Of a volume
    filters stay within each of its `planes`, which lie below each other.

    Raises:
        UsageError: `config`, `keep_frames` or `planes` is something else.
        MissingDependencyError: `config.dbscan` is `scikit-learn`, and that is not installed.
    """
    _check(config, keep_frames)
    planes_of(activations, planes)
    return np.stack([_one_image(a, g, config, planes) for a, g in zip(activations, gradients, strict=True)])


@computes("cfcam-published", on_stream=partial(KeptClusters, config=PUBLISHED))
def cf_cam_published(activations: Array, gradients: Array, *, keep_frames: int = 1, planes: int = 1) -> Array:
    """Compute CF-CAM as released: `cfcam` with `CfCamConfig.published()`. Hardly depends on the class; see there."""
    return cf_cam(activations, gradients, config=PUBLISHED, keep_frames=keep_frames, planes=planes)


def _check(config: CfCamConfig, keep_frames: int) -> None:
    if not isinstance(config, CfCamConfig):
        raise UsageError(f"method cfcam: option config is {config!r}, expected a CfCamConfig; give it from Python")
    if not isinstance(keep_frames, int) or isinstance(keep_frames, bool) or keep_frames < 1:
        raise UsageError(
            f"method cfcam: option keep_frames is {keep_frames!r}, expected a whole number from 1 on; 1 keeps nothing"
        )


def cluster_channels(activations: npt.ArrayLike, config: CfCamConfig = DEFAULT) -> ChannelClusters:
    """Return the first two steps of CF-CAM for one image.

    Args:
        activations: A of one image, shape (C, H, W), finite.
        config: Its constants.

    Raises:
        MissingDependencyError: `config.dbscan` is `scikit-learn`, and that is not installed.
    """
    maps = np.asarray(activations, dtype=np.float64)
    maps = maps.reshape(len(maps), -1)
    norms = np.sqrt(np.einsum("ij,ij->i", maps, maps))
    dominant = norms >= np.percentile(norms, config.dominant_percentile) * (1 - TIE)
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
    """Return eps: the distance up to which channels are neighbours."""
    if config.eps_rule == "pairwise":
        eps = clustering.pairwise_percentile(squared, config.eps_percentile)
    else:
        eps = clustering.neighbour_percentile(squared, min_samples, config.eps_percentile)
    return max(eps, config.eps_floor) * (1 + TIE)


def _one_image(activations: Array, gradients: Array, config: CfCamConfig, planes: int) -> Array:
    """Return the raw map of one image: A and G (C, H, W) -> (H, W)."""
    if not np.isfinite(activations).all():
        return np.full(activations.shape[1:], np.nan, np.float32)
    return _raw_map(activations, gradients, cluster_channels(activations, config).labels, config, planes)


def _raw_map(
    activations: Array, gradients: Array, labels: npt.NDArray[np.intp], config: CfCamConfig, planes: int
) -> Array:
    """Return the raw map of finite activations whose channels have these labels."""
    if not np.isfinite(gradients).all():
        return np.full(activations.shape[1:], np.nan, np.float32)
    weights = gradients.mean(axis=(1, 2), dtype=np.float64)
    clustered = labels >= 0
    if clustered.any():
        weights[clustered] = _cluster_weights(gradients, labels, config, planes)[labels[clustered]]
    kept = (labels != NOISE) | config.keep_noise
    if config.weighting == "softmax":
        weights = np.exp(weights - weights[kept].max(), where=kept, out=np.zeros_like(weights))
        weights /= weights[kept].sum()
    weights = _less_activity(np.where(kept, weights, 0), activations, kept, config.activity_share)
    raw = np.tensordot(weights.astype(np.float32), activations, axes=1)
    return smoothing.gaussian(raw.reshape(planes, -1, raw.shape[1]), config.map_sigma).reshape(raw.shape)


def _less_activity(
    weights: npt.NDArray[np.float64], activations: Array, kept: npt.NDArray[np.bool_], share: float
) -> npt.NDArray[np.float64]:
    """The weights (C,) less those of the kept channels' means, which take away a share of the map's positive mean."""
    if not share:
        return weights
    means = np.where(kept, activations.mean(axis=(1, 2), dtype=np.float64), 0)
    evidence, activity = max(float(weights @ means), 0.0), float(means @ means)
    return weights - share * evidence / activity * means if activity > 0 else weights


def _cluster_weights(
    gradients: Array, labels: npt.NDArray[np.intp], config: CfCamConfig, planes: int
) -> npt.NDArray[np.float64]:
    """Return one weight per cluster: the mean of its filtered mean gradient."""
    order = np.argsort(labels, kind="stable")[np.count_nonzero(labels < 0) :]
    counts = np.bincount(labels[order])
    starts = np.cumsum(counts) - counts
    maps = np.add.reduceat(gradients[order], starts, axis=0, dtype=np.float64) / counts[:, None, None]
    apart = maps.reshape(len(maps) * planes, -1, maps.shape[2])
    if config.smoothing == "published":
        means = smoothing.published_mean(apart, config.spatial_sigma, config.range_sigma, config.kernel_eps)
        return means.reshape(len(maps), planes).mean(axis=1)
    if config.smoothing == "bilateral":
        apart = smoothing.bilateral(apart, config.spatial_sigma, config.range_sigma)
    return apart.reshape(len(maps), -1).mean(axis=1)
