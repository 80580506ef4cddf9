"""Where tasks run: in this process, in several by joblib's loky, in threads, or on a cluster through joblib."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any, TypeVar

from aerocam.errors import AerocamError, MissingDependencyError, UsageError, did_you_mean

BACKENDS = ("sequential", "loky", "threading", "dask", "ray")

PACKAGES = {"dask": "distributed", "ray": "ray"}
"""Names of the backends' packages as pip takes them."""

ROUND = 4
"""Tasks per process that are given at once to a backend that gives nothing back before all are done."""

Given = TypeVar("Given")
Made = TypeVar("Made")


def check(backend: str, jobs: int) -> None:
    """Check that tasks can run on this backend.

    Raises:
        UsageError: The backend is unknown, or `jobs` is less than 1.
        MissingDependencyError: A package is not installed.
    """
    if backend not in BACKENDS:
        raise UsageError(f"--backend {backend}: there is no such backend. {did_you_mean(backend, BACKENDS)}")
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: 1 or more is expected")
    for module in [] if backend == "sequential" else ["joblib", *([PACKAGES[backend]] if backend in PACKAGES else [])]:
        try:
            __import__(module)
        except ImportError as error:
            raise MissingDependencyError(
                f"{module} is not installed; --backend {backend} needs it. Install it with: pip install {module}"
            ) from error


def run_all(
    function: Callable[[Given], Made], tasks: Sequence[Given], backend: str, jobs: int, cluster: str | None = None
) -> Iterator[Made]:
    """Yield what the function returns for each task, in the order in which they finish.

    Args:
        function: Importable by name, in every process.
        tasks: What it is given.
        backend: One of `BACKENDS`.
        jobs: How many at a time.
        cluster: Address of a dask scheduler or of a ray head; None: one is started here, with as many workers.

    Raises:
        UsageError: No cluster answers at this address.
        AerocamError: No cluster can be started here, or a process was killed.
    """
    if backend == "sequential":
        yield from map(function, tasks)
        return
    import joblib

    calls = [joblib.delayed(function)(task) for task in tasks]
    with _cluster(backend, jobs, cluster) as name:
        at_once = backend == "ray"  # its pool gives nothing back before all is done
        with joblib.parallel_config(backend=name, n_jobs=jobs):
            parallel = joblib.Parallel(batch_size=1, return_as="list" if at_once else "generator_unordered")
        step = ROUND * jobs if at_once else max(len(calls), 1)
        with _told_if_killed():
            for start in range(0, len(calls), step):
                yield from parallel(calls[start : start + step])


@contextlib.contextmanager
def _told_if_killed() -> Iterator[None]:
    """Raise a one-line error in place of loky's or dask's own when one of their processes has been killed."""
    try:
        yield
    except Exception as error:
        if not (isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"):
            raise
        raise AerocamError(
            "a process was ended from outside, perhaps for want of memory; what is finished is kept: start again, with"
            " fewer --jobs"
        ) from error


@contextlib.contextmanager
def _told_if_absent(backend: str, address: str | None) -> Iterator[None]:
    """Raise a one-line error when a cluster cannot be joined, or none can be started here."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        if address:
            raise UsageError(f"--cluster {address}: cannot join it: {error}; check the address") from error
        raise AerocamError(f"--backend {backend}: cannot start it here: {error}; try --backend loky") from error


@contextlib.contextmanager
def _cluster(backend: str, jobs: int, address: str | None) -> Iterator[str]:
    """Yield the name of joblib's backend while its cluster is up."""
    if backend == "dask":
        import distributed

        local: dict[str, Any] = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
        with _told_if_absent(backend, address):
            client = distributed.Client(address) if address else distributed.Client(**local)
        with client:
            yield "dask"
    elif backend == "ray":
        import ray
        from ray.util.joblib import register_ray

        register_ray()
        with _told_if_absent(backend, address):
            ray.init(address=address) if address else ray.init(num_cpus=jobs, include_dashboard=False)
        try:
            yield "ray"
        finally:
            ray.shutdown()
    else:
        yield backend
