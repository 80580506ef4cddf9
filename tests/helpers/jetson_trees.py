"""Small file trees as Jetsons have them, and what their Python packages would say, for tests of `aerocam doctor`.

The texts have the form of what public sources show of such boards: /etc/nv_tegra_release, the device tree's model and
`nvpmodel -q` of an Orin Nano with JetPack 6.2 and a Thor with JetPack 7.0 as owners posted them, of an AGX Orin with
JetPack 5.1.2 likewise. Nobody ran aerocam there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aerocam.runtime.doctor.machine import Absent, Machine

R35 = (
    "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, DATE: Tue Aug  1 19:57:35 UTC 2023"
)
R36 = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025"
    "\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
    "TARGET_USERSPACE_LIB_DIR_PATH=usr/lib/aarch64-linux-gnu/nvidia\n"
)
R38 = (
    "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64, DATE: Fri Aug 22 00:55:42 UTC 2025"
    "\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
    "TARGET_USERSPACE_LIB_DIR_PATH=usr/lib/aarch64-linux-gnu/nvidia\nINSTALL_TYPE=\n"
)
NVPMODEL_CONF = (
    "# Power Model definitions\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n"
    "< POWER_MODEL ID=1 NAME=25W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"
)
CPUS = "".join(f"processor\t: {core}\nBogoMIPS\t: 62.50\nCPU implementer\t: 0x41\n\n" for core in range(6))


def package(name: str, version: str, status: str = "install ok installed") -> str:
    """A paragraph of /var/lib/dpkg/status."""
    return f"Package: {name}\nStatus: {status}\nPriority: standard\nArchitecture: arm64\nVersion: {version}\n"


def jetpack5() -> dict[str, str]:
    """An AGX Orin with JetPack 5.1.2."""
    return {
        "etc/nv_tegra_release": R35,
        "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0",
        "proc/cpuinfo": CPUS,
        "proc/meminfo": "MemTotal:       31189164 kB\nMemFree:  900 kB\nMemAvailable:   28000000 kB\nSwapTotal: 0 kB\n",
        "etc/os-release": 'NAME="Ubuntu"\nVERSION_ID="20.04"\nPRETTY_NAME="Ubuntu 20.04.6 LTS"\n',
        "var/lib/dpkg/status": package("nvidia-jetpack", "5.1.2-b104"),
    }  # fmt: skip


def jetpack6() -> dict[str, str]:
    """An Orin Nano with JetPack 6.2, a CSI and a USB camera, in its 15 W mode."""
    clock = "sys/class/devfreq/17000000.gpu"
    return {
        "etc/nv_tegra_release": R36,
        "etc/nvpmodel.conf": NVPMODEL_CONF,
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
        "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
        "proc/cpuinfo": CPUS,
        "proc/meminfo": "MemTotal: 7802688 kB\nMemAvailable: 1500000 kB\nSwapTotal: 3901344 kB\nSwapFree: 3901344 kB\n",
        "proc/sys/kernel/osrelease": "5.15.148-tegra\n",
        "etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nNAME="Ubuntu"\nVERSION_ID="22.04"\n',
        "var/lib/dpkg/status": "\n".join(
            [
                package("nvidia-l4t-core", "36.4.3-20250107174145"),
                package("nvidia-jetpack", "6.2.1+b38"),
                package("python3-libnvinfer", "10.3.0.30-1+cuda12.5"),
                package("libopencv-python", "4.8.0-1-g6371ee1"),
                package("python3-opencv", "4.5.4", "deinstall ok config-files"),
            ]
        ),
        "sys/class/video4linux/video0/name": "vi-output, imx219 9-0010\n",
        "sys/class/video4linux/video1/name": "UVC Camera (046d:0825)\n",
        "dev/video0": "",
        "dev/video1": "",
        "dev/nvhost-gpu": "",
        "tmp/argus_socket": "",
        f"{clock}/cur_freq": "306000000\n",
        f"{clock}/min_freq": "306000000\n",
        f"{clock}/max_freq": "624750000\n",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "729600\n",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": "729600\n",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": "1510400\n",
    }  # fmt: skip


def jetpack7() -> dict[str, str]:
    """A Thor with Jetson Linux alone, JetPack's packages not installed."""
    return {
        "etc/nv_tegra_release": R38,
        "proc/device-tree/model": "NVIDIA Jetson AGX Thor Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0",
        "proc/cpuinfo": CPUS,
        "proc/meminfo": "MemTotal: 128815360 kB\nMemAvailable: 120000000 kB\n",
        "etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\n',
        "var/lib/dpkg/status": package("nvidia-l4t-core", "38.2.0-20250821174705"),
        "proc/driver/nvidia/version": (
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.00  Release Build  (bugfix_main)\n"
        ),
    }  # fmt: skip


def plant(root: Path, files: Mapping[str, str]) -> Path:
    """Write the files below a folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def has(version: str = "1.0", origin: str = "environment", **more: Any) -> dict[str, Any]:
    """The finding of a package that is there."""
    return {"state": "found", "version": version, "from": origin, **more}


def lacks(name: str) -> dict[str, Any]:
    """The finding of a package that is not."""
    return {"state": "absent", "reason": f"{name} is not installed"}


ENVIRONMENT = {
    "state": "found", "virtual": True, "conda": False, "system_python": True, "sees_system_packages": True,
    "writable": True, "root": False, "aerocam": "0.1.0",
}  # fmt: skip


def on_jetpack6() -> dict[str, dict[str, Any]]:
    """What the packages of a well set up JetPack 6 say."""
    return {
        "environment": ENVIRONMENT,
        "numpy": has("1.26.4"),
        "opencv": has("4.8.0", "system", gstreamer=True, ffmpeg=True, v4l2=True, packages=[]),
        "onnxruntime": has(
            "1.20.0",
            providers=["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
            packages=["onnxruntime-gpu 1.20.0"],
        ),
        "tensorrt": has("10.3.0", "system", module="tensorrt", builder=True),
        "cuda": {
            "state": "found", "package": "cuda-python", "device": "Orin", "compute_capability": "8.7",
            "integrated": True, "total_mib": 7619, "free_mib": 2900, "graphs": True,
        },
        "cuda_packages": {"state": "found", "versions": {"cuda-python": "12.6.2.post1"}},
        "scikit_learn": has("1.7.2"),
        "pyav": lacks("av"),
    }  # fmt: skip


def nothing() -> dict[str, dict[str, Any]]:
    """A plain virtual environment with nothing but NumPy 2 in it."""
    names = ("opencv", "onnxruntime", "tensorrt", "cuda", "cuda_packages", "scikit_learn", "pyav")
    return {
        "environment": {**ENVIRONMENT, "sees_system_packages": False},
        "numpy": has("2.2.6"),
        **{name: lacks(name) for name in names},
    }


def machine(
    root: Path,
    packages: Mapping[str, dict[str, Any]],
    architecture: str = "aarch64",
    python: tuple[int, int] = (3, 10),
    prints: Mapping[str, str] | None = None,
) -> Machine:
    """A machine of these files, packages and commands' answers."""

    def run(command: Sequence[str]) -> str:
        text = (prints or {}).get(command[0])
        if text is None:
            raise Absent(f"there is no command {command[0]}")
        return text

    return Machine(root, architecture, python, run, lambda name: dict(packages[name]))
