"""A check that the owner of a device runs and sends back: an engine against ONNX Runtime, what it costs, what is there.

It needs nothing but what the device has anyway: no onnx, no network.
"""

from aerocam.benchmarks.device.record import DeviceReport
from aerocam.benchmarks.device.report import check_device
