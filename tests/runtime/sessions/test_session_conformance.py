"""What any session must do, whichever engine runs it: one suite for all of them.

ONNX Runtime is real. TensorRT and CUDA are the stand-ins of `stand_ins`: the session's own code, real numbers. What a
session gives is judged by a second session of the same kind, which does one run alone, within the kind's `rounding`;
and by ONNX Runtime on the CPU and by NumPy within its `tolerance`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerocam import manifest
from aerocam.errors import UsageError
from aerocam.runtime import open_session
from aerocam.runtime.sessions.session import Session, TensorSpec
from stand_ins.kinds import KINDS, Kind, Open, opener
from tiny_models import WEIGHTS, model

pytestmark = pytest.mark.runtime

IMAGES = np.zeros((1, 3, 32, 48), np.float32)
TARGET = np.array([-1], np.int32)
FEEDS = {"images": IMAGES, manifest.TARGET: TARGET}
NAMES = ["logits", manifest.CHOSEN, manifest.SCORE, "A", "G"]

ONNX_RUNTIME = functools.partial(open_session, threads=1)

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Opened:
    """A kind of session under test; called with a model, it opens one."""

    kind: Kind
    open: Open

    def __call__(self, path: Path) -> Session:
        """Open a session."""
        return self.open(path)

    def expect(self, found: Arrays, path: Path, feeds: Arrays) -> None:
        """Compare what a session gave with what two fresh sessions give: one of the same kind, one of ONNX Runtime."""
        for fresh, share in ((self.open, self.kind.rounding), (ONNX_RUNTIME, self.kind.tolerance)):
            with fresh(path) as session:
                expected = session.run({name: array.copy() for name, array in feeds.items()}, list(found))
                for name, array in found.items():
                    assert_within(share, array, expected[name], name)


def assert_within(share: float, found: np.ndarray, expected: np.ndarray, name: str) -> None:
    """Within a share of the largest entry; 0: equal to the bit. Types and shapes are equal."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
    if share == 0 or found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, name)
    else:
        np.testing.assert_allclose(found, expected, rtol=0, atol=share * np.abs(expected).max(), err_msg=name)


@pytest.fixture(params=KINDS, ids=str)
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Opened]:
    with opener(request.param, monkeypatch, tmp_path) as how:
        yield Opened(request.param, how)


def random_feeds(seed: int) -> dict[str, np.ndarray]:
    """A picture and one of the classes."""
    rng = np.random.default_rng(seed)
    return {"images": rng.random(IMAGES.shape, np.float32), manifest.TARGET: np.array([seed % 4], np.int32)}


def test_inputs_outputs_and_manifest(opened: Opened) -> None:
    with opened(model("stretch")) as session:
        assert session.inputs == (
            TensorSpec("images", (1, 3, 32, 48), np.dtype(np.float32)),
            TensorSpec(manifest.TARGET, (1,), np.dtype(np.int32)),
        )
        assert [spec.name for spec in session.outputs] == NAMES
        assert session.outputs[3] == TensorSpec("A", (1, 3, 8, 12), np.dtype(np.float32))
        assert session.manifest.labels == ("red", "green", "blue", "darkness")
        assert Path(session.path).stem == "stretch"
        assert session.depth >= 1


def test_run_gives_all_outputs_or_those_asked_for(opened: Opened) -> None:
    images = np.full_like(IMAGES, 0.5)
    images[:, 2] = 0.75
    with opened(model("stretch")) as session:
        everything = session.run({"images": images, manifest.TARGET: TARGET})
        assert list(everything) == NAMES
        share = opened.kind.tolerance
        np.testing.assert_allclose(everything["logits"], [[0.5, 0.5, 0.75, -1.75]], atol=max(1e-6, 1.75 * share))
        np.testing.assert_allclose(everything["G"][0, :, 0, 0], [0, 0, 1 / 96], atol=max(1e-8, share / 96))
        two = session.run({"images": images, manifest.TARGET: TARGET}, ["A", manifest.CHOSEN])
        assert list(two) == ["A", manifest.CHOSEN]
        assert two[manifest.CHOSEN] == 2
        assert two["A"].dtype == np.float32


def test_values_are_those_by_hand(opened: Opened) -> None:
    """Means over patches of 4 x 4 px, their means weighed by class, and the class's weights over the 96 positions."""
    with opened(model("stretch")) as session:
        for seed in range(4):
            feeds = random_feeds(seed)
            means = feeds["images"].reshape(1, 3, 8, 4, 12, 4).mean(axis=(3, 5), dtype=np.float64)
            logits = means.mean(axis=(2, 3)) @ WEIGHTS.T.astype(np.float64)
            gradients = np.broadcast_to(WEIGHTS[seed][:, None, None] / 96, means.shape)
            expected = {"logits": logits, manifest.SCORE: logits[:, seed], "A": means, "G": gradients}
            found = session.run(feeds)
            assert found[manifest.CHOSEN] == seed
            for name, array in expected.items():
                assert_within(max(1e-6, opened.kind.tolerance), found[name], array.astype(np.float32), name)


def test_every_run_reads_its_inputs_anew(opened: Opened) -> None:
    """Whatever is given: the same array with other values, another array, one that is not contiguous, other outputs."""
    rng = np.random.default_rng(0)
    same, names = IMAGES.copy(), ["logits", "A", manifest.CHOSEN]
    base = rng.random((1, 32, 48, 3), np.float32)
    turned = base.transpose(0, 3, 1, 2)
    one, two = np.array([1], np.int32), np.array([2], np.int32)
    with opened(model("stretch")) as session:
        for images, target, outputs in [
            *((same, one, names) for _ in range(5)),
            (same, two, names),
            (rng.random(IMAGES.shape, np.float32), one, names),
            *((turned, one, names) for _ in range(3)),
            (same, one, ["G"]),
            (same, one, names),
            (same, one, names),
        ]:
            same[:] = rng.random(IMAGES.shape, np.float32)
            base[:] = rng.random(base.shape, np.float32)
            feeds = {"images": images, manifest.TARGET: target}
            found = session.run(feeds, outputs)
            assert list(found) == outputs
            opened.expect(found, model("stretch"), feeds)


def test_what_was_given_may_be_overwritten_once_a_run_is_submitted(opened: Opened) -> None:
    feeds = random_feeds(1)
    with opened(model("stretch")) as session:
        for _ in range(4):
            given = {name: array.copy() for name, array in feeds.items()}
            run = session.submit(given)
            given["images"][:] = 9
            given[manifest.TARGET][:] = 3
            found = run.result()
            assert list(found) == NAMES
            opened.expect(found, model("stretch"), feeds)


def test_results_stay_until_as_many_runs_are_submitted_as_may_be_under_way(opened: Opened) -> None:
    with opened(model("stretch")) as session:
        for start in range(0, 8, session.depth):
            feeds = [random_feeds(start + number) for number in range(session.depth)]
            runs = [session.submit(one, ["logits", "A"]) for one in feeds]
            found = [run.result() for run in runs]
            for one, arrays in zip(feeds, found, strict=True):
                assert list(arrays) == ["logits", "A"]
                opened.expect(arrays, model("stretch"), one)


def test_a_result_is_read_while_the_next_run_is_under_way(opened: Opened) -> None:
    """As a stream does it: the next frame is submitted, then the map of this one is made."""
    with opened(model("stretch")) as session:
        if session.depth == 1:
            pytest.skip("a run has ended when it is submitted")
        run = session.submit(random_feeds(0), ["A"])
        for number in range(1, 9):
            found = run.result()
            run = session.submit(random_feeds(number), ["A"])
            opened.expect(found, model("stretch"), random_feeds(number - 1))


def test_results_may_be_asked_for_in_any_order_and_twice(opened: Opened) -> None:
    with opened(model("stretch")) as session:
        runs = [(session.submit(random_feeds(number), ["A"]), number) for number in range(session.depth)]
        for run, number in reversed(runs):
            found = run.result()
            opened.expect(found, model("stretch"), random_feeds(number))
            assert run.result()["A"] is found["A"]


def test_no_more_runs_are_under_way_than_may_be(opened: Opened) -> None:
    with opened(model("stretch")) as session:
        runs = [session.submit(random_feeds(number)) for number in range(session.depth)]
        if session.depth > 1:
            with pytest.raises(UsageError, match=r"2 runs are under way already, .* call result"):
                session.submit(FEEDS)
            with pytest.raises(UsageError, match="under way"):
                session.run(FEEDS)
        for number, run in enumerate(runs):
            opened.expect(run.result(), model("stretch"), random_feeds(number))
        session.run(FEEDS)


def test_a_run_that_nobody_waits_for_is_in_nobodys_way(opened: Opened) -> None:
    with opened(model("stretch")) as session:
        for number in range(5):
            session.submit(random_feeds(number))
        opened.expect(session.run(random_feeds(9)), model("stretch"), random_feeds(9))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"images": np.zeros((1, 3, 480, 640))},
            "input 'images': got float64 (1, 3, 480, 640), expected float32 (1, 3, 32, 48)",
        ),
        (
            {"images": IMAGES.astype(np.uint8)},
            "input 'images': got uint8 (1, 3, 32, 48), expected float32 (1, 3, 32, 48)",
        ),
        ({"images": IMAGES[0]}, "input 'images': got float32 (3, 32, 48), expected float32 (1, 3, 32, 48)"),
        ({"imges": IMAGES}, "input 'imges': the model has no such input. Did you mean 'images'?"),
        ({manifest.TARGET: np.array([0])}, "input 'aerocam_target': got int64 (1,), expected int32 (1)"),
    ],
)
def test_a_wrong_feed_is_named(opened: Opened, changed: dict[str, np.ndarray], message: str) -> None:
    with opened(model("stretch")) as session:
        for before in range(3):  # after right ones too
            with pytest.raises(UsageError) as caught:
                session.run({**FEEDS, **changed})
            assert str(caught.value) == message
            opened.expect(session.run(random_feeds(before)), model("stretch"), random_feeds(before))


def test_a_missing_feed_and_an_unknown_output_are_named(opened: Opened) -> None:
    with opened(model("stretch")) as session:
        with pytest.raises(UsageError, match="input 'aerocam_target': nothing was given, expected int32"):
            session.run({"images": IMAGES})
        with pytest.raises(UsageError, match=r"output 'logit': the model has no such output. Did you mean 'logits'"):
            session.run(FEEDS, ["logit"])


def test_a_closed_session_says_so(opened: Opened) -> None:
    session = opened(model("stretch"))
    found = session.run(random_feeds(3))
    session.close()
    session.close()
    opened.expect(found, model("stretch"), random_feeds(3))  # it is not freed yet
    with pytest.raises(UsageError, match="the session is closed; open it again"):
        session.run(FEEDS)
    with pytest.raises(UsageError, match="the session is closed"):
        session.submit(FEEDS)


def test_the_with_block_closes_the_session_and_lets_errors_through(opened: Opened) -> None:
    session = opened(model("stretch"))
    runs = []

    def fail() -> None:
        with session:
            runs.append(session.submit(FEEDS))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(UsageError, match="the session is closed"):
        session.run(FEEDS)
    if session.depth > 1:
        with pytest.raises(UsageError, match="the session is closed"):
            runs[0].result()


def test_another_thread_is_told_so(opened: Opened) -> None:
    said: list[str] = []

    def call(*calls: Callable[[], Any]) -> None:
        for one in calls:
            try:
                one()
            except UsageError as error:
                said.append(str(error))

    with opened(model("stretch")) as session:
        if session.depth == 1:
            pytest.skip("ONNX Runtime itself does not mind")
        run = session.submit(random_feeds(0))
        calls = (lambda: session.submit(FEEDS), lambda: session.run(FEEDS), run.result, session.close)
        thread = threading.Thread(target=call, args=calls, name="capture-7")
        thread.start()
        thread.join()
        opened.expect(run.result(), model("stretch"), random_feeds(0))
    assert len(said) == 4
    assert all("called from thread 'capture-7', the session is for the thread that opened it alone" in s for s in said)
