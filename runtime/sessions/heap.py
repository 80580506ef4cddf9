"""glibc's heap while a model loads.

Loading frees several large blocks: the file as read, weights that were repacked. By default glibc answers the first of
them by keeping all later ones of that size in its heap, where holes are left between them, and the process never gives
them back. Here blocks from 128 KiB on are mapped while a model loads, so that each goes back to the system as it is
freed; afterwards the thresholds are where glibc's own adaptation ends, so that frames and maps are reused and not
mapped anew. A process with EfficientNet-Lite0 peaked at 127 MB after thirty frames, instead of 143 to 148.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""glibc's names for `mallopt`'s parameters (malloc.h)."""

SMALL, LARGE = 128 << 10, 32 << 20
"""glibc's threshold at the start and the end of its adaptation, bytes."""


@contextlib.contextmanager
def blocks_given_back() -> Iterator[None]:
    """Map large blocks while this lasts; nothing happens where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(MMAP_THRESHOLD, SMALL)
    try:
        yield
    finally:
        mallopt(MMAP_THRESHOLD, LARGE)
        mallopt(TRIM_THRESHOLD, 2 * LARGE)
