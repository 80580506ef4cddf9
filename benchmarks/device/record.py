"""The report of a device check under way: its steps, its verdict, its name; nothing in it says who sends it."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from aerocam import __version__

FOLDERS = re.compile(r"(?<![\w:/.])~?/(?:[^\s/'\":;,()<>]+/)+|(?<=\w:)/(?!/)(?:[^\s/'\":;,()<>]+/)+")
"""The folders of an absolute path, up to its last name, behind a colon too; not those of an address on the web."""

SYSTEM = ("/usr/", "/etc/", "/dev/", "/proc/", "/sys/", "/opt/")
"""The system's folders: they name nobody, and commands and facts are none without them."""


def anonymous(data: Any, folders: Iterable[Path] = ()) -> Any:
    """Cut all paths in JSON-able data to their last names, in keys and values alike; the system's folders are kept.

    Args:
        data: What is to be sent.
        folders: More of its sender's folders, wherever they are.
    """
    homes = (Path.home(), Path.cwd(), Path(sys.prefix), Path(sys.base_prefix), *folders)
    roots = {"/", "/usr/local", *(folder.rstrip("/") for folder in SYSTEM)}
    private = {os.path.abspath(folder) for folder in homes} - roots
    return _cut(data, sorted(private, key=len, reverse=True))


def _cut(data: Any, private: list[str]) -> Any:
    """Cut the paths in every part of some data."""
    if isinstance(data, dict):
        return {_cut(key, private): _cut(value, private) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_cut(value, private) for value in data]
    return _text(data, private) if isinstance(data, str) else data


def _text(text: str, private: list[str]) -> str:
    """Cut the paths in one text, known folders first, because their names may contain blanks."""
    for folder in private:
        text = text.replace(folder + "/", "").replace(folder, "")
    text = FOLDERS.sub(_private_part, text)
    host = socket.gethostname()
    return re.sub(rf"\b{re.escape(host)}\b", "HOST", text) if len(host) > 3 and f"@{host}" in text else text


def _private_part(match: re.Match[str]) -> str:
    """Return what stays of an absolute path's folders: the system's, where no `..` leads out of them."""
    return match[0] if match[0].startswith(SYSTEM) and "/../" not in match[0] else ""


SCHEMA = 1
"""Version of the report's form."""

Verdict = Literal["agrees", "differs", "incomplete"]


def _now() -> dict[str, str]:
    """Return date and time of day, UTC."""
    date, _, time = datetime.now(timezone.utc).isoformat(timespec="seconds").partition("T")
    return {"date": date, "time": time.partition("+")[0]}


@dataclass
class DeviceReport:
    """A report under way; `record` is what is sent back.

    Attributes:
        record: JSON-able.
        folders: Of the files given, which are not named in it.
        told: The same with all its paths, for the one who runs the check.
    """

    folders: tuple[Path, ...] = ()
    told: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(
        default_factory=lambda: {
            "what": "aerocam device check",
            "schema": SCHEMA,
            "aerocam": __version__,
            **_now(),
            "interrupted": False,
            "verdict": "incomplete",
            "steps": [],
        }
    )

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Do a step; one that fails is noted, and what follows goes on without it; an interruption ends the check."""
        started, entry = time.perf_counter(), {"name": name, "state": "done"}
        try:
            yield
        except Exception as error:  # whatever it is, the report is sent back with it
            entry |= {"state": "failed", "error": type(error).__name__, "reason": " ".join(str(error).split())}
        except KeyboardInterrupt:
            entry["state"] = "interrupted"
            raise
        finally:
            self.record["steps"].append(entry | {"seconds": round(time.perf_counter() - started, 3)})

    @property
    def verdict(self) -> Verdict:
        """The outcome of the check."""
        verdict: Verdict = self.record["verdict"]
        return verdict

    @property
    def interrupted(self) -> bool:
        """Whether the check was cut short."""
        return bool(self.record["interrupted"])

    @property
    def name(self) -> str:
        """Name of the file that the report is written to."""
        board = self.record.get("doctor", {}).get("probes", {}).get("board", {})
        text = board.get("model") or board.get("architecture") or "device"
        text = re.sub(r"\b(NVIDIA|Engineering|Reference|Developer|Kit)\b", " ", text)
        name = "-".join(re.findall(r"[a-z0-9]+", text.lower()))
        return f"aerocam-device-{name}-{self.record['date']}-{self.record['time'].replace(':', '')}.json"

    def finish(self) -> None:
        """Set the verdict, and remove from the record what says where or whose the device is."""
        differences = [one for case in self.record.get("comparisons", []) for one in case["differences"]]
        if differences:
            self.record["verdict"] = "agrees" if all(one["good"] for one in differences) else "differs"
        done = all(step["state"] == "done" for step in self.record["steps"]) and not self.interrupted
        if self.verdict == "agrees" and not done:
            self.record["verdict"] = "incomplete"
        self.told, self.record = self.record, anonymous(self.record, self.folders)
