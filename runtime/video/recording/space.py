"""Room on the disk: a floor that recording leaves free, and a most that it takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from aerocam.errors import MediaError
from aerocam.runtime.video.recording.part import numbered

FLOOR = 50_000_000
"""What stays free on the disk, bytes: records, logs and the system go on."""


@dataclass(frozen=True)
class Space:
    """Says how much of a disk videos may take.

    Attributes:
        floor: What stays free, bytes.
        keep: What all segments of a name take together, bytes, those of earlier runs included; the oldest go. None: no
            limit.
    """

    floor: int = FLOOR
    keep: int | None = None

    def make(self, path: Path, growing: int) -> None:
        """Remove what is too much, and make sure that the floor is free.

        Args:
            path: What segments are named after.
            growing: Size of the one that is being written, bytes.

        Raises:
            MediaError: Less is free than the floor.
        """
        if self.keep is not None:
            segments = [(file, file.stat().st_size) for file, _ in numbered(path)]
            total = growing + sum(size for _, size in segments)
            for file, size in segments:
                if total <= self.keep:
                    break
                file.unlink(missing_ok=True)
                total -= size
        disk = os.statvfs(path.parent)
        free = disk.f_bavail * disk.f_frsize
        if free < self.floor:
            raise MediaError(
                f"{path}: {free / 1e6:.3g} MB are free in {path.parent}, expected at least"
                f" {self.floor / 1e6:.3g} MB; make room, or set `floor`"
            )
