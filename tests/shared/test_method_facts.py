"""The facts of the table of methods, each found by computing: the arithmetic is run and must do what its row says."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.manifest import Head, Layer, Manifest, Preprocess, Score, Source, Split
from aerocam.methods import HEADS, METHODS, find
from aerocam.runtime.maps.raw_maps import raw_maps
from aerocam.runtime.methods import CAM_METHODS, COMPUTED, CONTRAST_METHODS, FORWARD_METHODS, INPUT_METHODS, Scorer

pytestmark = pytest.mark.runtime

Floats = NDArray[np.float32]

PICTURE, LAYER = (1, 3, 9, 8), (1, 24, 5, 4)
OPTIONS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 4},
    "occlusion": {"patch": 3},
    "rise": {"masks": 30, "grid": 3},
    "smoothgrad": {"samples": 4},
}
"""So that methods of many runs take fewer."""


@cache
def drawn(seed: int, *shape: int) -> Floats:
    """Normal numbers, not to be written to."""
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    array.flags.writeable = False
    return array


def gradients(name: str, seed: int = 1) -> Floats:
    """Gradients at the layer; for `cam` one number per channel, as it takes no others."""
    found = drawn(seed, *LAYER)
    return np.broadcast_to(found[..., :1, :1], LAYER) if name == "cam" else found


def raw(name: str, sign: float = 1, offset: float = 0, **options: Any) -> Floats:
    """The raw map of a method on drawn arrays and small networks, of the score times `sign` plus `offset`."""
    facts, options = METHODS[name], {**OPTIONS.get(name, {}), **options}
    sign = np.float32(sign)
    if facts.kind == "layer":
        return CAM_METHODS[name](drawn(0, *LAYER), sign * gradients(name), **options)
    if facts.kind == "contrast":
        classes, slopes = CONTRAST_METHODS[name](3 * drawn(2, 5).astype(np.float64), 1)
        own = np.tensordot(slopes, drawn(3, 5, *LAYER[1:])[classes], axes=1)[None]
        return CAM_METHODS["gradcam"](drawn(0, *LAYER), sign * own, **options)
    if facts.kind == "input":
        cam = (np.maximum(sign * drawn(4, *PICTURE[:1], *PICTURE[2:]), 0),) if facts.activations else ()
        return INPUT_METHODS[name](drawn(5, *PICTURE), perceptron(sign, facts.gradients == "guided"), *cam, **options)
    shape = LAYER if facts.kind == "tail" else PICTURE
    weights = drawn(6, int(np.prod(shape)), 1) / 10
    scorer = Scorer(lambda x: sign * np.tanh(x.reshape(len(x), -1) @ weights) + np.float32(offset), batch=7)
    arrays = [drawn(0, *LAYER)] if facts.activations else []
    return FORWARD_METHODS[name](scorer, *([] if facts.kind == "tail" else [drawn(5, *PICTURE)]), *arrays, **options)


def perceptron(sign: np.float32, guided: bool) -> Any:
    """The gradient of `sign` v relu(W x) by x, or what guided backpropagation leaves of it, and the score."""
    first, last = drawn(7, 30, int(np.prod(PICTURE))), sign * drawn(8, 30)

    def gradient(picture: Floats) -> tuple[Floats, Floats]:
        hidden = first @ picture.reshape(-1)
        back = (np.maximum(last, 0) if guided else last) * (hidden > 0)
        return (first.T @ back).reshape(PICTURE), np.array([last @ np.maximum(hidden, 0)], np.float32)

    return gradient


def alike(a: Floats, b: Floats) -> bool:
    return np.allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def parity(usual: Floats, against: Floats) -> str:
    """How the map of the score and that of its negative go together."""
    if alike(against, -usual):
        return "odd"
    return "even" if alike(against, usual) else "neither"


@pytest.mark.parametrize("name", COMPUTED)
def test_parity(name: str) -> None:
    """The map of the negative score is the negative one, the same one, or neither: a counterexample is at hand."""
    usual, against = raw(name), raw(name, sign=-1)
    assert np.ptp(usual) > 0
    assert parity(usual, against) == METHODS[name].parity


@pytest.mark.parametrize("name", [name for name in CAM_METHODS if METHODS[name].weighs and METHODS[name].gradients])
def test_parity_of_a_smoothed_map(name: str) -> None:
    """A head may be smoothed, and is turned as the plain one is."""
    usual, against = raw(name, eigen_smooth=True), raw(name, sign=-1, eigen_smooth=True)
    assert parity(usual, against) == METHODS[name].parity


@pytest.mark.parametrize("name", CAM_METHODS)
def test_which_methods_read_gradients(name: str) -> None:
    """Others make another map, or, where there is nothing to read, NaN does not matter."""
    method, a = CAM_METHODS[name], drawn(0, *LAYER)
    if METHODS[name].gradients is None:
        np.testing.assert_array_equal(method(a, np.full(LAYER, np.nan)), method(a))
        return
    first, second = method(a, gradients(name)), method(a, gradients(name, seed=9))
    assert not alike(second / np.abs(second).max(), first / np.abs(first).max())
    with pytest.raises(
        UsageError, match=f"method {name}".replace("+", r"\+") + ": got no gradients, and it needs them"
    ):
        method(a)


@pytest.mark.parametrize("name", INPUT_METHODS)
def test_what_is_read_at_the_input(name: str) -> None:
    cam = (np.ones((1, *PICTURE[2:]), np.float32),) if METHODS[name].activations else ()
    lost = lambda at: (np.full_like(at, np.nan), np.zeros(1, np.float32))  # noqa: E731
    assert np.isnan(INPUT_METHODS[name](drawn(5, *PICTURE), lost, *cam, **OPTIONS.get(name, {}))).all()
    if METHODS[name].activations:
        kept = INPUT_METHODS[name](drawn(5, *PICTURE), perceptron(np.float32(1), False), *cam)
        gone = INPUT_METHODS[name](drawn(5, *PICTURE), perceptron(np.float32(1), False), 0 * cam[0])
        assert kept.any()
        assert not gone.any()


@pytest.mark.parametrize("name", CAM_METHODS)
def test_which_methods_weigh(name: str) -> None:
    """The function of a method that weighs gives one number per channel, or per entry, any other the map itself."""
    a, g = (np.repeat(x, 2, axis=0) for x in (drawn(0, *LAYER), gradients(name)))
    method = CAM_METHODS[name]
    found = method.function(*(a, g)[: 1 if METHODS[name].gradients is None else 2])
    assert METHODS[name].weighs == (found.shape in (a.shape[:2], a.shape))
    assert METHODS[name].weighs == ("eigen_smooth" in method.options)
    if METHODS[name].weighs:
        wide = found.reshape(*found.shape, *(1,) * (4 - found.ndim))
        np.testing.assert_allclose(method(a, g), (wide * a).sum(axis=1), rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_array_equal(method(a, g), found)


@pytest.mark.parametrize("name", FORWARD_METHODS)
def test_which_methods_are_shown_by_their_span(name: str) -> None:
    """Where the whole map rises with the score, as between two classes, its zero means nothing."""
    rise = raw(name, offset=1000) - raw(name)
    assert (METHODS[name].normalisation == "span") == bool(rise.min() > 500)


def test_how_all_others_are_shown() -> None:
    """By what the methods' authors publish, and at the input by magnitude, as both signs stand at single pixels."""
    own = {name: METHODS[name].normalisation for name in METHODS if name not in FORWARD_METHODS}
    assert {name for name, rule in own.items() if rule == "magnitude"} == INPUT_METHODS.keys()
    assert {name for name, rule in own.items() if rule == "max"} == {"cfcam", "cfcam-published"}
    assert not {"span"} & set(own.values())


@pytest.mark.parametrize("name", COMPUTED)
def test_the_options_that_have_a_note_are_options(name: str) -> None:
    """Or the method that a contrast takes its map from."""
    further = {"base"} if METHODS[name].kind == "contrast" else set()
    assert set(METHODS[name].options) <= {*COMPUTED[name].options, *further}


def a_manifest(name: str, head: str | None = None) -> Manifest:
    """Of a file that has what a method takes at layer `A`, or its head."""
    facts = METHODS[name]
    rule = facts.gradients or "gradient"
    tensors = ("A", "G") if head is None else (None, None)
    layers = [Layer("A", "spatial", LAYER, *tensors, "gradient" if rule == "guided" else rule)]
    if facts.kind == "input":
        layers.insert(0, Layer("x", "spatial", PICTURE, "x_seen", "x_gradients", rule))
    if facts.at_input:
        layers.pop()
    return Manifest(
        task="classify",
        layers=tuple(layers),
        score=Score("y", "none", 5, contrast="none" if head is None else facts.contrast),
        preprocess=Preprocess("x", PICTURE[2:]),
        source=Source("0" * 64, "m.onnx", 17, ""),
        head=None if head is None else Head(head, "map"),
        split=Split("m.explain.onnx", ("A",), "m.tail.onnx", 4) if facts.kind == "tail" and head is None else None,
    )


@pytest.mark.parametrize("name", COMPUTED)
def test_a_method_takes_the_outputs_that_its_row_says(name: str) -> None:
    """No other has to leave the accelerator."""
    facts = METHODS[name]
    maps = raw_maps(a_manifest(name), name, OPTIONS.get(name))
    expected = {"A"} if facts.activations else set()
    if facts.kind == "input":
        expected |= {"x_gradients", *({"G"} if facts.activations else ())}
    elif facts.gradients is not None:
        expected |= {"G"}
    assert set(maps.outputs) == expected
    assert maps.normalisation == facts.normalisation


@pytest.mark.parametrize("name", [name for name in HEADS if name in COMPUTED])
def test_the_negative_score_through_a_head(name: str) -> None:
    """Its map is the negative one, or refused: a head has been told nothing of the sign."""
    manifest, outputs = a_manifest(name, head=name), {"map": drawn(0, 1, *LAYER[2:])}
    if METHODS[name].parity == "odd":
        usual, against = (raw_maps(manifest, None, counterfactual=negative)(outputs) for negative in (False, True))
        np.testing.assert_array_equal(against[0], -usual[0])
        return
    message = f"method '{name}': its (fused head has no map of the negative score|weights are shares of the score)"
    with pytest.raises(UsageError, match=message.replace("+", r"\+")):
        raw_maps(manifest, None, counterfactual=True)


@pytest.mark.parametrize("name", METHODS)
def test_every_spelling_finds_its_row(name: str) -> None:
    for spelling in (name, name.upper(), *METHODS[name].aliases, name.replace("-", "_ ")):
        assert find(spelling) is METHODS[name]
