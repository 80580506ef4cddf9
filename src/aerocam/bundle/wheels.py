"""Wheels for another machine, found and fetched by pip.

pip judges conditions in requirements (`; python_version < "3.11"`) by the Python it runs in. Of the packages here none
has one that matters; a bundle for another Python is best made with that Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from aerocam.bundle.targets import NEVER_ON_A_JETSON, Target
from aerocam.errors import PipError, UsageError

PIP = "pip"
"""Goes along too: a device's Python may have none, and no network to get it from."""


def resolve(target: Target) -> dict[str, str]:
    """Versions of all packages that a machine needs, by name in lower case; asks the package index.

    Raises:
        PipError: There are none that fit, or no index answers.
        UsageError: What is asked for would bring what a Jetson has of its own.
    """
    with tempfile.TemporaryDirectory(prefix="aerocam-bundle-") as folder:
        report = Path(folder) / "report.json"
        where = ["--dry-run", "--ignore-installed", "--target", folder, "--report", str(report)]
        _pip(["install", *where, *_for(target), *target.requirements, PIP], target)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    versions = {one["metadata"]["name"].lower().replace("_", "-"): one["metadata"]["version"] for one in found}
    wrong = sorted(name for name in versions if target.jetson and NEVER_ON_A_JETSON.search(name))
    if wrong:
        raise UsageError(
            f"--platform {target.name}: its packages would bring {', '.join(wrong)}, which JetPack has; report this"
        )
    return dict(sorted(versions.items()))


def fetch(target: Target, versions: dict[str, str], folder: Path) -> None:
    """Put the wheels of these versions into a folder.

    Raises:
        PipError: One cannot be had.
    """
    pinned = [f"{name}=={version}" for name, version in versions.items()]
    _pip(["download", "--no-deps", "--dest", str(folder), *_for(target), *pinned], target)


def _for(target: Target) -> list[str]:
    """What tells pip about a machine."""
    tags = [option for tag in target.tags for option in ("--platform", tag)]
    return ["--only-binary=:all:", "--python-version", target.python_text, "--implementation", "cp", *tags]


def _pip(arguments: list[str], target: Target) -> None:
    """Run pip; its own words where it fails."""
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
