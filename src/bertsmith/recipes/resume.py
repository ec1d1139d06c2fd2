"""Runs that go on: where a run's checkpoints are, which of them it begins from, and when it may begin anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.errors import SettingsError
from bertsmith.files import recover_folder
from bertsmith.model.networks import Network
from bertsmith.recipes.run_file import has_begun, read_result, write_run
from bertsmith.recipes.start import LOGS, default_folder, run_folder
from bertsmith.recipes.watch import Watch, WatchedLog
from bertsmith.runtime.processes import processes
from bertsmith.runtime.progress import Progress
from bertsmith.scale.runner import ScaleSettings
from bertsmith.settings import Settings
from bertsmith.training.checkpoint import Checkpoint, Checkpoints, checkpoints_folder, has_checkpoints, is_of_this_job
from bertsmith.training.logs import RunLog
from bertsmith.training.result import TrainingResult
from bertsmith.training.settings import TrainingSettings

AUTO = "auto"
FREE = {
    "device",
    "logging_steps",
    "save_steps",
    "save_total_limit",
    "non_finite",
    "report_to",
    "data_parallel",
    "process_timeout_seconds",
}
"""Training settings that a run may go on with others of."""


class ResumeSettings(Settings):
    """What every run that trains has."""

    resume_from_checkpoint: str | None = Field(
        None, description="go on where a run was cut off: auto for its newest checkpoint, or the folder of one"
    )
    scale: ScaleSettings = ScaleSettings()

    @property
    def for_a_worker(self) -> dict[str, Any]:
        """What was said, to be said again in each worker."""
        return {name: value for name, value in self.said().items() if name != "scale"}


def training_folder(asked: Path | None, name: str, data: Path, settings: ResumeSettings, *, overwrite: bool) -> Path:
    """As `run_folder`; refused too where checkpoints are there and nobody said what is to become of them."""
    folder = default_folder(name, data) if asked is None else asked
    processes().from_first(lambda: _refuse_folder(folder, name, data, settings, overwrite=overwrite))
    return folder


def _refuse_folder(folder: Path, name: str, data: Path, settings: ResumeSettings, *, overwrite: bool) -> None:
    checkpoints = checkpoints_folder(folder)
    cut_off = has_checkpoints(checkpoints)
    implied = _implied(checkpoints)
    wanted = implied or settings.resume_from_checkpoint
    if cut_off and wanted is None and not overwrite:
        raise SettingsError(
            f"{checkpoints}: holds checkpoints of a run that was cut off; go on with --resume-from-checkpoint auto, or "
            "begin anew with --overwrite-output-dir"
        )
    goes_on = wanted is not None and (cut_off or implied is not None or (wanted == AUTO and has_begun(folder)))
    run_folder(folder, name, data, overwrite=overwrite or goes_on)


def _implied(checkpoints: Path) -> str | None:
    """A job whose launcher starts its processes again goes on, whatever was asked for at first."""
    return AUTO if processes().was_restarted or is_of_this_job(checkpoints) else None


def log_of(
    folder: Path,
    identity: Mapping[str, Any],
    begun: Checkpoint | None,
    report_to: Sequence[str],
    note: Callable[[str], None],
    watch: Watch | None,
) -> AbstractContextManager[RunLog | None]:
    """The run's log, going on where `begun` was saved; of several processes the first one has it.

    Beside it stands from now on that this run has begun.
    """
    if not processes().is_first:
        return nullcontext()
    step, num_lines = (0, 0) if begun is None else (begun.step, begun.state.get("num_log_lines"))
    log = WatchedLog(folder / LOGS, step, report_to, note, watch, num_lines)
    write_run(folder, identity)
    return log


def identity_of(training: TrainingSettings, network: Network, made_with: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a run that goes on has to have been made with: `made_with`, most training settings, the network's config."""
    return {
        **made_with,
        "training": training.model_dump(mode="json", exclude=FREE),
        "network": network.config.model_dump(mode="json"),
    }


def finished(
    folder: Path, settings: ResumeSettings, identity: Mapping[str, Any], progress: Progress, *, overwrite: bool
) -> TrainingResult | None:
    """What came of this run where it is to go on and is over already; None where something is left to train."""
    place = checkpoints_folder(folder)

    def find() -> TrainingResult | None:
        is_to_go_on = (_implied(place) or settings.resume_from_checkpoint) == AUTO
        return read_result(folder, identity, overwrite=overwrite) if is_to_go_on else None

    result = processes().from_first(find)
    if result is not None:
        progress.note(f"{folder}: this run is over, after step {result.num_steps:,}: nothing is left to train")
        with Checkpoints(place, identity, 1, progress.note) as checkpoints:
            checkpoints.remove()
    return result


@contextmanager
def resumable(
    folder: Path,
    settings: ResumeSettings,
    identity: Mapping[str, Any],
    limit: int,
    progress: Progress,
) -> Iterator[tuple[Checkpoints, Checkpoint | None]]:
    """The run's checkpoints, and the one to go on from; when the block ends well they are deleted.

    identity: what a checkpoint has to have been made with. limit: how many are kept.
    """
    place = checkpoints_folder(folder)
    wanted = processes().from_first(lambda: _implied(place)) or settings.resume_from_checkpoint
    with Checkpoints(place, identity, limit, progress.note) as checkpoints:
        if processes().is_first:
            recover_folder(folder)
        if wanted is None:
            checkpoints.remove()
            start = None
        elif wanted == AUTO:
            start = checkpoints.newest()
        else:
            start = checkpoints.read(Path(wanted))
        if wanted is not None:
            progress.note("no checkpoints: begins anew" if start is None else f"goes on after step {start.step:,}")
        yield checkpoints, start
        checkpoints.remove()
