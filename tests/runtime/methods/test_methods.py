"""The CAM methods against pytorch-grad-cam's own arrays (golden/methods/make_pytorch_grad_cam.py), and their names."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import checkout
from aerocam.errors import UsageError
from aerocam.methods import METHODS, MethodFacts, table
from aerocam.runtime.methods import CAM_METHODS, get, without_gradients
from method_goldens import COMPONENTS, NORM_GRAD, PLAIN, WEIGHTED

pytestmark = pytest.mark.runtime

GOLDEN = checkout.GOLDEN / "methods" / "pytorch_grad_cam.npz"
CASES = ["network", "classifier", "wide", "tall", "negative", "tiny_gradient"]
WITHOUT_GRADIENTS = ("eigencam", "kpcacam", "fem", "randomcam")

ALIASES = {
    "GradCAM": "gradcam",
    "grad-cam": "gradcam",
    "gradcampp": "gradcam++",
    "GradCAMPlusPlus": "gradcam++",
    "Grad-CAM++": "gradcam++",
    "XGradCAM": "xgradcam",
    "LayerCAM": "layercam",
    "HiResCAM": "hirescam",
    "GradCAMElementWise": "gradcamelementwise",
    "EigenCAM": "eigencam",
    "eigen_grad_cam": "eigengradcam",
    "CAM": "cam",
    "KPCA-CAM": "kpcacam",
    "RandomCAM": "randomcam",
    "NormGrad": "normgrad",
    "normgrad_conv3x3": "normgrad-3x3",
    "CF-CAM": "cfcam",
    "CfCam_Published": "cfcam-published",
    "LRP": "relevance",
    "LRP-epsilon": "relevance",
}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def pair(golden, case):
    return golden[f"{case}/activations"], golden[f"{case}/gradients"]


def assert_equal(found, expected, tolerance=1e-5):
    """Equal to `tolerance` of the largest entry of each map."""
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    scale = np.abs(expected).max(axis=(1, 2), keepdims=True)
    np.testing.assert_array_less(np.abs(found - expected) / scale, tolerance)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [*WEIGHTED, *PLAIN])
def test_equals_pytorch_grad_cam(golden, case, name):
    assert_equal(get(name)(*pair(golden, case)), golden[f"{case}/{name}"])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", COMPONENTS)
def test_component_equals_pytorch_grad_cam_up_to_sign(golden, case, name):
    expected = golden[f"{case}/{name}"]
    found = get(name)(*pair(golden, case))
    flip = np.sign((found * expected).sum(axis=(1, 2), keepdims=True))
    assert_equal(found, flip * expected)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", WEIGHTED)
def test_eigen_smooth_equals_pytorch_grad_cam_with_the_sign_of_the_sum(golden, case, name):
    expected = golden[f"{case}/{name}/eigen_smooth"]
    found = get(name)(*pair(golden, case), eigen_smooth=True)
    plain = get(name)(*pair(golden, case))
    flip = np.sign((found * expected).sum(axis=(1, 2), keepdims=True))
    assert_equal(found, flip * expected)
    for smooth, summed in zip(found, plain, strict=True):
        assert (smooth * (summed - summed.mean())).sum() > 0


@pytest.mark.parametrize("name", NORM_GRAD)
def test_normgrad_is_the_norm_of_what_each_position_adds_to_the_weights_gradient(name):
    """By the definition, position by position: outer products of the gradient with what the kernel meets."""
    a, g = np.random.default_rng(10).normal(size=(2, 2, 5, 4, 3))
    padded = np.pad(a, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = np.zeros((2, 4, 3))
    for n, i, j in np.ndindex(2, 4, 3):
        here = g[n, :, i, j]
        met = {
            "normgrad": a[n, :, i, j],
            "normgrad-3x3": padded[n, :, i : i + 3, j : j + 3].ravel(),
            "normgrad-scaling": None,
            "normgrad-bias": np.ones(1),
        }[name]
        added = np.outer(here, met) if met is not None else here * a[n, :, i, j]
        expected[n, i, j] = np.sqrt((added**2).sum())
    assert_equal(get(name)(a, g), expected.astype(np.float32))


def test_randomcam_weighs_uniformly_and_by_its_seed():
    a = np.random.default_rng(11).normal(size=(1, 4000, 1, 1))
    ones = np.eye(4000, dtype=np.float32)[None, :, :, None]  # one channel per position: the map is the weights
    weights = get("randomcam")(ones)[0, :, 0]
    assert -1 <= weights.min() < -0.99
    assert 0.99 < weights.max() <= 1
    assert abs(weights.mean()) < 0.05
    assert weights.var() == pytest.approx(1 / 3, rel=0.05)
    np.testing.assert_allclose(get("randomcam")(a)[0, 0, 0], weights @ a[0, :, 0, 0], rtol=1e-4)
    assert (get("randomcam")(a, seed=1) != get("randomcam")(a)).all()


def test_kpcacam_refuses_a_map_with_too_many_positions():
    with pytest.raises(UsageError, match=r"kpcacam: the layer has 65 x 64 positions"):
        get("kpcacam")(np.ones((1, 2, 65, 64)))


def test_fem_of_more_deviations_keeps_fewer_positions():
    a = np.abs(np.random.default_rng(12).normal(size=(1, 1, 20, 20)))
    share = [float((get("fem")(a, k=k) / a).mean()) for k in (0, 1, 2)]
    assert share == pytest.approx([(a > a.mean() + k * a.std()).mean() for k in (0, 1, 2)], rel=1e-5)


def test_cam_uses_the_classifiers_weight_row(golden):
    assert_equal(get("cam")(*pair(golden, "classifier")), golden["classifier/cam"])


@pytest.mark.parametrize("shape", [(2, 40, 3, 4), (2, 5, 9, 8)], ids=["more channels", "more pixels"])
@pytest.mark.parametrize("name", COMPONENTS)
def test_sign_svd_is_the_full_decompositions(shape, name):
    rng = np.random.default_rng(1)
    a, g = rng.normal(size=(2, *shape)).astype(np.float32)
    source = a if name == "eigencam" else g * a
    expected = []
    for image in source:
        rows = image.reshape(shape[1], -1).T
        rows = rows - rows.mean(axis=0)
        expected.append((rows @ np.linalg.svd(rows, full_matrices=True)[2][0]).reshape(shape[2:]))
    assert_equal(get(name)(a, g, sign="svd"), np.stack(expected))


def test_sign_max_abs_makes_the_largest_entry_positive():
    rng = np.random.default_rng(2)
    for _ in range(10):
        a = rng.normal(size=(1, 7, 4, 5))
        found = get("eigencam")(a)[0]
        assert found.max() == np.abs(found).max()
        np.testing.assert_allclose(get("eigencam")(-a)[0], found, atol=1e-5)


def test_sign_max_abs_of_a_tie_is_the_first_entrys():
    rng = np.random.default_rng(9)
    slopes = rng.normal(size=(50, 6, 1, 1))
    a = slopes * np.array([-1.0, 0, 1]) + rng.normal(size=(50, 6, 1, 1))  # the map is (-x, 0, x) or its negative
    found = get("eigencam")(a)[:, 0]
    size = np.linalg.norm(slopes, axis=1)[:, 0]
    np.testing.assert_allclose(found, size * np.array([1.0, 0, -1]), atol=1e-5)


def test_sign_mean_act_follows_the_mean_activation():
    rng = np.random.default_rng(3)
    a = np.abs(rng.normal(size=(6, 20, 5, 5)))
    maps = get("eigencam")(a, sign="mean_act")
    for image, found in zip(a, maps, strict=True):
        assert np.corrcoef(image.mean(axis=0).ravel(), found.ravel())[0, 1] >= 0
    np.testing.assert_allclose(get("eigencam")(-a, sign="mean_act"), -maps, atol=1e-5)


@pytest.mark.parametrize("sign", ["max_abs", "mean_act", "svd"])
@pytest.mark.parametrize("channels", [3, 50])
def test_component_of_constant_activations_is_zero(sign, channels):
    a = np.broadcast_to(np.linspace(0.1, 0.9, channels)[None, :, None, None], (1, channels, 7, 7))
    np.testing.assert_allclose(get("eigencam")(a, sign=sign), 0, atol=0 if sign != "svd" else 1e-6)


def test_component_takes_nan_as_zero_and_says_so_of_infinity():
    rng = np.random.default_rng(4)
    a = rng.normal(size=(2, 6, 4, 4))
    zeroed = a.copy()
    a[0, 2, 1, 1], zeroed[0, 2, 1, 1] = np.nan, 0
    np.testing.assert_array_equal(get("eigencam")(a), get("eigencam")(zeroed))
    a[0, 2, 1, 1] = np.inf
    found = get("eigencam")(a)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def test_cam_refuses_a_gradient_that_varies(golden):
    with pytest.raises(UsageError, match=r"method cam: .*gradcam"):
        get("cam")(*pair(golden, "network"))


def test_cam_tolerates_rounding():
    rng = np.random.default_rng(5)
    a = rng.normal(size=(1, 8, 7, 7))
    g = np.broadcast_to(rng.normal(size=(1, 8, 1, 1)) * 1e-3, a.shape)
    exact = get("cam")(a, g)
    noisy = get("cam")(a, g.astype(np.float32) * (1 + 1e-4 * rng.uniform(-1, 1, size=a.shape)))
    np.testing.assert_allclose(noisy, exact, atol=1e-3 * np.abs(exact).max())
    np.testing.assert_allclose(exact, 49 * get("gradcam")(a, g), rtol=1e-5, atol=1e-7)


def test_gradcam_plus_plus_ignores_positions_without_gradient():
    a = np.full((1, 1, 2, 2), 0.0)
    g = np.array([[[[0.0, 2.0], [0.0, 0.0]]]])
    assert (get("gradcam++")(a, g) == 0).all()
    assert get("gradcam++")(a + 1, g)[0, 0, 0] == pytest.approx(2 * 4 / (8 + 4 * 8 + 1e-6), rel=1e-6)


@pytest.mark.parametrize("name", sorted(CAM_METHODS))
def test_zeros_give_zeros(name):
    zeros = np.zeros((2, 9, 3, 4))
    assert (get(name)(zeros, zeros) == 0).all()


@pytest.mark.parametrize("name", sorted(CAM_METHODS))
def test_dtype_order_and_batch_do_not_matter(name):
    rng = np.random.default_rng(6)
    a, g = np.abs(rng.normal(size=(2, 3, 20, 5, 4))).astype(np.float32)
    if name == "cam":
        g[:] = g[..., :1, :1]
    expected = get(name)(a, g)
    assert expected.shape == (3, 5, 4)
    assert expected.dtype == np.float32
    kept = a.copy(), g.copy()
    strided = [np.asfortranarray(each.astype(np.float64)) for each in (a, g)]
    for array in (a, g, *strided):
        array.flags.writeable = False  # a method that writes to its input fails here
    np.testing.assert_array_equal(get(name)(*strided), expected)
    np.testing.assert_array_equal(get(name)(a, g), expected)
    singles = np.concatenate([get(name)(a[i : i + 1], g[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(singles, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_array_equal(a, kept[0])
    np.testing.assert_array_equal(g, kept[1])


def test_half_precision_input_is_computed_in_single():
    """G³ of real gradients underflows in float16; the map must not."""
    rng = np.random.default_rng(7)
    a = np.abs(rng.normal(size=(1, 8, 4, 4))).astype(np.float16)
    g = (1e-3 * rng.normal(size=(1, 8, 4, 4))).astype(np.float16)
    np.testing.assert_array_equal(get("gradcam++")(a, g), get("gradcam++")(a.astype(np.float32), g.astype(np.float32)))


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_alias(alias, name):
    assert get(alias) is CAM_METHODS[name]


@pytest.mark.parametrize("name", sorted(CAM_METHODS))
def test_name_finds_itself(name):
    assert get(name).name == name


def test_unknown_name_gets_close_ones():
    with pytest.raises(UsageError, match=r"no CAM method 'GradCamm'. Did you mean 'gradcam'"):
        get("GradCamm")


def test_which_methods_need_no_gradients():
    assert without_gradients() == WITHOUT_GRADIENTS
    a = np.random.default_rng(8).normal(size=(1, 4, 3, 3))
    for name in WITHOUT_GRADIENTS:
        assert get(name)(a).shape == (1, 3, 3)
    for name in CAM_METHODS.keys() - {*WITHOUT_GRADIENTS}:
        with pytest.raises(UsageError, match=r"needs them; .*eigencam"):
            get(name)(a)


def test_normalisation_of_each_method():
    assert {name for name, method in CAM_METHODS.items() if method.facts.normalisation == "max"} == {
        "cfcam",
        "cfcam-published",
    }


def test_a_name_can_be_taken_once():
    with pytest.raises(ValueError, match="methods gradcam and another: both are called gradcam; rename one"):
        table(METHODS["gradcam"], MethodFacts("another", "layer", "", "odd", aliases=("GRADCAM",)))
    assert table(*METHODS.values()) == METHODS


@pytest.mark.parametrize(
    ("a", "g", "options", "message"),
    [
        ((2, 3, 4), (2, 3, 4), {}, r"activations of shape \(2, 3, 4\), expected a non-empty \(N, C, H, W\)"),
        ((1, 3, 4, 0), (1, 3, 4, 0), {}, "non-empty"),
        ((1, 3, 4, 4), (1, 3, 4, 5), {}, r"gradients of shape \(1, 3, 4, 5\), expected that of the activations"),
        ((1, 3, 4, 4), (1, 3, 4, 4), {"sgin": "svd"}, "no option 'sgin'. Did you mean 'sign'"),
        ((1, 3, 4, 4), (1, 3, 4, 4), {"eigen_smooth": True}, "no option 'eigen_smooth'"),
        ((1, 3, 4, 4), (1, 3, 4, 4), {"sign": "max"}, "option sign: got 'max'. Did you mean 'max_abs'"),
    ],
)
def test_wrong_calls(a, g, options, message):
    with pytest.raises(UsageError, match=message):
        get("eigengradcam")(np.ones(a), np.ones(g), **options)


def test_import_is_light():
    code = (
        "import sys, aerocam.runtime.methods;"
        "print({'sklearn', 'scipy', 'cv2', 'onnx', 'onnxruntime', 'tensorrt', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
