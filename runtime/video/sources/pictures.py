"""Reads pictures in order: those of a folder, of a pattern such as `frames/*.png`, of a sequence such as `%04d.png`."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from aerocam.errors import MediaError
from aerocam.runtime.frames.pictures import read_picture
from aerocam.runtime.video.sources.protocol import DAMAGED, Picture

logger = logging.getLogger(__name__)


class PictureReader:
    """Reads picture files as the frames of a video; see `Reader`. One that cannot be decoded counts as damaged."""

    live = False

    def __init__(self, paths: Sequence[str], fps: float) -> None:
        """Take the files, in order.

        Args:
            paths: The files.
            fps: Frames per second: pictures say none.
        """
        self.fps, self.count = fps, len(paths)
        self._paths = iter(paths)

    def read(self) -> Picture | None:
        """Return the next picture."""
        if (path := next(self._paths, None)) is None:
            return None
        try:
            return Picture(read_picture(path))
        except MediaError as error:
            logger.warning("%s", error)
            return DAMAGED

    def close(self) -> None:
        """Do nothing: no file is kept open."""
