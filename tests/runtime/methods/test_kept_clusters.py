"""CF-CAM on a stream: clusters that are kept for some frames, by one explainer, with gradients that are always new."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import exported_models
from aerocam.cfcam_config import CfCamConfig
from aerocam.errors import UsageError
from aerocam.runtime import Explainer, read_picture
from aerocam.runtime.frames.preprocess import Preprocessor
from aerocam.runtime.methods import cfcam, cluster_channels, get

pytestmark = pytest.mark.runtime

METHODS = {"cfcam": CfCamConfig(), "cfcam-published": CfCamConfig.published()}


def layers(count: int, targets: int = 2) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Activations (1, 60, 4, 5) and gradients (targets, 60, 4, 5) of some frames."""
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(1, 60, 4, 5)).astype(np.float32), rng.normal(size=(targets, 60, 4, 5)).astype(np.float32))
        for _ in range(count)
    ]


def with_clusters_of(
    monkeypatch: pytest.MonkeyPatch, method: str, other: NDArray[np.float32], a: NDArray[np.float32], g: Any
) -> NDArray[np.float32]:
    """The method on a and g as if they had the clusters of other activations, (1, C, H, W)."""
    found = cluster_channels(other[0], METHODS[method])
    with monkeypatch.context() as patched:
        patched.setattr(cfcam, "cluster_channels", lambda activations, config: found)
        return get(method)(np.broadcast_to(a, g.shape), g)


@pytest.mark.parametrize("method", METHODS)
def test_clusters_are_kept_and_gradients_are_not(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    frames, make = layers(7), get(method).on_stream
    assert make is not None
    stream = make(keep_frames=3)
    for number, (a, g) in enumerate(frames, start=5):
        first = frames[(number - 5) // 3 * 3][0]
        expected = with_clusters_of(monkeypatch, method, first, a, g)
        np.testing.assert_array_equal(stream(a, g, number), expected)
        fresh = get(method)(np.repeat(a, 2, axis=0), g)
        assert (np.abs(expected - fresh).max() > 1e-3) == (a is not first)


def test_by_frames_not_by_calls() -> None:
    """Several targets of a frame have its clusters; frames left out count; an earlier frame is another stream."""
    frames = layers(4)
    stream = cfcam.KeptClusters(keep_frames=2)
    plain = [get("cfcam")(np.repeat(a, 2, axis=0), g) for a, g in frames]
    for number, i in ((1, 0), (1, 0), (3, 1), (8, 2), (1, 3)):
        np.testing.assert_array_equal(stream(*frames[i], number), plain[i])


def test_a_frame_that_is_not_finite_leaves_nothing_behind() -> None:
    (a, g), (b, h) = layers(2)
    stream = cfcam.KeptClusters(keep_frames=9)
    broken = a.copy()
    broken[0, 0, 0, 0] = np.nan
    assert np.isnan(stream(broken, g, 1)).all()
    np.testing.assert_array_equal(stream(b, h, 2), get("cfcam")(np.repeat(b, 2, axis=0), h))
    h[1, 3, 2, 2] = np.inf
    found = stream(b, h, 3)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_an_explainer_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real network; two explainers of one file, one of which keeps clusters for two frames."""
    path = exported_models.folder() / exported_models.TENSORS
    pictures = [read_picture(exported_models.folder() / f"{name}.png") for name in ("coffee", "astronaut", "astronaut")]
    calls: list[int] = []
    original = cfcam.cluster_channels
    kept = Explainer(path, method="cfcam", options={"keep_frames": 2}, threads=1)
    fresh = Explainer(path, method="cfcam", threads=1)
    monkeypatch.setattr(cfcam, "cluster_channels", lambda a, config: calls.append(1) or original(a, config))
    with kept, fresh:
        raws = [[explainer(picture, [0, 812]).raw for explainer in (kept, fresh)] for picture in pictures]
    assert len(calls) == 2 + 3
    np.testing.assert_array_equal(*raws[0])
    assert (np.abs(raws[1][0] - raws[1][1]).max(axis=(1, 2)) > 0.01 * np.abs(raws[1][1]).max(axis=(1, 2))).all()
    np.testing.assert_array_equal(*raws[2])
    np.testing.assert_array_equal(raws[1][1], raws[2][1])


def test_a_tensor_is_no_frame_of_a_stream() -> None:
    """Its map is its own, whatever was explained before it; nor does it touch what frames keep."""
    path = exported_models.folder() / exported_models.TENSORS
    pictures = [read_picture(exported_models.folder() / f"{name}.png") for name in ("coffee", "astronaut")]
    kept = Explainer(path, method="cfcam", options={"keep_frames": 9}, threads=1)
    fresh = Explainer(path, method="cfcam", threads=1)
    with kept, fresh:
        assert kept.manifest.preprocess is not None
        prepare = Preprocessor(kept.manifest.preprocess)
        first, second = (prepare(picture)[0].copy() for picture in pictures)
        kept(pictures[0], 0)
        expected = kept(pictures[1], 0).raw  # by the first one's clusters
        for tensor in (first, second, first):
            np.testing.assert_array_equal(kept.on_tensor(tensor, 0).raw, fresh.on_tensor(tensor, 0).raw)
        np.testing.assert_array_equal(kept(pictures[1], 0).raw, expected)
        assert not np.array_equal(expected, fresh(pictures[1], 0).raw)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "x", None])
@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_number_of_frames_is_refused_before_the_first(method: str, value: Any) -> None:
    with pytest.raises(UsageError, match=r"option keep_frames is .*, expected a whole number from 1 on"):
        Explainer(exported_models.folder() / exported_models.TENSORS, method=method, options={"keep_frames": value})
