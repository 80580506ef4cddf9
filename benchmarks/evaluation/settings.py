"""What a run measures: methods, metrics and their parameters, and how that is written down to be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aerocam
from aerocam.benchmarks.evaluation.metrics import METRICS, Metric
from aerocam.errors import UsageError, did_you_mean
from aerocam.providers import Provider

FORMAT = 1
"""Version of the records' form; records of another one are not read."""


@dataclass(frozen=True)
class MethodSpec:
    """A method under test.

    Attributes:
        label: What the table calls it: its name, and after colons the options that were given.
        name: The method's.
        options: Its keyword arguments.
    """

    label: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        methods: The methods, with distinct labels.
        metrics: The metrics, and of each the parameters that differ from its defaults.
        seed: Of all random numbers; each picture has a seed of its own, made of this and its content.
        threads: Threads inside an operator, in each process. More than one may change last digits from run to run.
        providers: ONNX Runtime's execution providers; None: the CPU.
        examples: Of how many pictures overlays are kept for the report.
        max_pixels: Most pixels of a picture, or a mask, that is read.
    """

    methods: tuple[MethodSpec, ...]
    metrics: tuple[tuple[Metric, Mapping[str, Any]], ...]
    seed: int = 0
    threads: int | None = 1
    providers: tuple[Provider, ...] | None = None
    examples: int = 3
    max_pixels: int = 100_000_000

    def record(self) -> dict[str, Any]:
        """Return all that a record depends on besides model, method and picture, ready for JSON."""
        return {
            "format": FORMAT,
            "aerocam": aerocam.__version__,
            "seed": self.seed,
            "threads": self.threads,
            "providers": None if self.providers is None else [str(one) for one in self.providers],
            "examples": self.examples,
            "metrics": {metric.name: definition(metric, parameters) for metric, parameters in self.metrics},
        }


def definition(metric: Metric, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a metric's facts and parameters as the result repeats them."""
    return {
        "direction": metric.direction,
        "definition": metric.definition,
        "variant": metric.variant,
        "source": metric.source,
        "needs": sorted(metric.needs),
        "parameters": {**metric.parameters, **parameters},
    }


def methods_of(specs: Sequence[str]) -> tuple[MethodSpec, ...]:
    """Read methods as the command line has them: `gradcam`, or with options `rise:masks=500:probability=0.3`.

    Raises:
        UsageError: A method is unknown or named twice, or one of its options cannot be read.
    """
    from aerocam.options import parse_options
    from aerocam.runtime.methods import find

    methods: dict[str, MethodSpec] = {}
    for spec in specs:
        name, *options = spec.split(":")
        method = find(name)
        label = ":".join([method.name, *options])
        if label in methods:
            raise UsageError(f"--methods {spec}: it is there twice; give it once")
        methods[label] = MethodSpec(label, method.name, parse_options(options, f"--methods {spec}: "))
        for option, value in methods[label].options.items():
            _check_value(f"--methods {spec}: {option}", value)
        if method.facts.kind != "contrast":  # it takes its base's, too
            method.check_options(dict(methods[label].options))
    if not methods:
        raise UsageError("--methods: there is none; give one or more, such as gradcam,cfcam")
    return tuple(methods.values())


def metrics_of(
    names: Sequence[str], given: Mapping[str, Any] | None = None
) -> tuple[tuple[Metric, dict[str, Any]], ...]:
    """Return metrics by name, by group, or `all`; each once, in the order of the table.

    Args:
        names: Metrics and groups.
        given: Parameters, `METRIC.NAME` each.

    Raises:
        UsageError: A metric, a group or a parameter is unknown.
    """
    groups = {metric.group for metric in METRICS.values()}
    wanted = set()
    for name in names:
        matching = [key for key, one in METRICS.items() if name in ("all", key, one.group)]
        if not matching:
            raise UsageError(
                f"metric '{name}': there is no such metric. {did_you_mean(name, [*METRICS, *groups, 'all'])}"
            )
        wanted.update(matching)
    if not wanted:
        raise UsageError("--metrics: there is none; give one or more, or all")
    parameters: dict[str, dict[str, Any]] = {name: {} for name in METRICS if name in wanted}
    for key, value in (given or {}).items():
        name, _, parameter = key.partition(".")
        if name not in parameters:
            raise UsageError(f"--parameter {key}: the run has no metric '{name}'. {did_you_mean(name, parameters)}")
        if parameter not in METRICS[name].parameters:
            hint = did_you_mean(parameter, METRICS[name].parameters)
            raise UsageError(f"--parameter {key}: metric '{name}' has no parameter '{parameter}'. {hint}")
        _check_value(f"--parameter {key}", value)
        parameters[name][parameter] = value
    return tuple((METRICS[name], values) for name, values in parameters.items())


def _check_value(name: str, value: Any) -> None:
    """Check that the result can repeat a value.

    Raises:
        UsageError: The value cannot be written as JSON.
    """
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: got {value!r}, expected a finite number, text, or a list of these") from error
