"""Records as a file: every line by the schema, what is there already, what cannot be written."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from aerocam.errors import MediaError, UsageError
from aerocam.files import sha256
from aerocam.runtime import Explainer, Objects, VideoSource, process
from aerocam.runtime.drawing.overlay import Look
from aerocam.runtime.video.events import Event, Events
from aerocam.runtime.video.recording.header import header
from aerocam.runtime.video.recording.records import SCHEMA, Records
from runtime_fixtures import most_in_a_file, moving_square, write_video
from tiny_models import model

pytestmark = pytest.mark.runtime

HEADER = {"type": "header"}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


RUNS: list[tuple[str, Any, dict[str, Any]]] = [
    ("stretch", None, {"look": Look(regions=0.5)}),
    ("nan", ["red", -2], {"every": 2}),
    ("detect", Objects(most=3, confidence=0.1, classes=("red", 1)), {"every": 3}),
    ("detect", [("red", 3), None], {"look": Look(regions="otsu"), "every": 2}),
    ("detect", None, {"least": 0.999}),
]


@pytest.mark.parametrize(("name", "target", "options"), RUNS)
def test_every_line_is_by_the_schema(name: str, target: Any, options: dict[str, Any], tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    path, events = tmp_path / "r.jsonl", Events()
    events("damaged", True, "two frames")
    with (
        Explainer(model(name), threads=1) as explainer,
        VideoSource(write_video(tmp_path / "v.avi", moving_square(7))) as source,
    ):
        first = header(explainer, source, target, every=options.get("every", 1), least=options.get("least", 0.0))
        with Records(str(path), first) as records:
            process(source, explainer, record=records, target=target, events=events, **options)
            records(Event(9, "disk", 1.0, 2.0, 3, "full").record())
    read = lines(path)
    assert [line["type"] for line in read] == ["header", *7 * ["frame"], "event"]
    for line in read:
        validator.validate(line)
    for broken in (
        read[1] | {"further": 1},
        {**read[1], "frame": "1"},
        read[0] | {"schema": 2},
        read[-1] | {"kind": 1},
    ):
        assert not validator.is_valid(broken)
    assert read[0]["model"] == {"path": str(model(name)), "sha256": sha256(model(name))}
    assert (read[0]["size"], read[0]["source"]["frames"]) == ({"width": 96, "height": 64}, 7)


def test_a_file_goes_on_and_one_without_a_record_is_not_left(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    Records(str(path), HEADER).close()
    assert not path.exists()
    for number in range(2):
        with Records(str(path), HEADER) as records:
            records({"type": "frame", "frame": number})
        Records(str(path), HEADER).close()
    assert [line.get("frame") for line in lines(path)] == [None, 0, None, 1]
    path.write_text('{"frame": 0}\n{"frame": 1, "ti')
    with Records(str(path), HEADER) as records:
        records({"type": "frame", "frame": 5})
    assert path.read_text().splitlines() == [
        '{"frame": 0}',
        '{"frame": 1, "ti',
        '{"type": "header"}',
        '{"type": "frame", "frame": 5}',
    ]


@pytest.mark.parametrize("content", [b"\x08\x08a model", b'{"0": "cat"}', b"{\n", b"[1]\n", b"12\n"])
def test_a_file_with_something_else_is_left_alone(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UsageError, match="there is something else than records in it"):
        Records(str(tmp_path / "file"), HEADER)
    assert (tmp_path / "file").read_bytes() == content


def test_a_named_pipe_a_link_and_a_device(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with Records(str(pipe), HEADER) as records:
        records({"frame": 1})
    reader.join(5)
    assert read == ['{"type": "header"}\n{"frame": 1}\n']
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").touch()
    for name in (str(tmp_path / "link"), "/dev/null"):
        with Records(name, HEADER) as records:
            records({"frame": 1})
    assert (tmp_path / "link").is_symlink()
    assert len(lines(tmp_path / "real")) == 2
    with pytest.raises(MediaError, match="cannot write the records: Is a directory"):
        Records(str(tmp_path), HEADER)


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Records(str(path), HEADER) as records:
        records({"frame": 0})
        with most_in_a_file(1000), pytest.raises(MediaError, match="cannot write the records: File too large"):
            records({"frame": 1, "text": "x" * 2000})
        records({"frame": 2})
    assert [line.get("frame") for line in lines(path)] == [None, 0, 2]
