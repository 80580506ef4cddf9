"""What several tests of the device side need: pictures with known content, videos, and the command line."""

from __future__ import annotations

import dataclasses
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from aerocam import cli
from aerocam.runtime import Explanation

RUN = "import sys; from aerocam import cli; sys.exit(cli.main(sys.argv[1:]))"
"""The command line as a program."""

EVIL = "<script>alert('\"&')</script>"
"""A class name that is no markup."""


def picture(size: tuple[int, int], square: tuple[int, int, int, int], channel: int = 2) -> np.ndarray:
    """A black BGR frame with a bright square (top, left, bottom, right) in one channel, red by default."""
    frame = np.zeros((*size, 3), np.uint8)
    top, left, bottom, right = square
    frame[top:bottom, left:right, channel] = 255
    return frame


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A BGR frame of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float = 20.0) -> Path:
    """A Motion JPEG file, written without aerocam."""
    frames = list(frames)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def moving_square(count: int, size: tuple[int, int] = (64, 96)) -> list[np.ndarray]:
    """Frames with a red square that moves right by 4 px a frame, round and round."""
    lefts = [4 * number % (size[1] - 16) for number in range(count)]
    return [picture(size, (16, left, 32, left + 16)) for left in lefts]


def read_video(path: Path) -> list[np.ndarray]:
    """All frames of a video, read without aerocam."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        good, frame = capture.read()
        if not good:
            return frames
        frames.append(frame)


def run_cli(*arguments: object) -> int:
    """Run the command line in this process; its exit code."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as error:
        return int(error.code or 0)


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def renamed(explanation: Explanation, label: str) -> Explanation:
    """With this name in place of every class's."""
    targets = [dataclasses.replace(one, label=label) for one in explanation.targets]
    classes = [dataclasses.replace(one, label=label) for one in explanation.classes]
    prediction = dataclasses.replace(explanation.prediction, classes=classes)
    maps = dataclasses.replace(explanation.maps, targets=targets)
    return dataclasses.replace(explanation, prediction=prediction, maps=maps, warnings=[f"beware of {label}"])


@contextmanager
def most_in_a_file(size: int) -> Iterator[None]:
    """Let no file grow over a size, as a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
