"""Probes: the board, memory, disk, cameras and the graphics driver, as the kernel shows them in files."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from aerocam.runtime.doctor.machine import Absent, Machine
from aerocam.runtime.doctor.registry import Finding, probe

NVIDIA_PCI = "0x10de"
"""NVIDIA's number among PCI vendors."""

DISPLAY_PCI = "0x03"
"""How the class of a PCI device that displays or computes begins."""


@probe("board")
def board(machine: Machine) -> Finding:
    """Find the device tree's model; the processor where there is no device tree."""
    model = machine.text("/proc/device-tree/model", "/sys/firmware/devicetree/base/model")
    compatible = machine.text("/proc/device-tree/compatible", "/sys/firmware/devicetree/base/compatible") or ""
    names = [name for name in compatible.split("\0") if name]
    soc = next((name.split(",")[-1] for name in reversed(names) if "tegra" in name), None)
    cpu = machine.text("/proc/cpuinfo") or ""
    lines = [line.partition(":") for line in cpu.splitlines()]
    named = next((value.strip() for key, _, value in lines if key.strip() == "model name"), None)
    cores = sum(key.strip() == "processor" for key, _, _ in lines)
    if model is None and named is None:
        raise Absent("neither /proc/device-tree/model nor a model name in /proc/cpuinfo")
    return {"model": model, "soc": soc, "processor": named, "cores": cores, "architecture": machine.architecture}


@probe("memory")
def memory(machine: Machine) -> Finding:
    """Find the memory by /proc/meminfo, in MiB: on a Jetson the GPU shares it."""
    text = machine.text("/proc/meminfo")
    if text is None:
        raise Absent("/proc/meminfo cannot be read")
    sizes = {name: int(size) // 1024 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return {
        "total_mib": sizes["MemTotal"],
        "available_mib": sizes["MemAvailable"],
        "swap_total_mib": sizes.get("SwapTotal", 0),
        "swap_free_mib": sizes.get("SwapFree", 0),
    }


@probe("disk")
def disk(machine: Machine) -> Finding:
    """Find the space where the command was started, in MiB."""
    usage = shutil.disk_usage(os.getcwd() if machine.root == Path("/") else machine.root)
    return {"total_mib": usage.total >> 20, "free_mib": usage.free >> 20}


@probe("cameras")
def cameras(machine: Machine) -> Finding:
    """Find the kernel's video devices, and whether the daemon for CSI cameras has its socket; none is opened."""
    devices = []
    for folder in machine.matches("/sys/class/video4linux/video*"):
        name = machine.text(f"/sys/class/video4linux/{folder.name}/name")
        device = machine.path(f"/dev/{folder.name}")
        devices.append(
            {
                "device": f"/dev/{folder.name}",
                "name": name or "",
                "csi": "vi-output" in (name or ""),
                "readable": os.access(device, os.R_OK | os.W_OK),
            }
        )
    devices.sort(key=lambda one: int(re.sub(r"\D", "", str(one["device"])) or 0))
    argus = machine.path("/tmp/argus_socket").exists()
    if not devices and not argus:
        raise Absent("no /dev/video*, and no /tmp/argus_socket")
    return {"devices": devices, "argus_daemon": argus}


@probe("driver")
def driver(machine: Machine) -> Finding:
    """Find NVIDIA's GPUs, and the kernel's driver for them: `loaded`, and its version where it has one."""
    text = machine.text("/proc/driver/nvidia/version")
    tegra = any(machine.path(path).exists() for path in ("/dev/nvhost-gpu", "/dev/nvhost-ctrl-gpu"))
    devices = sum(_is_nvidia(machine, folder.name) for folder in machine.matches("/sys/bus/pci/devices/*"))
    if text is None and not tegra and not devices:
        raise Absent("no NVIDIA GPU: none on the PCI bus, and no driver is loaded")
    version = re.search(r"(?:Module|for \S+)\s+(\d+\.\d+(?:\.\d+)?)", text or "")
    return {
        "loaded": text is not None or tegra,
        "version": version.group(1) if version else None,
        "pci_devices": devices,
    }


def _is_nvidia(machine: Machine, device: str) -> bool:
    """Say whether a PCI device is an NVIDIA GPU."""
    folder = f"/sys/bus/pci/devices/{device}"
    kind = machine.text(f"{folder}/class") or ""
    return machine.text(f"{folder}/vendor") == NVIDIA_PCI and kind.startswith(DISPLAY_PCI)
