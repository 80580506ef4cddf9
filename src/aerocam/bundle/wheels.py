"""Wheels for another machine: those that pip finds and fetches, and that of the package itself.

pip judges conditions in requirements (`; python_version < "3.11"`) by the Python it runs in. Of the packages here none
has one that matters; a bundle for another Python is best made with that Python.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import aerocam
from aerocam.bundle.targets import NEVER_ON_A_JETSON, Target
from aerocam.errors import PipError, UsageError

PIP = "pip"
"""pip itself goes along too: a device's Python may have none, and no network to get it from."""


def resolve(target: Target) -> dict[str, str]:
    """Ask the package index for the versions of all packages that a machine needs, by name in lower case.

    Raises:
        PipError: No packages fit the machine, or no index answers.
        UsageError: The requirements would bring packages that a Jetson has from JetPack.
    """
    with tempfile.TemporaryDirectory(prefix="aerocam-bundle-") as folder:
        report = Path(folder) / "report.json"
        where = ["--dry-run", "--ignore-installed", "--target", folder, "--report", str(report)]
        _pip(["install", *where, *_for(target), *target.requirements, PIP], target)
        packages = json.loads(report.read_text(encoding="utf-8"))["install"]
    versions = {
        package["metadata"]["name"].lower().replace("_", "-"): package["metadata"]["version"] for package in packages
    }
    wrong = sorted(name for name in versions if target.jetson and NEVER_ON_A_JETSON.search(name))
    if wrong:
        raise UsageError(
            f"--platform {target.name}: its packages would bring {', '.join(wrong)}, which JetPack has; report this"
        )
    return dict(sorted(versions.items()))


def fetch(target: Target, versions: dict[str, str], folder: Path) -> None:
    """Put the wheels of these versions into a folder.

    Raises:
        PipError: A wheel cannot be fetched.
    """
    pinned = [f"{name}=={version}" for name, version in versions.items()]
    _pip(["download", "--no-deps", "--dest", str(folder), *_for(target), *pinned], target)


def _for(target: Target) -> list[str]:
    """Return the options that describe a machine to pip."""
    tags = [option for tag in target.tags for option in ("--platform", tag)]
    return ["--only-binary=:all:", "--python-version", target.python_text, "--implementation", "cp", *tags]


def _pip(arguments: list[str], target: Target) -> None:
    """Run pip; where it fails, the error repeats its own words."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    with tempfile.TemporaryDirectory(prefix="aerocam-bundle-") as folder:  # what a pip that is killed leaves goes too
        environment = {**os.environ, "TMPDIR": folder}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        said = " ".join(line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR"))
        raise PipError(
            f"wheels for {target.name}, Python {target.python_text}: pip says: {said or ' '.join(lines[-1:])};"
            " is there a network, and an index with these packages? --no-wheels fetches none, but asks for versions"
        )


SUFFIXES = (".py", ".typed", ".json")
"""Suffixes of the package's files."""

NOT_INSTALLED = "benchmarks/studies/"
"""The part of the source tree that no wheel has, as pyproject.toml says of the wheel that pip builds."""

METADATA = {
    "METADATA": ("METADATA", "PKG-INFO"),  # the second where setuptools left an egg-info in the source tree
    "entry_points.txt": ("entry_points.txt",),
    "licenses/LICENSE": ("licenses/LICENSE", "LICENSE"),
}
"""Files of pip's metadata that are copied, and the names that each may have there."""

NEEDED = ("METADATA", "entry_points.txt")
"""Files without which pip installs no wheel, or no command."""

INSTALL = "pip install --no-deps -e . in the source tree that runs"
WHEEL = "Wheel-Version: 1.0\nGenerator: aerocam bundle\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
DATE = (2020, 1, 1, 0, 0, 0)
"""Date of every entry, so that the same package gives the same wheel."""


def own_wheel() -> tuple[str, bytes]:
    """Make aerocam's own wheel: its file name and its content.

    Raises:
        UsageError: aerocam was not installed by pip, or its installed version is not the one that runs.
    """
    version = aerocam.__version__
    info = f"aerocam-{version}.dist-info"
    entries = {f"aerocam/{name}": content for name, content in _code(Path(aerocam.__file__).parent).items()}
    entries |= {f"{info}/{name}": content for name, content in _metadata(version).items()}
    entries[f"{info}/WHEEL"] = WHEEL.encode()
    entries[f"{info}/RECORD"] = _record(entries, f"{info}/RECORD")
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    return f"aerocam-{version}-py3-none-any.whl", written.getvalue()


def _code(package: Path) -> dict[str, bytes]:
    """Read the package's files by their path in it; in a source tree, some of its folders are links elsewhere."""
    contents = {}
    for folder in (package, *(path for path in package.iterdir() if path.is_symlink() and path.is_dir())):
        inside = "" if folder == package else f"{folder.name}/"
        root = folder.resolve()
        for path in root.rglob("*"):
            name = inside + path.relative_to(root).as_posix()
            if path.suffix in SUFFIXES and path.is_file() and not name.startswith(NOT_INSTALLED):
                contents[name] = path.read_bytes()
    return dict(sorted(contents.items()))


def _metadata(version: str) -> dict[str, bytes]:
    """Read the metadata that pip wrote for this version."""
    try:
        installed = importlib.metadata.distribution("aerocam")
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError(
            f"aerocam: it runs without being installed, so there is no metadata for its wheel; run: {INSTALL}"
        ) from error
    if installed.version != version:
        raise UsageError(f"aerocam: version {version} runs, pip installed {installed.version}; run: {INSTALL}")
    texts = {name: next(filter(None, map(installed.read_text, names)), None) for name, names in METADATA.items()}
    absent = [name for name in NEEDED if texts[name] is None]
    if absent:
        raise UsageError(f"aerocam: its installation has no {' and no '.join(absent)}; run: {INSTALL}")
    return {name: text.encode() for name, text in texts.items() if text is not None}


def _record(entries: dict[str, bytes], own: str) -> bytes:
    """Return the checksums of all entries, as pip checks them."""
    lines = []
    for name, content in entries.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join([*lines, f"{own},,\n"]).encode()
