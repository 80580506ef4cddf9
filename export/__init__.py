"""The host side: ONNX in, explainable ONNX out. Needs onnx, onnx-ir and onnxscript: `pip install 'aerocam[export]'`."""

from aerocam.errors import missing

try:
    import onnx
    import onnx_ir
    import onnxscript
except ImportError as error:
    raise missing(error.name or "onnx", "export", "to export models") from error

from aerocam.export.checking.report import CheckReport
from aerocam.export.checking.self_check import check_export
from aerocam.export.heads import CAM_HEADS
from aerocam.export.layers.candidates import Candidate
from aerocam.export.pipeline import Export, export_model, list_layers
from aerocam.export.preprocessing import PRESETS

__all__ = ["CAM_HEADS", "PRESETS", "Candidate", "CheckReport", "Export", "check_export", "export_model", "list_layers"]
