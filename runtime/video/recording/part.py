"""Part files: a video under a hidden name until it is finished, and what a killed run left of one."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from pathlib import Path

from aerocam.errors import MediaError
from aerocam.files import VIDEO_SUFFIXES, part_name

logger = logging.getLogger(__name__)

PART = re.compile(r"\.(?P<stem>.+)\.\d+-[0-9a-f]+\.part(?P<suffix>\.\w+)")
"""The name of a part file, as `part_name` makes it."""


class PartFile:
    """Holds a file that grows under a hidden name beside its own, with every write checked.

    The file is new, and locked as long as its process lives. After a write that failed nothing more is written, and the
    file ends where it was good.

    Attributes:
        path: The hidden name.
        error: Why a write failed; None: none did.
        good: Size up to which the file can be read, bytes, where whoever writes it says so.
    """

    def __init__(self, path: Path) -> None:
        """Create the file.

        Args:
            path: The name that it will have.

        Raises:
            MediaError: It cannot be created.
        """
        self.path = part_name(path)
        self.error: OSError | None = None
        self.good: int | None = None
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise MediaError(
                f"{path}: cannot write into {path.parent}: {error.strerror}; give another place"
            ) from error
        _lock(self._file)

    def write(self, data: bytes) -> int:
        """Write all of the bytes at the present place, or none more after a failure; return how many were given."""
        left = memoryview(data)
        while left and self.error is None:
            try:
                left = left[os.write(self._file, left) :]
            except OSError as error:
                self.error = error
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, as `io.IOBase.seek` does."""
        return os.lseek(self._file, offset, whence)

    def tell(self) -> int:
        """Return the present place."""
        return os.lseek(self._file, 0, os.SEEK_CUR)

    @property
    def size(self) -> int:
        """Return how long the file is, bytes."""
        return os.fstat(self._file).st_size

    def probe(self) -> None:
        """See whether the file can grow, for a writer that does not say so."""
        end = self.seek(0, os.SEEK_END)
        self.write(b"\0")
        os.ftruncate(self._file, end)

    def finish(self, name: Path) -> None:
        """Give the file its name, its bytes on the disk before that.

        Raises:
            MediaError: It cannot be named.
        """
        try:
            if self.error is not None and self.good is not None:
                os.ftruncate(self._file, self.good)
            os.fsync(self._file)
            os.replace(self.path, name)
        except OSError as error:
            raise MediaError(
                f"{name}: cannot finish it: {error.strerror or error}; what was written is {self.path}"
            ) from error
        finally:
            os.close(self._file)

    def remove(self) -> None:
        """Leave nothing of it."""
        os.close(self._file)
        self.path.unlink(missing_ok=True)


def free_name(path: Path) -> Path:
    """Return `path`, or if there is such a file or one numbered as these are, the next: `fly.0002.mp4` of `fly.mp4`."""
    numbers = [number for _, number in numbered(path)]
    return path if not numbers else path.with_name(f"{path.stem}.{max(numbers) + 1:04d}{path.suffix}")


def numbered(path: Path) -> list[tuple[Path, int]]:
    """Return the files that are `path` (number 1) or of its name with a number, by number."""
    pattern = re.compile(re.escape(path.stem) + r"(?:\.(\d{4,}))?" + re.escape(path.suffix))
    matches = [(file, pattern.fullmatch(file.name)) for file in path.parent.iterdir()]
    return sorted(((file, int(match[1] or 1)) for file, match in matches if match), key=lambda pair: pair[1])


def name_leftovers(folder: Path) -> list[Path]:
    """Give the parts of videos that killed runs left in a folder a name: `fly.recovered.mp4` of what was `fly.mp4`.

    Those that another process is writing stay as they are, and so do empty ones. Each is logged as a warning.
    """
    recovered = []
    for part in sorted(folder.iterdir()):
        match = PART.fullmatch(part.name)
        if match is None or match["suffix"].lower() not in VIDEO_SUFFIXES or not part.is_file() or part.is_symlink():
            continue
        with contextlib.suppress(OSError):
            file = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                size = os.fstat(file).st_size
                if not size or not _lock(file):
                    continue
                name = free_name(folder / f"{match['stem']}.recovered{match['suffix']}")
                os.replace(part, name)
            finally:
                os.close(file)
            logger.warning("%s: a run that was killed left %d bytes of video; they are %s now", folder, size, name)
            recovered.append(name)
    return recovered


def _lock(file: int) -> bool:
    """Lock an open file; return whether nobody else holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
