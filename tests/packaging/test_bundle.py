"""`aerocam bundle`: what is in the folder, that it is whole or not there, and that it runs where nothing else is."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

import cv2
import numpy as np
import pytest

import aerocam
from aerocam.bundle import TARGETS, find_target, make_bundle, wheels
from aerocam.bundle.targets import NEVER_ON_A_JETSON
from aerocam.bundle.wheels import own_wheel
from aerocam.errors import ManifestError, ModelError, PipError, UsageError
from aerocam.manifest import Manifest
from aerocam.runtime import Explainer, read_picture
from bundles import HERE, without_index
from checkout import DATA, GOLDEN, INSTALLED
from runtime_fixtures import noise, run_cli
from tiny_models import model

JETSONS = [name for name, target in TARGETS.items() if target.jetson]


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels that are empty, and come from nowhere."""
    without_index(monkeypatch)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in three files."""
    from onnx_graphs import saved
    from small_networks import cnn

    folder = tmp_path_factory.mktemp("split")
    plain = saved(folder, cnn())
    assert run_cli("export", plain, "--packaging", "split", "--batch", "4", "-q") == 0
    return folder / f"{plain.stem}.cam.onnx"


@pytest.mark.usefixtures("no_index")
def test_what_is_in_it(tmp_path: Path) -> None:
    out = tmp_path / "flight"
    done = make_bundle(model("stretch"), out, find_target("jetson-jp6"))
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    own = f"wheels/aerocam-{aerocam.__version__}-py3-none-any.whl"
    assert files == {
        "README.txt", "SHA256SUMS", "bundle.json", "model/manifest.json", "model/stretch.onnx", "requirements.txt",
        "start.sh", own, "wheels/numpy-1.26.4-py3-none-any.whl", "wheels/pip-25.0-py3-none-any.whl",
    }  # fmt: skip
    assert (out / "model/stretch.onnx").read_bytes() == model("stretch").read_bytes()
    assert (out / "requirements.txt").read_text() == f"aerocam=={aerocam.__version__}\nnumpy==1.26.4\n"
    manifest = Manifest.from_json((out / "model/manifest.json").read_text(), "manifest.json")
    assert manifest.labels == ("red", "green", "blue", "darkness")
    record = json.loads((out / "bundle.json").read_text())
    assert (record["platform"], record["python"], record["machine"]) == ("jetson-jp6", "3.10", "aarch64")
    assert "TensorRT" in record["from the system"]
    assert os.access(out / "start.sh", os.X_OK)
    assert done.size == sum((out / name).stat().st_size for name in files)
    assert done.packages == {"numpy": "1.26.4", "aerocam": aerocam.__version__}


@pytest.mark.usefixtures("no_index")
def test_checksums_cover_every_other_file_and_find_a_change(tmp_path: Path) -> None:
    out = tmp_path / "flight"
    make_bundle(model("stretch"), out, find_target("jetson-jp7"))
    command = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=out, check=False).returncode == 0
    named = {line.split("  ")[1] for line in (out / "SHA256SUMS").read_text().splitlines()}
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert named == there - {"SHA256SUMS"}
    with (out / "model/stretch.onnx").open("ab") as file:
        file.write(b"\0")
    assert subprocess.run(command, cwd=out, capture_output=True, check=False).returncode == 1
    started = subprocess.run(["sh", "start.sh"], cwd=out, capture_output=True, text=True, check=False)
    assert started.returncode != 0
    assert "stretch.onnx: FAILED" in started.stdout
    assert not (out / "venv").exists()


@pytest.mark.usefixtures("no_index")
def test_a_split_model_goes_with_all_its_files(tmp_path: Path, split: Path) -> None:
    names = sorted(path.name for path in split.parent.glob("*.cam*.onnx"))
    assert len(names) == 3
    make_bundle(split, tmp_path / "out", HERE)
    assert sorted(path.name for path in (tmp_path / "out/model").glob("*.onnx")) == names
    other = next(name for name in names if "explain" in name)
    with pytest.raises(UsageError, match="it explains only; give the file beside it"):
        make_bundle(split.with_name(other), tmp_path / "other", HERE)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / split.name).write_bytes(split.read_bytes())
    with pytest.raises(ModelError, match=f"{re.escape(other)}: there is no such file"):
        make_bundle(alone / split.name, tmp_path / "another", HERE)


@pytest.mark.usefixtures("no_index")
def test_one_file(tmp_path: Path) -> None:
    done = make_bundle(model("stretch"), tmp_path / "flight", HERE, tar=True)
    assert done.path == tmp_path / "flight.tar"
    assert [path.name for path in tmp_path.iterdir()] == ["flight.tar"]
    with tarfile.open(done.path) as archive:
        assert archive.getmember("flight/start.sh").mode & 0o111
        assert archive.extractfile("flight/model/stretch.onnx").read() == model("stretch").read_bytes()


@pytest.mark.usefixtures("no_index")
def test_nothing_is_overwritten_and_nothing_is_left_by_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="kept: it is there already"):
        make_bundle(model("stretch"), kept, HERE)
    (tmp_path / "empty").mkdir()
    assert make_bundle(model("stretch"), tmp_path / "empty", HERE).path.is_dir()

    def fail(*_: object) -> None:
        raise PipError("no network")

    monkeypatch.setattr(wheels, "fetch", fail)
    with pytest.raises(PipError):
        make_bundle(model("stretch"), tmp_path / "half", HERE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "kept"]


@pytest.mark.usefixtures("no_index")
def test_without_wheels_only_aerocams_own_goes_along(tmp_path: Path) -> None:
    make_bundle(model("stretch"), tmp_path / "out", HERE, with_wheels=False)
    assert [path.name.split("-")[0] for path in (tmp_path / "out/wheels").iterdir()] == ["aerocam"]
    assert "--no-index" not in (tmp_path / "out/start.sh").read_text()
    assert "numpy==1.26.4" in (tmp_path / "out/requirements.txt").read_text()


def test_calls_that_cannot_be_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run_cli("bundle", model("stretch"), "-o", out, "--platform", "jetson-jp8") == 2
    assert "Did you mean 'jetson-jp7'" in capsys.readouterr().err
    assert run_cli("bundle", model("stretch"), "-o", out, "--python", "3.12") == 2
    assert "jetson-jp6 has Python 3.10" in capsys.readouterr().err
    assert run_cli("bundle", model("stretch"), "-o", out, "--platform", "linux-x86_64", "--python", "2.7") == 2
    with pytest.raises(ManifestError, match="it carries no aerocam manifest"):
        make_bundle(GOLDEN / "input/network.onnx", out, HERE)
    assert find_target("linux-x86_64", "3.10").python == (3, 10)
    assert not out.exists()


@pytest.mark.usefixtures("no_index")
def test_one_file_is_named_tar_once(tmp_path: Path) -> None:
    done = make_bundle(model("stretch"), tmp_path / "flight.tar", HERE, tar=True)
    assert done.path == tmp_path / "flight.tar"
    with tarfile.open(done.path) as archive:
        assert archive.getmember("flight/start.sh").mode & 0o111


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.usefixtures("no_index")
def test_the_script_is_one_that_a_shell_reads(name: str, tmp_path: Path) -> None:
    make_bundle(model("stretch"), tmp_path / "out", find_target(name))
    script = tmp_path / "out/start.sh"
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    assert ("--system-site-packages" in script.read_text()) == find_target(name).jetson
    text = (tmp_path / "out/README.txt").read_text()
    assert "$" not in text
    assert ("JetPack" in text) == find_target(name).jetson


def test_its_own_wheel_has_every_module_and_is_what_pip_expects() -> None:
    name, content = own_wheel()
    info = f"aerocam-{aerocam.__version__}.dist-info"
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        names = wheel.namelist()
        assert {name for name in names if not name.startswith(info)} == INSTALLED | DATA
        assert f"Version: {aerocam.__version__}" in wheel.read(f"{info}/METADATA").decode()
        assert "aerocam = aerocam.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
        rows = list(csv.reader(wheel.read(f"{info}/RECORD").decode().splitlines()))
        assert [row[0] for row in rows] == names
        for path, digest, size in rows[:-1]:
            data = wheel.read(path)
            expected = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={expected}", len(data))
    assert own_wheel() == (name, content)


def test_its_own_wheel_from_a_source_tree_with_an_egg_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which setuptools leaves there, and Python finds before what pip installed."""
    info = tmp_path / "aerocam.egg-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: aerocam\nVersion: {aerocam.__version__}\n"
    (info / "PKG-INFO").write_text(metadata)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match=r"its installation has no entry_points\.txt; run: pip install"):
        own_wheel()
    (info / "entry_points.txt").write_text("[console_scripts]\naerocam = aerocam.cli:main\n")
    with zipfile.ZipFile(io.BytesIO(own_wheel()[1])) as wheel:
        assert wheel.read(f"aerocam-{aerocam.__version__}.dist-info/METADATA").decode() == metadata
    (info / "PKG-INFO").write_text(metadata.replace(aerocam.__version__, "0.0.1"))
    with pytest.raises(UsageError, match=r"version .* runs, pip installed 0\.0\.1"):
        own_wheel()


@pytest.mark.slow
@pytest.mark.parametrize("name", JETSONS)
def test_a_jetsons_wheels_are_to_be_had(name: str) -> None:
    """The index has wheels for its processor and Python; none of them is JetPack's own business."""
    versions = wheels.resolve(find_target(name))
    assert {"numpy", "scikit-learn", "cuda-python", "pip"} <= set(versions)
    assert not [package for package in versions if NEVER_ON_A_JETSON.search(package)]
    assert versions["numpy"].startswith("1.")
    assert versions["cuda-python"].startswith("12.6" if name == "jetson-jp6" else "13.0")


def test_pips_own_words_when_there_are_no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PipError, match="pip says: Could not find a version that satisfies the requirement numpy"):
        wheels.resolve(HERE)


@pytest.mark.slow
def test_it_explains_a_picture_where_nothing_else_is(tmp_path: Path) -> None:
    """In an environment of its own, without the system's packages, an index or aerocam's sources."""
    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), noise((64, 96)))
    out = make_bundle(model("stretch"), tmp_path / "flight", HERE).path
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_NO_COMPILE": "1",
        "PYTHON": sys.executable,
        "AEROCAM_VENV": str(tmp_path / "venv"),
    }
    command = ["sh", str(out / "start.sh"), "explain", str(picture), "-o", str(tmp_path / "results")]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "environment     virtual environment, does not see the system's" in done.stdout
    with Explainer(model("stretch")) as explainer:
        expected = explainer(read_picture(picture))
    np.testing.assert_allclose(np.load(tmp_path / "results/picture.cam.npy"), expected.raws[0], rtol=1e-5, atol=1e-7)
    assert json.loads((tmp_path / "results/picture.cam.json").read_text())["targets"][0]["label"] == (
        expected.target.label
    )
    same = tmp_path / "same.onnx"
    same.write_bytes(model("stretch").read_bytes())
    check = ["sh", str(out / "start.sh"), "check", str(same), "--iterations", "4", "-q"]
    checked = subprocess.run(check, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert json.loads(next(tmp_path.glob("aerocam-device-*.json")).read_text())["verdict"] == "agrees"
    code = (
        "import sys, aerocam; from aerocam.bundle.wheels import own_wheel; sys.stdout.buffer.write(own_wheel()[1])\n"
        "assert 'venv' in aerocam.__file__, aerocam.__file__"
    )
    again = subprocess.run([tmp_path / "venv/bin/python", "-c", code], env=environment, capture_output=True, check=True)
    with zipfile.ZipFile(io.BytesIO(again.stdout)) as ours, zipfile.ZipFile(io.BytesIO(own_wheel()[1])) as source:
        assert {name: ours.read(name) for name in ours.namelist()} == {
            name: source.read(name) for name in source.namelist()
        }
