"""Bundles for this machine, and wheels that come from nowhere."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from aerocam.bundle import wheels
from aerocam.bundle.targets import TARGETS

HERE = TARGETS[f"linux-{platform.machine()}"]
VERSIONS = {"numpy": "1.26.4", "pip": "25.0"}


def without_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make wheels empty, and come from nowhere."""

    def fetch(target: object, versions: dict[str, str], folder: Path) -> None:
        for name, version in versions.items():
            (folder / f"{name}-{version}-py3-none-any.whl").write_bytes(b"a wheel")

    monkeypatch.setattr(wheels, "resolve", lambda target: dict(VERSIONS))
    monkeypatch.setattr(wheels, "fetch", fetch)
