"""The comparison that chose CF-CAM's default: that the page is of what is the default, and what its figures are."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from aerocam.benchmarks.studies.cfcam.candidates import CONFIGS, FILTERED, raw_maps, shown
from aerocam.benchmarks.studies.cfcam.cases import Case
from aerocam.benchmarks.studies.cfcam.figures import difference, figures
from aerocam.cfcam_config import PUBLISHED, CfCamConfig
from aerocam.runtime.methods import CAM_METHODS

SIZE = (28, 28)
WINDOWS = ((slice(0, 14), slice(0, 28)), (slice(14, 28), slice(0, 28)))


def tensors(targets=2):
    rng = np.random.default_rng(0)
    activations = np.maximum(rng.standard_normal((40, 7, 7)), 0).astype(np.float32)
    return activations, rng.standard_normal((targets, 40, 7, 7)).astype(np.float32)


def test_what_was_chosen_is_the_default_and_published_the_release():
    ours = {"dbscan": "scikit-learn"}  # who clusters does not alter the labels
    assert asdict(replace(CONFIGS["chosen"], **ours)) == asdict(CfCamConfig())
    assert asdict(replace(CONFIGS["published"], **ours)) == asdict(replace(PUBLISHED, **ours))
    assert len(CONFIGS) >= 8


@pytest.mark.parametrize("name", ["chosen", "published"])
def test_a_candidate_has_the_maps_of_the_method(name):
    activations, gradients = tensors()
    method = CAM_METHODS["cfcam" if name == "chosen" else "cfcam-published"]
    wanted = np.concatenate([method(activations[None], one[None]) for one in gradients])
    np.testing.assert_allclose(raw_maps(name, activations, gradients), wanted, rtol=1e-5, atol=1e-6)


def test_with_all_channels_dominant_and_nothing_added_it_is_gradcam():
    activations, gradients = tensors()
    wanted = np.einsum("tchw,cyx->tyx", gradients, activations) / 49
    np.testing.assert_allclose(raw_maps("gradcam", activations, gradients), wanted, atol=1e-5)
    all_dominant = raw_maps("chosen, all dominant", activations, gradients)
    assert not np.allclose(all_dominant, raw_maps("chosen", activations, gradients))
    filtered = raw_maps(FILTERED, activations, gradients)
    assert np.all(filtered >= 0)
    less = wanted - 0.3 * np.maximum(wanted.mean(axis=(1, 2), keepdims=True), 0) * _activity(activations)
    rows = _weights(7)
    np.testing.assert_allclose(all_dominant, rows @ np.maximum(less, 0) @ rows.T, atol=1e-5)


def _activity(activations):
    """The sum of all channels weighted by their means, with mean 1."""
    found = np.einsum("c,cyx->yx", activations.mean(axis=(1, 2)), activations)
    return found / found.mean()


def _weights(size, sigma=0.7):
    places = np.arange(size)
    rows = np.exp(-((places[:, None] - places) ** 2) / (2 * sigma**2))
    return rows / rows.sum(axis=1, keepdims=True)


def test_figures_of_a_case_are_what_their_names_say():
    activations, gradients = tensors()
    found = figures("gradcam", Case("a", SIZE, activations, gradients, WINDOWS))
    maps = shown("gradcam", raw_maps("gradcam", activations, gradients), SIZE)
    assert found["class sensitivity"] == pytest.approx(np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1], abs=1e-6)
    assert 0 < found["localisation"] < 1
    assert found["SSIM, noise 0.1"] > found["SSIM, noise 0.3"] > found["SSIM, noise 1"]
    assert "insertion" not in found  # no score is given

    everywhere = ((slice(0, 28), slice(0, 28)),) * 2
    assert figures("gradcam", Case("a", SIZE, activations, gradients, everywhere))["localisation"] == 1


def test_insertion_and_deletion_are_those_of_the_first_target():
    activations, gradients = tensors()
    tensor = np.ones((1, 3, *SIZE), np.float32)
    case = Case("a", SIZE, activations, gradients, WINDOWS, tensor, lambda given: float(given.mean()))
    found = figures("gradcam", case)  # a score that is the share of px present: a straight line either way
    assert found["insertion"] == pytest.approx(0.5, abs=1e-6)
    assert found["deletion"] == pytest.approx(0.5, abs=1e-6)


def test_a_difference_has_the_interval_of_its_mean():
    rng = np.random.default_rng(1)
    reference = rng.standard_normal(400)
    values = reference + 0.5 + 0.2 * rng.standard_normal(400)
    mean, low, high = difference(values, reference)
    assert mean == pytest.approx(0.5, abs=0.03)
    half = 1.96 * np.std(values - reference) / 20
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.003)
