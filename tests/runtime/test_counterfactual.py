"""What speaks against a target: the negative of its score, explained."""

from __future__ import annotations

import numpy as np
import pytest

from aerocam.errors import UsageError
from aerocam.runtime import Explainer
from aerocam.runtime.methods import get
from runtime_fixtures import picture
from tiny_models import model

pytestmark = pytest.mark.runtime

FRAME = picture((64, 96), (16, 48, 32, 64))


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam", "gradcam++"])
def test_methods_see_the_negative_gradient(method: str) -> None:
    with Explainer(model("stretch"), method=method, counterfactual=True) as explainer:
        found = explainer(FRAME, "red")
        arrays = explainer._passes.explain(explainer._resolved.slots[0])  # type: ignore[attr-defined]
    np.testing.assert_allclose(found.raw, get(method)(arrays["A"], -arrays["G"]), rtol=1e-6, atol=1e-9)
    with Explainer(model("stretch"), method=method) as explainer:
        usual = explainer(FRAME, "red")
    assert found.target.logit == usual.target.logit
    assert not np.allclose(found.raw, usual.raw)


def test_a_fused_head_changes_its_sign() -> None:
    with Explainer(model("head")) as usual, Explainer(model("head"), counterfactual=True) as against:
        np.testing.assert_array_equal(against(FRAME).raw, -usual(FRAME).raw)


def test_a_method_without_gradients_has_no_counterfactual() -> None:
    with pytest.raises(UsageError, match="method 'eigencam': it reads no gradients"):
        Explainer(model("stretch"), method="eigencam", counterfactual=True)
