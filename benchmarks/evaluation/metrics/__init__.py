"""The metrics, by name: one function each, registered with its direction and its exact definition."""

from aerocam.benchmarks.evaluation.metrics.registry import METRICS, Metric, metric

__all__ = ["METRICS", "Metric", "metric"]
