"""The bundle's folder: put together beside its place, and moved there when it is whole."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aerocam import __version__
from aerocam.bundle import wheels
from aerocam.bundle.targets import Target
from aerocam.bundle.texts import Facts, readme, start_script
from aerocam.bundle.wheels import own_wheel
from aerocam.errors import ModelError, UsageError, WriteError
from aerocam.files import beside, make_folder, part_name, sha256
from aerocam.manifest import Manifest
from aerocam.onnx_metadata import read_manifest

SAFE = re.compile(r"[\w.+-]+", re.ASCII)
"""File names that a shell takes as they are."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was made.

    Attributes:
        path: The folder, or the one file.
        target: The kind of machine that it is for.
        model: File names of the model.
        packages: What pip installs on the device: versions by name.
        size: Size of all its files, bytes.
    """

    path: Path
    target: Target
    model: tuple[str, ...]
    packages: Mapping[str, str]
    size: int


def make_bundle(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    target: Target,
    *,
    with_wheels: bool = True,
    tar: bool = False,
) -> Bundle:
    """Make a bundle, whole or not at all.

    Args:
        model: Written by `aerocam export`: of a split one the file that runs on every frame.
        out: The folder to make; it must not exist, or be empty.
        target: The kind of machine.
        with_wheels: Whether wheels go along; without, the device needs a network. Versions are asked for all the same.
        tar: One file, `out` with .tar behind it (once), in place of the folder.

    Raises:
        UsageError: `out` exists already, or the model's name needs quoting in a shell.
        ModelError: A file of the model is absent.
        PipError: pip finds no wheels that fit.
        WriteError: A file cannot be written.
    """
    path = Path(out)
    if tar and path.suffix == ".tar":
        path = path.with_suffix("")
    place = path.with_name(f"{path.name}.tar") if tar else path
    _refuse(place)
    files, manifest = model_files(Path(model))
    packages = wheels.resolve(target)
    make_folder(path.parent)
    part = part_name(path)
    try:
        _fill(part, files, manifest, target, packages, with_wheels)
        _write_checksums(part)
        size = sum(file.stat().st_size for file in part.rglob("*") if file.is_file())
        _put(part, path, place)
    except OSError as error:
        raise WriteError(f"{place}: cannot write it: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Bundle(place, target, tuple(file.name for file in files), _installed(packages), size)


def model_files(model: Path) -> tuple[list[Path], Manifest]:
    """Return all files of a model, the one that runs on every frame first, and its manifest.

    Raises:
        UsageError: The model is the half that explains, or a file's name needs quoting in a shell.
        ModelError: A file of the model is absent.
        ManifestError: The model was not exported by aerocam.
    """
    manifest, files = read_manifest(model), [model]
    if manifest.split is not None:
        others = [name for name in (manifest.split.explain, manifest.split.tail) if name is not None]
        if model.name in others:
            raise UsageError(f"{model}: it explains only; give the file beside it that runs on every frame")
        files += [beside(model, name) for name in others]
    for file in files:
        if not file.is_file():
            raise ModelError(f"{file}: there is no such file, and {model.name} needs it beside it; export it again")
        if SAFE.fullmatch(file.name) is None:
            raise UsageError(f"{file.name}: letters, digits and . _ + - are expected in a name; rename it by exporting")
    return files, manifest


def _refuse(place: Path) -> None:
    """Raise UsageError unless the place is free, or an empty folder."""
    if place.is_dir() and not any(place.iterdir()):
        return
    if place.exists() or place.is_symlink():
        raise UsageError(f"{place}: it is there already; remove it, or give another name")


def _fill(
    part: Path, files: list[Path], manifest: Manifest, target: Target, packages: Mapping[str, str], with_wheels: bool
) -> None:
    """Write all files but the checksums."""
    part.mkdir()
    (part / "model").mkdir()
    (part / "wheels").mkdir()
    for file in files:
        shutil.copyfile(file, part / "model" / file.name)
    name, content = own_wheel()
    (part / "wheels" / name).write_bytes(content)
    if with_wheels:
        wheels.fetch(target, dict(packages), part / "wheels")
    pip = f"pip-{packages[wheels.PIP]}-py3-none-any.whl"
    facts = Facts(target, files[0].name, manifest.task, __version__, with_wheels, pip)
    installed = _installed(packages)
    texts = {
        "model/manifest.json": _json(dataclasses.asdict(manifest)),
        "requirements.txt": "".join(f"{name}=={version}\n" for name, version in installed.items()),
        "start.sh": start_script(facts),
        "README.txt": readme(facts),
        "bundle.json": _json(_record(target, files, installed)),
    }
    for name, text in texts.items():
        (part / name).write_text(text, encoding="utf-8")
    (part / "start.sh").chmod(0o755)


def _installed(packages: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of what is installed on the device: aerocam too, but not pip, which installs it."""
    versions = {name: version for name, version in packages.items() if name != wheels.PIP} | {"aerocam": __version__}
    return dict(sorted(versions.items()))


def _record(target: Target, files: list[Path], installed: Mapping[str, str]) -> dict[str, object]:
    """Describe the bundle for programs."""
    return {
        "aerocam": __version__,
        "platform": target.name,
        "python": target.python_text,
        "machine": target.machine,
        "model": [file.name for file in files],
        "packages": dict(installed),
        "from the system": dict(target.system),
    }


def _json(data: object) -> str:
    """Return JSON with indentation, for people."""
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def _write_checksums(part: Path) -> None:
    """Write the SHA-256 of every file, as `sha256sum --check` takes it."""
    names = sorted(file.relative_to(part).as_posix() for file in part.rglob("*") if file.is_file())
    text = "".join(f"{sha256(part / name)}  {name}\n" for name in names)
    (part / "SHA256SUMS").write_text(text, encoding="utf-8")


def _put(part: Path, path: Path, place: Path) -> None:
    """Move the folder to its place, or pack it into one file there."""
    if place == path:
        os.replace(part, place)  # takes the place of an empty folder too
        return
    packed = part_name(place)
    try:
        with tarfile.open(packed, "x") as archive:
            archive.add(part, arcname=path.name)
        os.replace(packed, place)
    finally:
        packed.unlink(missing_ok=True)
