"""Make cfcam.npz: the published CF-CAM, transcribed step by step and slowly, without aerocam.

Written from the description of the released algorithm (He, Pan, Yao, arXiv:2504.00060, and its code's behaviour):
loops, double precision, scikit-learn's DBSCAN on the plain vectors. The tests compare `aerocam.runtime.methods.cfcam`
with what this wrote.

Made with Python 3.11, numpy 2.4, scikit-learn 1.9:

    python tests/golden/methods/make_cfcam.py
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from sklearn.cluster import DBSCAN


def dominant_channels(activations, percentile=75.0):
    norms = []
    for channel in activations:
        norms.append(math.sqrt(math.fsum(float(value) ** 2 for value in channel.ravel())))
    threshold = np.percentile(norms, percentile)
    return np.array([norm >= threshold for norm in norms])


def neighbourhood(vectors, percentile=25.0):
    distances = []
    for i, first in enumerate(vectors):
        for j, second in enumerate(vectors):
            if i != j:
                squares = [(float(a) - float(b)) ** 2 for a, b in zip(first, second, strict=True)]
                distances.append(math.sqrt(math.fsum(squares)))
    if not distances:  # fewer than two channels: the description is silent, there is nothing to compare
        return 1e-5
    return max(float(np.percentile(distances, percentile)), 1e-5)


def cluster(vectors, eps, fraction=0.05):
    if len(vectors) == 0:
        return np.zeros(0, dtype=int)
    min_samples = max(2, int(fraction * len(vectors)))
    labels = DBSCAN(eps=eps, min_samples=min_samples).fit(vectors).labels_
    for nudge in (1 - 1e-6, 1 + 1e-6):  # a case that hangs on the rounding of one distance is no golden case
        nudged = DBSCAN(eps=eps * nudge, min_samples=min_samples).fit(vectors).labels_
        if not np.array_equal(nudged, labels):
            print(f"  note: eps * {nudge} gives other labels")
    return labels


def filter_kernel(gradient):
    height, width = gradient.shape
    mean = gradient.mean()
    kernel = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            space = math.exp(-((i - height / 2) ** 2 + (j - width / 2) ** 2) / (2 * 5**2))
            kernel[i, j] = space * math.exp(-((gradient[i, j] - mean) ** 2) / (2 * 0.1**2))
    return kernel / (kernel.sum() + 1e-6)


def cross_correlate_same(image, kernel):
    height, width = image.shape
    top, left = (height - 1) // 2, (width - 1) // 2
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            for a in range(height):
                for b in range(width):
                    row, column = i + a - top, j + b - left
                    if 0 <= row < height and 0 <= column < width:
                        out[i, j] += kernel[a, b] * image[row, column]
    return out


def cf_cam(activations, gradients, eps_percentile=25.0, fraction=0.05):
    """One image, (C, H, W): the map after the ReLU and the division by its maximum, labels (-2 dominant), eps."""
    dominant = dominant_channels(activations)
    rest = np.flatnonzero(~dominant)
    vectors = np.stack([activations[c].ravel() for c in rest]) if len(rest) else np.zeros((0, 1), np.float32)
    eps = neighbourhood(vectors, eps_percentile)
    clusters = cluster(vectors, eps, fraction)
    labels = np.full(len(activations), -2)
    labels[rest] = clusters
    weights = {}
    for c in np.flatnonzero(dominant):
        weights[c] = float(gradients[c].astype(np.float64).mean())
    for k in sorted(set(clusters) - {-1}):
        members = np.flatnonzero(labels == k)
        gradient = gradients[members].astype(np.float64).mean(axis=0)
        filtered = cross_correlate_same(gradient, filter_kernel(gradient))
        for c in members:
            weights[c] = float(filtered.mean())
    kept = sorted(weights)
    exponentials = [math.exp(weights[c] - max(weights.values())) for c in kept]
    saliency = np.zeros(activations.shape[1:])
    for c, exponential in zip(kept, exponentials, strict=True):
        saliency += exponential / math.fsum(exponentials) * activations[c]
    saliency = np.maximum(saliency, 0)
    peak = saliency.max()
    return (saliency / peak if peak > 0 else saliency), labels, eps


def rectified(rng, channels, height, width):
    """Maps as a rectified layer gives them: sparse, of very different strength."""
    strength = rng.gamma(1.0, 0.3, size=(channels, 1, 1))
    return np.maximum(rng.normal(size=(channels, height, width)) * strength, 0)


def blobs(rng, sizes, height, width, loud):
    """`len(sizes)` groups of quiet maps around one pattern each, a few strays, `loud` strong maps."""
    patterns = np.abs(rng.normal(size=(len(sizes), 1, height, width)))
    groups = [p + 0.01 * rng.normal(size=(n, height, width)) for p, n in zip(patterns, sizes, strict=True)]
    strays = 4 * np.abs(rng.normal(size=(3, height, width)))
    return np.concatenate([*groups, strays, 20 + 5 * rng.normal(size=(loud, height, width))])


def small_groups(rng):
    """Of 110 quiet maps five make a core: one group of four, which must be noise, and one of five."""
    patterns = np.abs(rng.normal(size=(4, 1, 4, 4)))
    spread = (0.01, 0.01, 1e-4, 1e-4)
    groups = [p + s * rng.normal(size=(n, 4, 4)) for p, s, n in zip(patterns, spread, (78, 20, 4, 5), strict=True)]
    return np.concatenate([*groups, 20 + 5 * rng.normal(size=(40, 4, 4))])


def cases(rng):
    """Name -> (A, scale of G, options)."""
    mixed = rectified(rng, 30, 6, 6)
    mixed[4:22] = 0
    whole = rng.integers(-3, 4, size=(3, 2, 4)).astype(float)
    whole[0], whole[1], whole[2] = 9, 0, 0
    whole[1, 0, :2] = 3, 4  # 5 away from the zero map: a distance without rounding
    levels = np.repeat(np.array([1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 5.0, 8.0, 8.5]), 30).reshape(12, 5, 6)
    return {
        "one_cluster": (rectified(rng, 160, 7, 7), 1e-3, {}),
        "several_clusters": (blobs(rng, (9, 7, 6), 6, 5, 8), 1.0, {}),
        "negative": (rng.normal(size=(40, 4, 7)) - 0.5, 0.05, {}),
        "all_noise": (rng.normal(size=(24, 5, 5)), 0.3, {"eps_percentile": 1.0, "fraction": 0.5}),
        "constant_maps": (levels, 0.2, {}),
        "same_constant": (np.full((8, 4, 4), 0.7), 0.2, {}),
        "dead_channels": (mixed, 0.1, {}),
        "all_zero": (np.zeros((6, 4, 3)), 0.1, {}),
        "one_channel": (rectified(rng, 1, 7, 7), 0.1, {}),
        "two_channels": (rectified(rng, 2, 7, 7), 0.1, {}),
        "three_channels": (whole, 0.1, {}),
        "one_pixel": (np.arange(1.0, 17.0).reshape(16, 1, 1), 0.1, {}),
        "small_groups": (small_groups(rng), 0.05, {}),
        "no_positive": (-rectified(rng, 10, 4, 4) - 0.1, 0.1, {}),
    }


def main():
    """Write cfcam.npz beside this file."""
    rng = np.random.default_rng(20250331)
    arrays = {}
    for name, (activations, scale, options) in cases(rng).items():
        activations = activations.astype(np.float32)
        offsets = rng.normal(size=(len(activations), 1, 1))
        gradients = (scale * (rng.normal(size=activations.shape) + offsets)).astype(np.float32)
        saliency, labels, eps = cf_cam(activations, gradients, **options)
        count = len(set(labels) - {-1, -2})
        print(f"{name}: {count} clusters, {sum(labels == -1)} noise, {sum(labels == -2)} dominant, eps {eps:.6g}")
        arrays |= {
            f"{name}/activations": activations,
            f"{name}/gradients": gradients,
            f"{name}/map": saliency.astype(np.float32),
            f"{name}/labels": labels.astype(np.int16),
            f"{name}/eps": np.float64(eps),
        }
    np.savez_compressed(Path(__file__).with_name("cfcam.npz"), **arrays)


if __name__ == "__main__":
    main()
