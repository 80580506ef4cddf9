"""What any session must do, whichever engine runs it: one suite for all of them.

ONNX Runtime is real. TensorRT and CUDA are the stand-ins of `stand_ins`: the session's own code, real numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerocam import manifest
from aerocam.errors import UsageError
from aerocam.runtime import open_session
from aerocam.runtime.sessions.session import TensorSpec
from stand_ins.kinds import KINDS, Open, opener
from tiny_models import model

pytestmark = pytest.mark.runtime

IMAGES = np.zeros((1, 3, 32, 48), np.float32)
TARGET = np.array([-1], np.int32)
FEEDS = {"images": IMAGES, manifest.TARGET: TARGET}
NAMES = ["logits", manifest.CHOSEN, manifest.SCORE, "A", "G"]

Arrays = Mapping[str, np.ndarray]


@pytest.fixture(params=KINDS, ids=str)
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Open]:
    with opener(request.param, monkeypatch, tmp_path) as how:
        yield how


def reference(path: Path, feeds: Arrays, outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """What a session of its own, in ONNX Runtime, gives."""
    with open_session(path, threads=1) as fresh:
        return fresh.run({name: array.copy() for name, array in feeds.items()}, outputs)


def random_feeds(seed: int) -> dict[str, np.ndarray]:
    """A picture and one of the classes."""
    rng = np.random.default_rng(seed)
    return {"images": rng.random(IMAGES.shape, np.float32), manifest.TARGET: np.array([seed % 4], np.int32)}


def test_inputs_outputs_and_manifest(opened: Open) -> None:
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


def test_run_gives_all_outputs_or_those_asked_for(opened: Open) -> None:
    images = np.full_like(IMAGES, 0.5)
    images[:, 2] = 0.75
    with opened(model("stretch")) as session:
        everything = session.run({"images": images, manifest.TARGET: TARGET})
        assert list(everything) == NAMES
        np.testing.assert_allclose(everything["logits"], [[0.5, 0.5, 0.75, -1.75]], atol=1e-6)
        np.testing.assert_allclose(everything["G"][0, :, 0, 0], [0, 0, 1 / 96], atol=1e-8)
        two = session.run({"images": images, manifest.TARGET: TARGET}, ["A", manifest.CHOSEN])
        assert list(two) == ["A", manifest.CHOSEN]
        assert two[manifest.CHOSEN] == 2
        assert two["A"].dtype == np.float32


def test_every_run_reads_its_inputs_anew(opened: Open) -> None:
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
            found, expected = session.run(feeds, outputs), reference(model("stretch"), feeds, outputs)
            assert list(found) == outputs
            for name in outputs:
                np.testing.assert_array_equal(found[name], expected[name], name)


def test_what_was_given_may_be_overwritten_once_a_run_is_submitted(opened: Open) -> None:
    feeds = random_feeds(1)
    expected = reference(model("stretch"), feeds)
    with opened(model("stretch")) as session:
        for _ in range(4):
            given = {name: array.copy() for name, array in feeds.items()}
            run = session.submit(given)
            given["images"][:] = 9
            given[manifest.TARGET][:] = 3
            for name, array in run.result().items():
                np.testing.assert_array_equal(array, expected[name], name)


def test_results_stay_until_as_many_runs_are_submitted_as_may_be_under_way(opened: Open) -> None:
    with opened(model("stretch")) as session:
        for start in range(0, 8, session.depth):
            feeds = [random_feeds(start + number) for number in range(session.depth)]
            runs = [session.submit(one, ["logits", "A"]) for one in feeds]
            found = [run.result() for run in runs]
            for one, arrays in zip(feeds, found, strict=True):
                expected = reference(model("stretch"), one)
                np.testing.assert_array_equal(arrays["logits"], expected["logits"])
                np.testing.assert_array_equal(arrays["A"], expected["A"])


def test_a_result_is_read_while_the_next_run_is_under_way(opened: Open) -> None:
    """As a stream does it: the next frame is submitted, then the map of this one is made."""
    with opened(model("stretch")) as session:
        if session.depth == 1:
            pytest.skip("a run has ended when it is submitted")
        run = session.submit(random_feeds(0), ["A"])
        for number in range(1, 9):
            found = run.result()["A"]
            run = session.submit(random_feeds(number), ["A"])
            np.testing.assert_array_equal(found, reference(model("stretch"), random_feeds(number - 1))["A"])


def test_results_may_be_asked_for_in_any_order_and_twice(opened: Open) -> None:
    with opened(model("stretch")) as session:
        runs = [(session.submit(random_feeds(number), ["A"]), number) for number in range(session.depth)]
        for run, number in reversed(runs):
            found = run.result()["A"]
            np.testing.assert_array_equal(found, reference(model("stretch"), random_feeds(number))["A"])
            assert run.result()["A"] is found


def test_no_more_runs_are_under_way_than_may_be(opened: Open) -> None:
    with opened(model("stretch")) as session:
        runs = [session.submit(random_feeds(number)) for number in range(session.depth)]
        if session.depth > 1:
            with pytest.raises(UsageError, match=r"2 runs are under way already, .* call result"):
                session.submit(FEEDS)
            with pytest.raises(UsageError, match="under way"):
                session.run(FEEDS)
        for number, run in enumerate(runs):
            expected = reference(model("stretch"), random_feeds(number))["A"]
            np.testing.assert_array_equal(run.result()["A"], expected)
        session.run(FEEDS)


def test_a_run_that_nobody_waits_for_is_in_nobodys_way(opened: Open) -> None:
    with opened(model("stretch")) as session:
        for number in range(5):
            session.submit(random_feeds(number))
        np.testing.assert_array_equal(
            session.run(random_feeds(9))["A"], reference(model("stretch"), random_feeds(9))["A"]
        )


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
def test_a_wrong_feed_is_named(opened: Open, changed: dict[str, np.ndarray], message: str) -> None:
    with opened(model("stretch")) as session:
        for before in range(3):  # after right ones too
            with pytest.raises(UsageError) as caught:
                session.run({**FEEDS, **changed})
            assert str(caught.value) == message
            np.testing.assert_array_equal(
                session.run(random_feeds(before))["A"], reference(model("stretch"), random_feeds(before))["A"]
            )


def test_a_missing_feed_and_an_unknown_output_are_named(opened: Open) -> None:
    with opened(model("stretch")) as session:
        with pytest.raises(UsageError, match="input 'aerocam_target': nothing was given, expected int32"):
            session.run({"images": IMAGES})
        with pytest.raises(UsageError, match=r"output 'logit': the model has no such output. Did you mean 'logits'"):
            session.run(FEEDS, ["logit"])


def test_a_closed_session_says_so(opened: Open) -> None:
    session = opened(model("stretch"))
    found = session.run(random_feeds(3))["A"]
    session.close()
    session.close()
    np.testing.assert_array_equal(found, reference(model("stretch"), random_feeds(3))["A"])  # it is not freed yet
    with pytest.raises(UsageError, match="the session is closed; open it again"):
        session.run(FEEDS)
    with pytest.raises(UsageError, match="the session is closed"):
        session.submit(FEEDS)


def test_the_with_block_closes_the_session_and_lets_errors_through(opened: Open) -> None:
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


def test_another_thread_is_told_so(opened: Open) -> None:
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
        np.testing.assert_array_equal(run.result()["A"], reference(model("stretch"), random_feeds(0))["A"])
    assert len(said) == 4
    assert all("called from thread 'capture-7', the session is for the thread that opened it alone" in s for s in said)
