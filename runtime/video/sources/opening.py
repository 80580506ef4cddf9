"""Which reader reads what."""

from __future__ import annotations

import importlib.util

from aerocam.errors import MediaError
from aerocam.runtime.frames.picture_files import find_pictures
from aerocam.runtime.video.sources.address import Address, sequence_of
from aerocam.runtime.video.sources.opencv import OpencvReader
from aerocam.runtime.video.sources.pictures import PictureReader
from aerocam.runtime.video.sources.pipe import PipeReader
from aerocam.runtime.video.sources.protocol import Reader


def open_reader(address: Address, timeout: float, fps: float) -> Reader:
    """Open a source: files and URLs by PyAV where it is installed, else by OpenCV.

    Args:
        address: What to open.
        timeout: How long opening and one read may take, s, as far as the reader can be told.
        fps: Frames per second of pictures.

    Raises:
        MediaError: It is absent or cannot be opened.
        UsageError: A folder or a pattern without pictures.
    """
    if address.kind == "absent":
        raise MediaError(
            f"{address.name}: there is no such video; expected a file, a folder or pattern of pictures, - for standard"
            " input, a camera's index, a URL or a pipeline"
        )
    if address.kind == "stdin":
        return PipeReader(address)
    if address.kind == "pictures":
        return PictureReader(sequence_of(address.text) or find_pictures([address.text]), fps)
    if address.kind in ("file", "url") and importlib.util.find_spec("av") is not None:
        from aerocam.runtime.video.sources.pyav import AvReader

        return AvReader(address, timeout)
    return OpencvReader(address, timeout)
