"""The real packages, pinned, fetched once into the cache: `python tests/helpers/bindings/packages.py`.

Nothing is installed. They need no GPU for being asked what they have.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PINS = {
    "tensorrt-10.3": ("tensorrt-cu12-bindings==10.3.0",),
    "tensorrt-10.13": ("tensorrt-cu12-bindings==10.13.3.9",),
    "tensorrt-11.4": ("tensorrt-cu12-bindings==11.4.0.106",),
    "tensorrt_rtx-1.7": ("tensorrt-rtx-cu12-bindings==1.7.1.116",),
    "cuda-python-12": ("cuda-bindings==12.9.10", "cuda-pathfinder==1.9.0"),
    "cuda-python-13": ("cuda-bindings==13.0.3", "cuda-pathfinder==1.9.0"),
    "pycuda": ("pycuda==2026.1",),
}
"""What is asked of each; JetPack 6 has TensorRT 10.3 and CUDA 12, JetPack 7 has 10.13 and CUDA 13."""

SOURCE_ONLY = "pycuda"
NONE_FITS = "No matching distribution found"
"""pip's words where there is no wheel for this Python."""


def folder(name: str) -> Path:
    """Where a package lies, unpacked; of one that has no wheel for this Python there is `folder(name) / "absent"`."""
    cache = Path(os.environ.get("AEROCAM_CACHE") or Path(__file__).parents[3] / ".cache")
    python = "{}{}".format(*sys.version_info)
    return cache / "bindings" / f"python{python}" / name


def fetch(name: str) -> Path:
    """Bring a package into the cache, unless it is there.

    Raises:
        SystemExit: pip failed.
    """
    there = folder(name)
    if there.exists():
        return there
    there.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=there.parent) as room:
        arrived, unpacked = Path(room, "arrived"), Path(room, "unpacked")
        unpacked.mkdir()
        if not _download(PINS[name], arrived):
            (unpacked / "absent").touch()
        for file in arrived.glob("*"):
            if file.suffix == ".whl":
                with zipfile.ZipFile(file) as wheel:
                    wheel.extractall(unpacked)
            else:
                with tarfile.open(file) as source:
                    source.extractall(unpacked)
        os.replace(unpacked, there)
    return there


def _download(pins: tuple[str, ...], into: Path) -> bool:
    """Let pip fetch them; False where there is none for this Python.

    pycuda has no wheels: its source is read. pip asks that for its metadata, with what is installed here.
    """
    options = ["--quiet", "--no-input", "--no-deps", "--disable-pip-version-check", "--dest", str(into)]
    source = any(pin.startswith(SOURCE_ONLY) for pin in pins)
    options += ["--no-binary", SOURCE_ONLY, "--no-build-isolation"] if source else ["--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", *options, *pins]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode and NONE_FITS in done.stderr:
        return False
    if done.returncode:
        raise SystemExit(f"cannot fetch {', '.join(pins)}, which takes the network once: {done.stderr.strip()}")
    return True


if __name__ == "__main__":
    for each in PINS:
        print(fetch(each))
