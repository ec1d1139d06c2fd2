"""Where else a run's figures go: a thin adapter for each experiment tracker, all in one table. Knows figures by name.

A tracker's package is imported when it is asked for. Projects, servers and keys are the packages' own affair, by their
own environment variables (`WANDB_PROJECT`, `MLFLOW_TRACKING_URI`, `TRACKIO_DIR`, ...).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from bertsmith.errors import SettingsError, nearest

PROJECT = "bertsmith"
"""Of runs whose environment names none."""
NONE = "none"


@dataclass(frozen=True)
class TrackedRun:
    """folder: of its logs. name: for people. id: that of the run it goes on with. last_step: the one before, or 0."""

    folder: Path
    name: str
    id: str
    last_step: int


class Tracker(Protocol):
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of one step, as `KIND/NAME`."""

    def close(self, *, finished: bool) -> None:
        """The run is over, or was cut off."""


class TensorBoard:
    def __init__(self, run: TrackedRun):
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(run.folder), purge_step=run.last_step + 1 if run.last_step else None)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, *, finished: bool) -> None:
        self._writer.close()


class WeightsAndBiases:
    """Steps are a figure of their own: the service's counter takes none twice, and a run that goes on repeats some."""

    def __init__(self, run: TrackedRun):
        wandb = _package("wandb", "wandb")
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self._run = wandb.init(project=project, name=run.name, id=run.id, resume="allow")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def close(self, *, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class MLflow:
    def __init__(self, run: TrackedRun):
        mlflow = _package("mlflow", "mlflow")
        self._client = mlflow.MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if known is None else known.experiment_id
        tag = f"{PROJECT}.run"
        found = self._client.search_runs([experiment], f"tags.`{tag}` = '{run.id}'") if run.last_step else []
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._client.create_run(experiment, tags={tag: run.id}, run_name=run.name).info.run_id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, timestamp=round(time.time() * 1000), step=step)

    def close(self, *, finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")


class Trackio:
    def __init__(self, run: TrackedRun):
        trackio = _package("trackio", "trackio")
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._run = trackio.init(project=project, name=f"{run.name}-{run.id[:8]}", resume="allow", embed=False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, *, finished: bool) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
    "trackio": Trackio,
}


def tracker_names(values: Any) -> Any:
    """What `report_to` says, as names: commas part them, `none` is none. Raises `SettingsError` for an unknown one."""
    words = [values] if isinstance(values, str) else values
    if not isinstance(words, Iterable) or not all(isinstance(word, str) for word in words):
        return values
    names = tuple(name.strip() for word in words for name in word.split(",") if name.strip() not in ("", NONE))
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"no tracker {name!r}; {nearest(name, [*TRACKERS, NONE])}")
    return names


def _package(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise SettingsError(
            f"report_to: {name} is not installed: pip install 'bertsmith[{extra}]', or leave it out"
        ) from None
