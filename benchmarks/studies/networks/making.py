"""`python -m aerocam.benchmarks.studies.networks.making FOLDER`: write the networks, by both of PyTorch's exporters.

Needs torch, torchvision, timm and transformers: an environment of its own (`make networks`). A file that is there is
left alone; a network that an exporter cannot write has a text beside it that says why.
"""

from __future__ import annotations

import gc
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aerocam.benchmarks.studies.networks import of_timm, of_torchvision, of_transformers
from aerocam.benchmarks.studies.networks.truth import Network

EXPORTERS: dict[str, dict[str, Any]] = {
    "TorchScript": {"dynamo": False},
    "dynamo": {"dynamo": True, "external_data": False, "verbose": False},
}
NETWORKS: dict[str, Network] = of_torchvision.NETWORKS | of_timm.NETWORKS | of_transformers.NETWORKS
COLOURS = re.compile(r"\x1b\[\d*m")
"""What colours a terminal."""

BATCHES = 2
"""Batches of two pictures of noise from which batch norms take their statistics."""

WORDS = 1000
"""Ids of words are below that."""


def files(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield the name of each network, its exporter, and where the file is."""
    for name in NETWORKS:
        for exporter in EXPORTERS:
            yield name, exporter, folder / f"{name.replace(', ', '-').replace(' ', '-')}.{exporter}.onnx"


def write(folder: Path, only: str = "") -> None:
    """Write the networks whose names contain `only`, those that are not there."""
    import torch

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for name, exporter, path in files(folder):
        reason = path.with_suffix(".txt")
        if only not in name or path.exists() or reason.exists():
            continue
        print(f"{name}, {exporter}", flush=True)
        try:
            partial = path.with_suffix(".partial")
            with torch.no_grad():
                torch.onnx.export(*_drawn(NETWORKS[name]), partial, **EXPORTERS[exporter])
            partial.replace(path)
        except Exception as error:  # whatever an exporter raises, it is a reason
            first = next((line for line in str(error).splitlines() if line.strip()), "")
            reason.write_text(f"{type(error).__name__}: {COLOURS.sub('', first)}", encoding="utf-8")
            print(f"  {reason.read_text(encoding='utf-8')}", flush=True)
        gc.collect()


def _drawn(network: Network) -> tuple[Any, tuple[Any, ...]]:
    """Return the network with seeded weights, and its inputs; what is normalised by statistics has those of noise."""
    import torch

    torch.manual_seed(0)
    model = network.build().eval()
    norms = [module for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
        norm.train()
    for _ in range(BATCHES if norms else 0):
        model(*(torch.randn(2, *shape[1:]) for shape in network.inputs))
    model.eval()
    inputs = tuple(torch.randn(shape) for shape in network.inputs)
    return model, (*inputs, *([torch.randint(WORDS, (4, network.words))] if network.words else []))


if __name__ == "__main__":
    write(Path(sys.argv[1]), *sys.argv[2:])
