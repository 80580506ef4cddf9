"""`aerocam doctor`: on file trees as Jetsons have them, on this machine, and where packages are missing or broken."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import jetson_trees as trees
from aerocam.cli.doctor import LINES, USES, as_text
from aerocam.runtime.doctor import examine
from aerocam.runtime.doctor.machine import Absent, Machine, run_command
from aerocam.runtime.doctor.platforms import COMMANDS, is_jetson
from aerocam.runtime.doctor.registry import PROBES, Probe, run_probe
from runtime_fixtures import RUN, run_cli

pytestmark = pytest.mark.runtime

NVPMODEL = {"nvpmodel": "NV Power Mode: 15W\n0\n"}


def advice(record: dict[str, Any], subject: str) -> dict[str, Any]:
    """The one piece of advice about a subject."""
    (found,) = [one for one in record["advice"] if one["subject"] == subject]
    return found


def subjects(record: dict[str, Any], kind: str) -> list[str]:
    """What advice of this kind is about."""
    return [one["subject"] for one in record["advice"] if one["kind"] == kind]


def test_a_jetson_with_jetpack_6_that_has_everything(tmp_path: Path) -> None:
    found = trees.machine(trees.plant(tmp_path, trees.jetpack6()), trees.on_jetpack6(), prints=NVPMODEL)
    record = examine(found)
    probes = record["probes"]
    assert record["platform"] == "jetson-jp6"
    assert probes["board"] == {
        "state": "found",
        "model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "soc": "tegra234",
        "processor": None,
        "cores": 6,
        "architecture": "aarch64",
    }
    assert probes["jetpack"] == {
        "state": "found", "l4t": "36.4.3", "version": "6.2.1", "major": 6, "package": "6.2.1+b38", "known_by": "apt",
    }  # fmt: skip
    assert "python3-opencv" not in probes["packages"]["installed"]  # removed, its configuration is left
    assert probes["memory"] == {
        "state": "found", "total_mib": 7619, "available_mib": 1464, "swap_total_mib": 3809, "swap_free_mib": 3809,
    }  # fmt: skip
    assert probes["power"]["mode"] == "15W"
    assert probes["power"]["modes"] == {"15W": 0, "25W": 1, "MAXN_SUPER": 2}
    assert probes["clocks"]["gpu"] == {"current": 306, "min": 306, "max": 624}
    assert probes["clocks"]["fixed"] is False
    assert [(one["device"], one["csi"]) for one in probes["cameras"]["devices"]] == [
        ("/dev/video0", True),
        ("/dev/video1", False),
    ]
    assert record["uses"]["engine"] == "tensorrt 10.3.0"
    assert record["uses"]["cuda"] == "cuda-python on Orin"
    assert "TensorrtExecutionProvider" in record["uses"]["onnx"]
    assert subjects(record, "missing") == []
    assert advice(record, "power")["commands"] == ["sudo nvpmodel -m 2", "sudo jetson_clocks"]
    assert "1464 MiB" in advice(record, "memory")["why"]


def test_a_jetson_whose_environment_hides_what_jetpack_has(tmp_path: Path) -> None:
    record = examine(trees.machine(trees.plant(tmp_path, trees.jetpack6()), trees.nothing(), prints=NVPMODEL))
    venv = "python3 -m venv --system-site-packages aerocam-venv && . aerocam-venv/bin/activate"
    assert advice(record, "environment")["commands"] == [venv]
    assert advice(record, "tensorrt")["commands"] == [venv]
    assert "python3-libnvinfer of apt is installed" in advice(record, "tensorrt")["why"]
    assert advice(record, "opencv")["commands"] == [venv]
    assert advice(record, "onnxruntime")["commands"] == [
        "python3 -m pip install --no-deps --index-url https://pypi.jetson-ai-lab.io/jp6/cu126 onnxruntime-gpu"
    ]
    assert advice(record, "cuda_packages")["commands"] == ["python3 -m pip install 'cuda-python==12.6.*'"]
    assert advice(record, "numpy")["commands"] == ["python3 -m pip install 'numpy>=1.23,<2'"]  # NumPy 2 is there
    assert record["uses"]["engine"] is None


def test_a_thor_without_jetpacks_packages(tmp_path: Path) -> None:
    found = trees.machine(trees.plant(tmp_path, trees.jetpack7()), trees.nothing(), python=(3, 12))
    record = examine(found)
    assert record["platform"] == "jetson-jp7"
    assert record["probes"]["jetpack"]["version"] == "7.0"
    assert record["probes"]["jetpack"]["known_by"] == "release"
    assert record["probes"]["driver"] == {"state": "found", "loaded": True, "version": "580.00", "pci_devices": 0}
    assert advice(record, "tensorrt")["commands"] == ["sudo apt update && sudo apt install nvidia-jetpack"]
    assert advice(record, "cuda_packages")["commands"] == ["python3 -m pip install 'cuda-python==13.0.*'"]
    assert record["probes"]["power"]["state"] == "absent"


def test_jetpack_5_is_told_that_its_python_is_too_old(tmp_path: Path) -> None:
    record = examine(trees.machine(trees.plant(tmp_path, trees.jetpack5()), trees.nothing()))
    assert record["platform"] == "jetson-jp5"
    assert record["probes"]["jetpack"]["version"] == "5.1.2"
    assert "JetPack 5 has Python 3.8" in advice(record, "jetpack")["why"]
    assert "tensorrt" not in [one["subject"] for one in record["advice"]]  # no command could bring it


def test_a_python_that_is_not_jetpacks(tmp_path: Path) -> None:
    root = trees.plant(tmp_path, trees.jetpack6())
    record = examine(trees.machine(root, trees.on_jetpack6(), python=(3, 11), prints=NVPMODEL))
    assert advice(record, "environment")["commands"][0].startswith("/usr/bin/python3 -m venv --system-site-packages")
    assert "for its own Python 3.10 alone" in advice(record, "environment")["why"]


def test_packages_of_pip_over_those_of_jetpack(tmp_path: Path) -> None:
    packages = trees.on_jetpack6()
    packages["onnxruntime"] |= {"providers": ["CPUExecutionProvider"], "packages": ["onnxruntime 1.23.2"]}
    packages["opencv"] |= {"gstreamer": False, "packages": ["opencv-python 4.11.0.86"]}
    root = trees.plant(tmp_path, trees.jetpack6())
    record = examine(trees.machine(root, packages, prints=NVPMODEL))
    assert advice(record, "onnxruntime")["commands"][0] == "python3 -m pip uninstall -y onnxruntime"
    assert advice(record, "opencv")["commands"] == [
        "python3 -m pip uninstall -y opencv-python",
        "sudo apt install libopencv-python",
    ]
    packages["onnxruntime"]["packages"] = ["onnxruntime 1.23.2", "onnxruntime-gpu 1.20.0"]
    two = advice(examine(trees.machine(root, packages, prints=NVPMODEL)), "onnxruntime")
    assert two["commands"][0] == "python3 -m pip uninstall -y onnxruntime onnxruntime-gpu"


def test_a_pc_with_and_without_a_gpu(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: A Processor\n",
        "proc/meminfo": "MemTotal: 1 kB\nMemAvailable: 1 kB\n",
    }
    root = trees.plant(tmp_path, files)
    plain = examine(trees.machine(root, trees.nothing(), "x86_64", (3, 12)))
    assert plain["platform"] == "linux-x86_64"
    assert subjects(plain, "missing") == ["opencv", "onnxruntime"]
    assert advice(plain, "onnxruntime")["commands"] == ["python3 -m pip install onnxruntime"]
    assert advice(plain, "tensorrt")["kind"] == "warning"
    assert advice(plain, "tensorrt")["commands"] == ["python3 -m pip install tensorrt-rtx-cu12"]
    device = "sys/bus/pci/devices/0000:01:00.0"
    trees.plant(tmp_path, {f"{device}/vendor": "0x10de\n", f"{device}/class": "0x030000\n"})
    bare = examine(trees.machine(root, trees.nothing(), "x86_64", (3, 12)))
    assert bare["platform"] == "linux-x86_64-nvidia"
    assert bare["probes"]["driver"] == {"state": "found", "loaded": False, "version": None, "pci_devices": 1}
    assert advice(bare, "tensorrt")["commands"] == ["python3 -m pip install tensorrt"]
    assert "package tensorrt-rtx-cu12, in its place" in advice(bare, "tensorrt")["why"]
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\nGCC version: 12\n"
    trees.plant(tmp_path, {"proc/driver/nvidia/version": text})
    assert examine(trees.machine(root, trees.nothing(), "x86_64"))["probes"]["driver"]["version"] == "535.183.01"


@pytest.mark.parametrize("platform", [name for name in COMMANDS if is_jetson(name)])
def test_no_command_puts_pypis_packages_over_jetpacks(platform: str) -> None:
    for command in COMMANDS[platform].values():
        if "pip install" in command:
            assert "opencv" not in command
            assert "tensorrt" not in command
            assert "onnxruntime" not in command or (
                "--index-url https://pypi.jetson" in command and "--no-deps" in command
            )
        assert "numpy'" not in command or "<2" in command


def test_the_texts_of_all_states_can_be_printed(tmp_path: Path) -> None:
    root = trees.plant(tmp_path, trees.jetpack6())
    text = as_text(examine(trees.machine(root, trees.on_jetpack6(), prints=NVPMODEL)))
    assert re.search(r"^TensorRT +tensorrt 10\.3\.0 \(system\)$", text, re.MULTILINE)
    assert re.search(r"^clocks +GPU 306 MHz \(306 to 624\), CPU 729 MHz \(729 to 1510\)$", text, re.MULTILINE)
    assert re.search(r"^ +\.engine files +tensorrt 10\.3\.0$", text, re.MULTILINE)
    assert "      sudo nvpmodel -m 2\n      sudo jetson_clocks" in text
    assert set(LINES) <= set(PROBES)
    assert set(USES) == set(examine(trees.machine(root, trees.nothing()))["uses"])


def test_a_board_that_says_other_things_than_expected(tmp_path: Path) -> None:
    """Releases nobody knows yet, files with other texts, commands that fail: findings, not errors."""
    files = {**trees.jetpack6(), "etc/nv_tegra_release": trees.R36.replace("R36", "R47"), "proc/meminfo": "nothing\n"}
    root = trees.plant(tmp_path, files | {"var/lib/dpkg/status": ""})
    record = examine(trees.machine(root, trees.nothing(), prints={"nvpmodel": "NVPM ERROR: no permission\n"}))
    assert record["platform"] == "jetson"
    assert record["probes"]["jetpack"] | {"state": 0} == {
        "state": 0, "l4t": "47.4.3", "version": None, "major": None, "package": None, "known_by": None,
    }  # fmt: skip
    assert record["probes"]["memory"] == {"state": "failed", "reason": "KeyError: 'MemTotal'"}
    assert record["probes"]["power"]["reason"] == "nvpmodel names no mode, it says: NVPM ERROR: no permission"
    as_text(record)


def test_a_probe_that_hangs_is_given_up() -> None:
    started = time.perf_counter()
    finding = run_probe(Probe("slow", lambda machine: time.sleep(60) or {}, False), Machine(), limit=0.2)
    assert finding == {"state": "timeout", "reason": "no answer within 0.2 s"}
    assert time.perf_counter() - started < 30


def test_commands_that_are_absent_or_fail() -> None:
    with pytest.raises(Absent, match="there is no command aerocam-no-such-command"):
        run_command(["aerocam-no-such-command"])
    with pytest.raises(Absent, match="sh ended with code 3: no permission"):
        run_command(["sh", "-c", "echo no permission >&2; exit 3"])


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder of packages that come first: a NumPy that does not load, an OpenCV that crashes."""
    texts = {
        "numpy": "raise ImportError('libopenblas.so.0: cannot open shared object file')",
        "cv2": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "onnxruntime": "",
    }
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    return tmp_path


def test_each_line_says_what_it_is_of_once(tmp_path: Path) -> None:
    """With TensorRT's own message, of this machine's way of not having it."""
    hidden = dict.fromkeys(("tensorrt", "tensorrt_rtx"))
    with pytest.MonkeyPatch.context() as patch:
        for name in hidden:
            patch.setitem(sys.modules, name, None)
        with pytest.raises(Absent, match=r"^it (is not installed|cannot be loaded)"):
            PROBES["tensorrt"].look(Machine())
    packages = trees.nothing() | {"tensorrt": {"state": "absent", "reason": "it is not installed"}}
    text = as_text(examine(trees.machine(trees.plant(tmp_path, trees.jetpack6()), packages, prints=NVPMODEL)))
    assert re.search(r"^TensorRT +- it is not installed$", text, re.MULTILINE)
    assert re.search(r"^  TensorRT: it is not installed; it builds and runs engines", text, re.MULTILINE)
    assert len({title for title, _ in LINES.values()}) == len(LINES)
    assert re.search(r"^GPU in CUDA ", text, re.MULTILINE)
    assert re.search(r"^CUDA in Python ", text, re.MULTILINE)


def test_engines_can_be_built_where_none_runs(tmp_path: Path) -> None:
    root = trees.plant(tmp_path, trees.jetpack6())
    rtx = trees.has("1.7.1", module="tensorrt_rtx", builder=True)
    found = examine(trees.machine(root, trees.nothing() | {"tensorrt": rtx}, "x86_64", (3, 12)))
    assert found["uses"]["engine"] is None
    assert found["uses"]["builder"] == "tensorrt_rtx 1.7.1, for other GPUs (`compute_capability`)"
    plain = trees.has("10.13.0", module="tensorrt", builder=True)
    assert examine(trees.machine(root, trees.nothing() | {"tensorrt": plain}, "x86_64"))["uses"]["builder"] is None
    here = examine(trees.machine(root, trees.on_jetpack6(), prints=NVPMODEL))
    assert here["uses"]["builder"] == "tensorrt 10.3.0"


def test_it_runs_where_numpy_is_broken_and_a_package_crashes(broken: Path) -> None:
    """The whole command, in a process whose NumPy cannot be imported."""
    code = f"import sys; sys.path.insert(0, {str(broken)!r}); sys.argv[1:] = ['doctor', '--json']\n{RUN}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    record = json.loads(done.stdout)
    found = record["probes"]
    assert found["numpy"] == {
        "state": "failed",
        "reason": "ImportError: libopenblas.so.0: cannot open shared object file",
    }
    assert found["opencv"] == {"state": "failed", "reason": "importing it crashed the process (SIGSEGV)"}
    assert found["onnxruntime"]["state"] == "absent"
    assert "removed by half" in found["onnxruntime"]["reason"]
    assert "--force-reinstall" in advice(record, "numpy")["commands"][0]


def test_what_it_says_of_this_machine_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    import cv2
    import numpy as np
    import onnxruntime

    assert run_cli("doctor", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record) == ["schema", "aerocam", "platform", "probes", "uses", "advice"]
    assert set(record["probes"]) == set(PROBES)
    assert record["probes"]["numpy"]["version"] == np.__version__
    assert record["probes"]["opencv"]["version"] == cv2.__version__
    assert record["probes"]["onnxruntime"]["providers"] == onnxruntime.get_available_providers()
    assert record["probes"]["environment"]["virtual"] is (sys.prefix != sys.base_prefix)
    kilobytes = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1))
    assert record["probes"]["memory"]["total_mib"] == kilobytes // 1024
    text = json.dumps(record)
    assert sys.prefix not in text
    assert str(Path.home()) not in text or str(Path.home()) == "/root"


def test_the_command_line_needs_no_numpy_to_start() -> None:
    code = textwrap.dedent("""
        import sys
        sys.modules["numpy"] = None
        from aerocam import cli
        cli.build_parser()
        import aerocam.runtime.doctor
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
