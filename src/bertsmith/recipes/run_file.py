"""What a run's folder says of the run itself: what it is made with and, once it is over, what came of it.

A file beside the log: it is there from before the first step on, so that a run that was cut off, one that is over and
one of somebody else's can be told apart where there are no checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bertsmith.artifact import RECORD
from bertsmith.errors import SettingsError
from bertsmith.files import atomic_file, read_json
from bertsmith.recipes.start import LOGS
from bertsmith.training.checkpoint import difference
from bertsmith.training.result import TrainingResult

RUN = "run.json"


def has_begun(folder: Path) -> bool:
    """Whether a run has begun there."""
    return (folder / LOGS / RUN).is_file()


def write_run(folder: Path, identity: Mapping[str, Any], result: TrainingResult | None = None) -> None:
    """identity: what the run is made with. result: where it is over, its model saved and measured."""
    with atomic_file(folder / LOGS / RUN) as temporary:
        values = {"identity": identity, "result": None if result is None else asdict(result)}
        temporary.write_text(json.dumps(values), encoding="utf-8")  # a loss may be NaN


def read_result(folder: Path, identity: Mapping[str, Any], *, overwrite: bool) -> TrainingResult | None:
    """Of a run made with `identity` that is over; None where it is not, or its model is gone.

    Raises `SettingsError` where the folder is another run's, unless that one is to be overwritten.
    """
    if not has_begun(folder):
        return None
    values = read_json(folder / LOGS / RUN)
    if (found := difference(values["identity"], json.loads(json.dumps(identity)))) is not None:
        if overwrite:
            return None
        name, theirs, ours = found
        raise SettingsError(
            f"{folder}: made by another run: {name} was {theirs!r} there and is {ours!r} now; go on with the settings "
            "that it began with, name another --output-dir, or begin anew with --overwrite-output-dir"
        )
    if values["result"] is None or not (folder / RECORD).is_file():
        return None
    return TrainingResult.of(values["result"])
