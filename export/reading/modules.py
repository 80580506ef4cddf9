"""The modules that a network was written with, as its exporter has kept them in the names of its nodes."""

from __future__ import annotations

import re

import onnx_ir as ir

SCOPES = "pkg.torch.onnx.name_scopes"
"""Key of the modules around a node, outermost first and itself last, among the metadata that PyTorch writes now."""


def module_path(node: ir.Node | None) -> str:
    """Return the path of the module that a node belongs to, as `layer4.1.conv2`; "" where its exporter says nothing.

    PyTorch writes it into the node's metadata, and did write `/layer4/layer4.1/conv2/Conv` as its name; TensorFlow
    writes `model/block5/Conv2D`.
    """
    if node is None:
        return ""
    if SCOPES in node.metadata_props:
        modules = re.findall("'([^']*)'", node.metadata_props[SCOPES])[:-1]
        return modules[-1] if modules else ""
    path: list[str] = []
    for module in (node.name or "").strip("/").split("/")[:-1]:
        if path and module.startswith(f"{path[-1]}."):
            path[-1] = module
        else:
            path.append(module)
    return ".".join(path)
