"""Records of a run as JSON lines: a header first, then frames and events as they come."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any

from aerocam.errors import MediaError, UsageError
from aerocam.runtime.sessions.session import Closing

logger = logging.getLogger(__name__)

SCHEMA = Path(__file__).with_name("records.schema.json")
"""The JSON Schema of a line."""


class Records(Closing):
    """Writes records line by line, each at once: a reader can follow, and nothing written is lost.

    A file that is there already goes on: the next line is this run's header. A named pipe, a device and standard output
    (`-`) are written to. The header is written in front of the first record, so that a run without any leaves no file.
    """

    def __init__(self, path: str, header: dict[str, Any]) -> None:
        """Open the file.

        Args:
            path: Where; `-` is standard output.
            header: The first line.

        Raises:
            UsageError: The file has something else than records in it.
            MediaError: It cannot be written.
        """
        self._path, self._header, self._lock = path, header, threading.Lock()
        self._begun = self._created = False
        self._file = -1 if path == "-" else self._open()

    def __call__(self, record: dict[str, Any]) -> None:
        """Write a record. Any thread may.

        Raises:
            MediaError: It cannot be written; then nothing of it is.
            BrokenPipeError: Nobody reads standard output any more.
        """
        with self._lock:
            lines = [record] if self._begun else [self._header, record]
            text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
            if self._path == "-":
                sys.stdout.write(text)
                sys.stdout.flush()
            else:
                self._append(text.encode())
            self._begun = True

    def close(self) -> None:
        """Close the file; one that this run made and wrote nothing to goes."""
        if self._path == "-":
            return
        os.close(self._file)
        if self._created and not self._begun:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _open(self) -> int:
        """Open the file, a new one or one that goes on."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        try:
            with contextlib.suppress(FileExistsError):
                file = os.open(self._path, flags | os.O_CREAT | os.O_EXCL, 0o666)
                self._created = True
                return file
            file = os.open(self._path, flags)
            if stat.S_ISREG(os.fstat(file).st_mode) and os.fstat(file).st_size:
                self._go_on(file)
            return file
        except OSError as error:
            raise self._unwritable(error) from error

    def _go_on(self, file: int) -> None:
        """Make sure that a file has records in it, and end the last line of a run that was killed."""
        with open(self._path, "rb") as content:
            first = content.readline(1 << 20)
            content.seek(-1, os.SEEK_END)
            torn = content.read() != b"\n"
        with contextlib.suppress(ValueError):
            line = json.loads(first)
            if isinstance(line, dict) and {"type", "frame"} & set(line):
                if torn:
                    os.write(file, b"\n")
                logger.info("%s: there are records of an earlier run in it; these follow them", self._path)
                return
        os.close(file)
        raise UsageError(f"{self._path}: there is something else than records in it; name another file")

    def _append(self, data: bytes) -> None:
        """Write all of the bytes, or none of them."""
        status, left = os.fstat(self._file), memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            if stat.S_ISREG(status.st_mode):
                os.ftruncate(self._file, status.st_size)
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> MediaError:
        return MediaError(f"{self._path}: cannot write the records: {error.strerror or error}")
