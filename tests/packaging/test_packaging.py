"""What is importable, what importing costs, and what the wheel and the source distribution contain."""

import ast
import importlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import resources
from pathlib import Path

import pytest

import aerocam
from checkout import DATA, HALVES, INSTALLED, MODULES, ROOT

SHARED = ("__init__", "cfcam_config", "decoding", "errors", "files", "geometry", "manifest", "methods",
          "onnx_metadata", "options", "progress", "providers")  # fmt: skip


def python(code, *flags, cwd="/"):
    """Run code in a fresh interpreter outside the checkout; its standard output."""
    result = subprocess.run([sys.executable, *flags, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def imports(path):
    """Names of the modules that a source file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_nothing_but_aerocam_is_importable():
    found = "import importlib.util as i; print([bool(i.find_spec(n)) for n in {names}])"
    assert python(found.format(names=[f"aerocam.{half}" for half in HALVES]), "-I") == "[True, True, True]"
    assert python(found.format(names=[*HALVES, "tests", "cli", "zoo"]), "-I") == str([False] * 6)


@pytest.mark.parametrize("module", ["aerocam", "aerocam.runtime", "aerocam.benchmarks", "aerocam.cli"])
def test_importing_stays_light(module):
    heavy = "{'onnx', 'onnx_ir', 'onnxscript', 'onnxruntime', 'tensorrt', 'pycuda', 'cuda', 'sklearn', 'scipy', 'av'}"
    assert python(f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))", "-I") == "[]"


@pytest.mark.parametrize(("half", "other"), [("export", "runtime"), ("runtime", "export"), ("runtime", "benchmarks")])
def test_the_halves_do_not_import_each_other(half, other):
    sources = sorted((ROOT / half).rglob("*.py"))
    assert sources
    met = [path for path in sources for name in imports(path) if f"{name}.".startswith(f"aerocam.{other}.")]
    assert not met


def test_the_shared_files_import_neither_half():
    for name in SHARED:
        found = set(imports(ROOT / f"src/aerocam/{name}.py"))
        assert not [module for module in found for half in HALVES if f"{module}.".startswith(f"aerocam.{half}.")]


@pytest.mark.parametrize("half", HALVES)
def test_public_names_are_there(half):
    package = importlib.import_module(f"aerocam.{half}")
    assert package.__doc__
    for name in getattr(package, "__all__", ()):
        assert getattr(package, name) is not None


def test_the_package_is_typed():
    assert resources.files(aerocam).joinpath("py.typed").is_file()


def test_the_links_are_relative_and_lead_home():
    for half in HALVES:
        assert (ROOT / "src/aerocam" / half).readlink() == Path("../..") / half


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with a source distribution and the wheel made from it, without network."""
    work = tmp_path_factory.mktemp("dist")
    tree = work / "tree"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "demo-out")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=ignored)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(work), str(tree)]
    result = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return work


@pytest.mark.slow
def test_the_wheel_has_every_module_but_the_studies_and_nothing_else(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        entries = {entry.filename: entry for entry in wheel.infolist()}
        code = {name for name in entries if not name.startswith(f"aerocam-{aerocam.__version__}.dist-info/")}
        assert code == INSTALLED | DATA
        assert not [name for name, entry in entries.items() if entry.external_attr >> 28 == 0o12]  # symbolic links
        assert wheel.read("aerocam/export/__init__.py") == (ROOT / "export/__init__.py").read_bytes()
        assert f"aerocam-{aerocam.__version__}.dist-info/licenses/LICENSE" in entries


def test_only_studies_are_left_out() -> None:
    """What the wheel leaves out is there to be left out, and what the commands need is not."""
    assert len(MODULES - INSTALLED) > 20
    assert {"aerocam/benchmarks/demo.py", "aerocam/benchmarks/zoo/__init__.py"} <= INSTALLED
    for path in (ROOT / "benchmarks").rglob("*.py"):
        if "studies" not in path.parts:
            assert not [name for name in imports(path) if name.startswith("aerocam.benchmarks.studies")], path


@pytest.mark.slow
def test_the_source_distribution_has_real_files(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        members = archive.getmembers()
        top = f"aerocam-{aerocam.__version__}"
        assert {f"{top}/src/{name}" for name in INSTALLED} <= {member.name for member in members}
        assert {f"{top}/{name}" for name in ("LICENSE", "README.md", "pyproject.toml")} <= {m.name for m in members}
        assert not [member.name for member in members if member.issym() or member.islnk()]
