"""The method relevance on the device: captum's own arrays (golden/relevance/make_captum.py), and what it needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import checkout
import exported_models
from aerocam.errors import UsageError
from aerocam.runtime import Explainer, read_picture
from aerocam.runtime.methods import get
from tiny_models import model

pytestmark = pytest.mark.runtime

GOLDEN = checkout.GOLDEN / "relevance/captum.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def explained(name: str, frame: np.ndarray, target: Any = None, **options: Any) -> Any:
    with Explainer(exported_models.folder() / name, threads=1, **options) as explain:
        return explain(frame, target)


@pytest.mark.parametrize(
    ("name", "layer"), [(exported_models.RELEVANCE, "features"), (exported_models.RELEVANCE_INPUT, "images")]
)
@pytest.mark.parametrize(("key", "target"), [("target", 2), ("other", 4)])
def test_equals_captum(golden: Any, name: str, layer: str, key: str, target: int) -> None:
    found = explained(name, np.ascontiguousarray(golden["rgb"][:, :, ::-1]), target)
    expected = golden[f"{key}/{layer}"].sum(axis=1)
    assert (found.method, found.layers, found.warnings) == ("relevance", (layer,), [])
    assert found.target.logit == pytest.approx(golden["logits"][0, target], rel=1e-5)
    assert np.abs(found.raw - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_method_is_the_sum_of_products() -> None:
    a, m = np.random.default_rng(0).standard_normal((2, 2, 5, 3, 4)).astype(np.float32)
    expected = np.einsum("nchw,nchw->nhw", a.astype(np.float64), m.astype(np.float64))
    np.testing.assert_allclose(get("LRP")(a, m), expected, rtol=1e-5, atol=1e-6)


def test_what_is_shown(golden: Any) -> None:
    """At a layer what speaks for the target, at the input the magnitude."""
    frame = np.ascontiguousarray(golden["rgb"][:, :, ::-1])
    layer = explained(exported_models.RELEVANCE, frame, 2)
    picture = explained(exported_models.RELEVANCE_INPUT, frame, 2)
    assert layer.raw.min() < 0 < layer.raw.max()
    assert (layer.normalisation, picture.normalisation) == ("minmax", "magnitude")
    size = np.abs(picture.raw)
    most = np.sort(size, axis=None)[-6]  # of 576 values the 570th from below, at 99 %
    np.testing.assert_allclose(picture.tensor_map, np.minimum(size / most, 1), atol=1e-6)


def test_what_speaks_against_is_the_negative(golden: Any) -> None:
    """LRP is linear in the relevance of the score."""
    frame = np.ascontiguousarray(golden["rgb"][:, :, ::-1])
    found, against = (explained(exported_models.RELEVANCE, frame, 2, counterfactual=sign) for sign in (False, True))
    np.testing.assert_array_equal(against.raw, -found.raw)


def test_a_file_with_relevance_takes_it_by_default() -> None:
    for name in ("relevance", "relevance_detect"):
        with Explainer(model(name)) as explainer:
            assert explainer.method == "relevance"
    with Explainer(model("relevance"), method="eigencam") as explainer:  # it reads the activations only
        assert explainer.raw_maps.outputs == ("A",)


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        (
            "relevance", "gradcam",
            "'gradcam': the file has multipliers of relevance of layer 'A', gradients are expected; export the model"
            " again without `relevance`, or take relevance$",
        ),
        ("relevance", "cfcam", "'cfcam': the file has multipliers of relevance of layer 'A'"),
        (
            "relevance", "saliency",
            "needs the true gradients of the input 'images', the file has multipliers of relevance of layer 'A'",
        ),
        (
            "stretch", "relevance",
            "'relevance': the file has gradients of layer 'A', multipliers of relevance are expected; export the model"
            " again with `relevance=True`$",
        ),
        ("head", "relevance", "'relevance': the file has gradients of layer 'A', multipliers of relevance are exp"),
    ],
)  # fmt: skip
def test_the_other_kind_of_file_is_refused(name: str, method: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Explainer(model(name), method=method)


def test_the_guided_kind_of_file_is_refused() -> None:
    with pytest.raises(
        UsageError, match="the file has gradients of layer 'features', multipliers of relevance are exp"
    ):
        Explainer(exported_models.folder() / exported_models.SMALL_GUIDED, method="relevance")


@pytest.mark.slow
def test_two_classes_of_a_photograph() -> None:
    """Relevance tells them apart, and more of the helmet's lies on the helmet than of the shuttle's."""
    frame, name = read_picture(exported_models.folder() / "astronaut.png"), exported_models.LITE0_RELEVANCE
    helmet, shuttle = (explained(name, frame, label) for label in ("football helmet", "space shuttle"))
    assert np.corrcoef(helmet.raw.ravel(), shuttle.raw.ravel())[0, 1] < 0.8
    left, top, right, bottom = 275, 340, 505, 512
    inside = [float(one.map[0, top:bottom, left:right].sum() / one.map[0].sum()) for one in (helmet, shuttle)]
    assert inside[0] > 1.3 * inside[1]
