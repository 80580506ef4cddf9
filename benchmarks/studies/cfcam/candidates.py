"""What is compared: choices of CF-CAM's constants, and other methods to set them against."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from aerocam.benchmarks.evaluation.case import Floats
from aerocam.cfcam_config import PUBLISHED, CfCamConfig
from aerocam.methods import Normalisation
from aerocam.runtime.maps.saliency import combine
from aerocam.runtime.methods import CAM_METHODS
from aerocam.runtime.methods.cfcam import KeptClusters
from aerocam.runtime.methods.smoothing import gaussian

FIRST = CfCamConfig(
    dominant_percentile=75.0,
    similarity="shape",
    eps_rule="neighbour",
    eps_percentile=50.0,
    min_samples_fraction=0.01,
    min_samples_floor=3,
    smoothing="bilateral",
    spatial_sigma=1.0,
    range_sigma=1.0,
    weighting="linear",
    keep_noise=False,
    activity_share=0.0,
    map_sigma=0.0,
    dbscan="numpy",
)
"""The class-discriminative constants that came first; each candidate below says what it changes."""

HALF = {"dominant_percentile": 50.0, "keep_noise": True}
LESS = {"activity_share": 0.3}
CHOSEN = {**HALF, **LESS, "map_sigma": 0.7}
PAIRS = {"similarity": "values", "eps_rule": "pairwise", "eps_percentile": 25.0}
"""What the release clusters by."""

CHANGES: dict[str, dict[str, Any]] = {
    "first": {},
    "eps at the 10th percentile": {"eps_percentile": 10.0},
    "clusters by value, eps of all pairs": PAIRS,
    "no filter of gradients": {"smoothing": "none"},
    "softmax": {"weighting": "softmax"},
    "noise kept": {"keep_noise": True},
    "dominant only": {"eps_rule": "pairwise", "eps_percentile": 0.0, "min_samples_fraction": 1.0},
    "half dominant, noise kept": HALF,
    "half dominant, noise kept, map filtered": {**HALF, "map_sigma": 0.7},
    "half dominant, noise kept, less activity": {**HALF, **LESS},
    "chosen": CHOSEN,
    "chosen, all dominant": {**CHOSEN, "dominant_percentile": 0.0},
    "chosen, noise dropped": {**CHOSEN, "keep_noise": False},
    "chosen, a quarter dominant": {**CHOSEN, "dominant_percentile": 75.0},
    "chosen, clusters by value": {**CHOSEN, **PAIRS},
    "chosen, activity 0.2": {**CHOSEN, "activity_share": 0.2},
    "chosen, activity 0.5": {**CHOSEN, "activity_share": 0.5},
    "chosen, sigma 0.5": {**CHOSEN, "map_sigma": 0.5},
    "chosen, sigma 1": {**CHOSEN, "map_sigma": 1.0},
}
"""What each candidate changes in `FIRST`, by name. Where all channels are dominant nothing is clustered, and what is
left of CF-CAM is Grad-CAM with the share of activity less and the filter."""

CONFIGS = {
    "published": replace(PUBLISHED, dbscan="numpy"),
    **{name: replace(FIRST, **changes) for name, changes in CHANGES.items()},
}
REFERENCES = ("gradcam", "layercam", "hirescam")
FILTERED = "gradcam, map filtered"
"""Grad-CAM with the Gaussian of `--gaussian 0.7`, which the default of CF-CAM has built in."""


def raw_maps(name: str, activations: Floats, gradients: Floats) -> Floats:
    """Return a candidate's raw maps (T, h, w) of A (C, h, w), and of G of T targets or draws of noise (T, C, h, w)."""
    if name == FILTERED:
        raws = raw_maps("gradcam", activations, gradients)
        return np.stack([gaussian(raw, CHOSEN["map_sigma"]) for raw in raws])
    if name in REFERENCES:
        repeated = np.broadcast_to(activations, gradients.shape)
        return CAM_METHODS[name](repeated, gradients)
    return KeptClusters(config=CONFIGS[name])(activations[None], gradients, 0)


def shown(name: str, raws: Floats, size: tuple[int, int]) -> Floats:
    """Return raw maps as the runtime shows them: (T, H, W) in [0, 1]."""
    rule: Normalisation = "minmax" if name in (*REFERENCES, FILTERED) else "max"
    return combine([raws], size, rule)
