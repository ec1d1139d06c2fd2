"""The table of runners, and the one that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from bertsmith.scale.local import LocalRunner
from bertsmith.scale.ray_cluster import ray_runner
from bertsmith.scale.runner import Runner, ScaleSettings


@contextmanager
def local_runner(settings: ScaleSettings) -> Iterator[LocalRunner]:
    """Processes of this machine."""
    yield LocalRunner(settings.local_workers, settings.local_threads)


RUNNERS: dict[str, Callable[[ScaleSettings], AbstractContextManager[Runner]]] = {
    "local": local_runner,
    "ray": ray_runner,
}


def open_runner(settings: ScaleSettings) -> AbstractContextManager[Runner]:
    """The runner for a `with` block; `settings.on` is said."""
    assert settings.on is not None
    return RUNNERS[settings.on](settings)
