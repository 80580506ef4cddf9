"""Probes: the operating system, Jetson Linux (L4T) with its JetPack, and packages of apt; all from files."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from aerocam.runtime.doctor.machine import Absent, Machine
from aerocam.runtime.doctor.registry import Finding, probe

JETPACKS = {
    "35.1.0": "5.0.2",
    "35.2.1": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.1": "5.1.5",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.2.2": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
}
"""JetPack of a release of Jetson Linux, as NVIDIA's archive and jetson-stats list them."""

MAJORS = {"35": 5, "36": 6, "38": 7, "39": 7}
"""JetPack's major version where the release itself is not listed."""

WATCHED = (
    "nvidia-jetpack",
    "nvidia-l4t-core",
    "tensorrt",
    "python3-libnvinfer",
    "libnvinfer10",
    "libnvinfer8",
    "libopencv-python",
    "python3-opencv",
    "python3-numpy",
)
"""Packages of apt that decide what is here."""


@probe("system")
def system(machine: Machine) -> Finding:
    """Find the distribution, the kernel and this Python."""
    release = machine.text("/etc/os-release", "/usr/lib/os-release") or ""
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', release, re.MULTILINE))
    own = machine.root == Path("/")
    return {
        "distribution": fields.get("PRETTY_NAME") or fields.get("NAME"),
        "kernel": machine.text("/proc/sys/kernel/osrelease") or (platform.release() if own else None),
        "python": ".".join(map(str, machine.python)),
    }


@probe("packages")
def packages(machine: Machine) -> Finding:
    """Find the versions of what apt has installed, of `WATCHED`."""
    text = machine.text("/var/lib/dpkg/status")
    if text is None:
        raise Absent("/var/lib/dpkg/status cannot be read: this is no Debian or Ubuntu")
    versions = {}
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Package") in WATCHED and fields.get("Status", "").endswith(" installed"):
            versions[fields["Package"]] = fields.get("Version", "")
    return {"installed": versions}


@probe("jetpack")
def jetpack(machine: Machine) -> Finding:
    """Find Jetson Linux's release in its own file, and JetPack in apt, or by the release."""
    text = machine.text("/etc/nv_tegra_release")
    release = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text or "")
    apt = packages(machine)["installed"] if machine.path("/var/lib/dpkg/status").exists() else {}
    core = re.match(r"[\d.]+", apt.get("nvidia-l4t-core", ""))
    if release is None and core is None:
        held = "" if text is None else f", it begins '{text[:40]}'"
        raise Absent(f"no release in /etc/nv_tegra_release{held}, and no package nvidia-l4t-core: this is no Jetson")
    l4t = f"{release.group(1)}.{release.group(2)}" if release else core.group() if core else ""
    meta = re.match(r"[\d.]+", apt.get("nvidia-jetpack", ""))
    version = meta.group() if meta else JETPACKS.get(l4t)
    major = int(version.partition(".")[0]) if version else MAJORS.get(l4t.partition(".")[0])
    return {
        "l4t": l4t,
        "version": version,
        "major": major,
        "package": apt.get("nvidia-jetpack"),
        "known_by": "apt" if meta else "release" if version else "major" if major else None,
    }
