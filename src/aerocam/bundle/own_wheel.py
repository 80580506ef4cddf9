"""aerocam itself as a wheel, from wherever it is imported.

The package's files as they are imported, and the metadata that pip wrote when it was installed, are packed anew. That
is one way for a wheel, an editable install and a source tree alike; it needs no build tools and no network, and leaves
nothing in the source tree. aerocam has no compiled parts.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import zipfile
from pathlib import Path

import aerocam
from aerocam.errors import UsageError

SUFFIXES = (".py", ".typed")
"""Of the package's files."""

METADATA = {
    "METADATA": ("METADATA", "PKG-INFO"),  # the second where setuptools left an egg-info in the source tree
    "entry_points.txt": ("entry_points.txt",),
    "licenses/LICENSE": ("licenses/LICENSE", "LICENSE"),
}
"""What is taken over of what pip wrote, and the names that it may have there."""

NEEDED = ("METADATA", "entry_points.txt")
"""Without these pip installs no wheel, or no command."""

INSTALL = "pip install --no-deps -e . in the source tree that runs"
WHEEL = "Wheel-Version: 1.0\nGenerator: aerocam bundle\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
DATE = (2020, 1, 1, 0, 0, 0)
"""Of every entry, so that the same package gives the same wheel."""


def own_wheel() -> tuple[str, bytes]:
    """File name and content of the wheel.

    Raises:
        UsageError: aerocam was not installed by pip, or another version was than the one that runs.
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
    """The package's files by their path in it; in a source tree, halves are links to folders elsewhere."""
    found = {}
    for folder in (package, *(path for path in package.iterdir() if path.is_symlink() and path.is_dir())):
        inside = "" if folder == package else f"{folder.name}/"
        root = folder.resolve()
        for path in root.rglob("*"):
            if path.suffix in SUFFIXES and path.is_file() and "__pycache__" not in path.parts:
                found[inside + path.relative_to(root).as_posix()] = path.read_bytes()
    return dict(sorted(found.items()))


def _metadata(version: str) -> dict[str, bytes]:
    """What pip wrote of this version."""
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
    """Checksums of all entries, as pip checks them."""
    lines = []
    for name, content in entries.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join([*lines, f"{own},,\n"]).encode()
