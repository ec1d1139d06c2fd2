"""Runs that go on: where a run's checkpoints are, which of them it begins from, and when it may begin anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.errors import FileFormatError, SettingsError
from bertsmith.files import recover_folder
from bertsmith.model.networks import Network
from bertsmith.recipes.start import default_folder, run_folder
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings
from bertsmith.training.checkpoint import Checkpoint, Checkpoints, checkpoints_folder, has_checkpoints
from bertsmith.training.trainer import TrainingSettings

AUTO = "auto"
FREE = {"device", "logging_steps", "save_steps", "save_total_limit", "non_finite", "report_to"}
"""Training settings that a run may go on with others of."""


class ResumeSettings(Settings):
    """What every run that trains has."""

    resume_from_checkpoint: str | None = Field(
        None, description="go on where a run was cut off: auto for its newest checkpoint, or the folder of one"
    )


def training_folder(asked: Path | None, name: str, data: Path, settings: ResumeSettings, *, overwrite: bool) -> Path:
    """As `run_folder`; refused too where checkpoints are there and nobody said what is to become of them."""
    folder = default_folder(name, data) if asked is None else asked
    checkpoints = checkpoints_folder(folder)
    cut_off = has_checkpoints(checkpoints)
    if cut_off and settings.resume_from_checkpoint is None and not overwrite:
        raise SettingsError(
            f"{checkpoints}: holds checkpoints of a run that was cut off; go on with --resume-from-checkpoint auto, or "
            "begin anew with --overwrite-output-dir"
        )
    goes_on = cut_off and settings.resume_from_checkpoint is not None
    return run_folder(folder, name, data, overwrite=overwrite or goes_on)


@contextmanager
def resumable(
    folder: Path,
    settings: ResumeSettings,
    training: TrainingSettings,
    network: Network,
    made_with: Mapping[str, Any],
    progress: Progress,
) -> Iterator[tuple[Checkpoints, Checkpoint | None]]:
    """The run's checkpoints, and the one to go on from; when the block ends well they are deleted.

    made_with: what, beside training settings and the network's config, a checkpoint has to have been made with.
    """
    wanted = settings.resume_from_checkpoint
    identity = {
        **made_with,
        "training": training.model_dump(mode="json", exclude=FREE),
        "network": network.config.model_dump(mode="json"),
    }
    with Checkpoints(checkpoints_folder(folder), identity, training.save_total_limit, progress.note) as checkpoints:
        recover_folder(folder)
        if wanted is None:
            checkpoints.remove()
            start = None
        elif wanted == AUTO:
            start = checkpoints.newest()
        else:
            if not Path(wanted).is_dir():
                raise FileFormatError(f"{wanted}: no checkpoint there; name its folder, or auto for the newest one")
            start = checkpoints.read(Path(wanted))
        if wanted is not None:
            progress.note("no checkpoints: begins anew" if start is None else f"goes on after step {start.step:,}")
        yield checkpoints, start
        checkpoints.remove()
