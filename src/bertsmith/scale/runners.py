"""The table of runners, and the one that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from bertsmith.runtime.interruption import stoppable
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


@contextmanager
def open_runner(settings: ScaleSettings) -> Iterator[Runner]:
    """The runner for a `with` block, within which signals ask instead of killing; `settings.on` is said."""
    assert settings.on is not None
    with stoppable(), RUNNERS[settings.on](settings) as runner:
        yield runner
