"""Records of finished pictures, which survive whatever ends a run: of each a JSON line with one record per method."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aerocam.errors import UsageError, WriteError
from aerocam.files import write_together
from aerocam.foreign import parse_json, read_text
from aerocam.runtime.sessions.session import Closing

logger = logging.getLogger(__name__)

FILE, SETTINGS = "records.jsonl", "settings.json"


def plain(value: Any) -> Any:
    """Convert a metric's value for JSON: arrays to lists, numbers that are not finite to None."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_back(value: Any) -> Any:
    """Convert what `plain` wrote back, with NaN for None."""
    if isinstance(value, dict):
        return {key: read_back(one) for key, one in value.items()}
    if isinstance(value, list):
        return [read_back(one) for one in value]
    return math.nan if value is None else value


def same_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a run into its folder, or check that they equal those of the run that began there.

    Raises:
        UsageError: The folder holds a run with other settings, or its settings cannot be read.
        WriteError: The settings cannot be written.
    """
    path, wanted = folder / SETTINGS, json.loads(json.dumps(settings))
    if not path.exists():
        write_together({path: (json.dumps(wanted, indent=2, ensure_ascii=False) + "\n").encode()})
        return
    try:
        before = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot read it: {error}; give another folder") from error
    differences = _differences(before, wanted)
    if differences:
        more = ", ..." if len(differences) > 5 else ""
        raise UsageError(
            f"{folder}: it holds another run, with {'; '.join(differences[:5])}{more}; give another --out, or the same"
            " settings"
        )


def _differences(before: Any, wanted: Any, name: str = "") -> list[str]:
    """List the fields that differ."""
    if before == wanted:
        return []
    if not (isinstance(before, dict) and isinstance(wanted, dict)):
        return [f"{name} {_short(before)} there and {_short(wanted)} here"]
    differences = []
    for key in sorted({*before, *wanted}):
        here = f"{name} {key}".strip()
        if key in before and key in wanted:
            differences += _differences(before[key], wanted[key], here)
        else:
            differences.append(f"{here} only {'there' if key in before else 'here'}")
    return differences


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


class Records(Closing):
    """The records in a folder. A line counts once it ends: a last line without an end is dropped, and done again."""

    def __init__(self, folder: Path) -> None:
        """Read the records of earlier runs, and lock the file for this run alone.

        Raises:
            UsageError: Another run writes to the file, or one of its lines is damaged.
            WriteError: The file cannot be opened.
        """
        self._path = folder / FILE
        try:
            # Without a buffer: what a full disk did not take must not be written again when the file is closed.
            self._file = self._path.open("a+b", buffering=0)
        except OSError as error:
            raise WriteError(f"{self._path}: cannot write it: {error.strerror or error}") from error
        try:
            self._hold()
            self.by_key = self._read()
        except BaseException:
            self._file.close()
            raise

    def _hold(self) -> None:
        """Lock the file; the lock goes with the process."""
        with contextlib.suppress(ImportError):  # Windows has no such locks
            import fcntl

            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"{self._path}: another run writes to it; wait for that, or give another --out"
                ) from error
            except OSError as error:  # some network file systems have no locks
                logger.warning("%s: it cannot be locked (%s); start no other run with this --out", self._path, error)

    def _read(self) -> dict[str, dict[str, Any]]:
        """Read the records, by key."""
        self._file.seek(0)
        content = self._file.readall()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)
        by_key: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                by_key.update({one["key"]: one for one in parse_json(line.decode())["records"]})
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{self._path}: line {number} is no record ({error}); delete that line") from error
        return by_key

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        """Append the records of a picture as one line, and return when it is on the disk.

        Raises:
            WriteError: The file cannot be written, as on a full disk.
        """
        kept = list(records)
        line = json.dumps({"records": kept}, allow_nan=False) + "\n"
        try:
            left = line.encode()
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise WriteError(f"{self._path}: cannot write it: {error.strerror or error}; start again later") from error
        self.by_key.update({one["key"]: one for one in kept})

    def close(self) -> None:
        """Close the file, which unlocks it."""
        self._file.close()
