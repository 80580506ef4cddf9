"""The metrics, by name: one function each, registered with its direction and its exact definition."""

from aerocam.benchmarks.evaluation.metrics import curves, faithfulness, grid, infidelity, localisation, road, robustness
from aerocam.benchmarks.evaluation.metrics.registry import METRICS, Metric, metric, number
