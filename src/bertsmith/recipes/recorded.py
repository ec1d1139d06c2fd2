"""The examples that a saved model was made with, found again by its record and checked against their hashes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertsmith.artifact import RECORD, Artifact
from bertsmith.catalog import data_set
from bertsmith.errors import DataError, SettingsError
from bertsmith.evaluation.findings import Training
from bertsmith.files import sha256
from bertsmith.recipes.examples import DataSettings, Examples, load_examples


def recorded_examples(artifact: Artifact, data_dir: Path | None = None) -> Examples:
    """All sides of the model's data, split as they were.

    data_dir: looked in before the places where the files, or the data set's, were; what came from the hub is fetched
    from there again. Raises `DataError` where one is missing or was changed since.
    """
    data, settings = artifact.record.get("data", {}), artifact.record.get("settings", {})
    files = data.get("files", {})
    if not files:
        raise DataError(f"{RECORD}: names no examples that the model was made with")
    known = {name: settings[name] for name in DataSettings.model_fields if name in settings}
    known["columns"] = data.get("columns", {})
    for side, file in files.items():
        known |= _found(side, file, data_dir)
    return load_examples(artifact.task, DataSettings.of(known, RECORD))


def recorded_training(artifact: Artifact, data_dir: Path | None = None) -> Training:
    """The model's training examples, or why they are not to be had."""
    try:
        return Training(recorded_examples(artifact, data_dir).train)
    except (DataError, SettingsError) as error:
        return Training(None, f"the training examples are not at hand ({error})")


def _found(side: str, file: Mapping[str, Any], data_dir: Path | None) -> dict[str, Any]:
    """The settings of one side, its file checked."""
    if file.get("dataset"):
        if file["data_dir"] is None:
            return {"data_dir": None}
        folder = _folder(file, data_dir)
        _check(data_set(file["dataset"]).file(file["split"], folder), file)
        return {"data_dir": folder}
    path = Path(file["path"])
    if data_dir is not None and (data_dir / file["name"]).is_file():
        path = data_dir / file["name"]
    _check(path, file)
    return {f"{side}_file": path}


def _folder(file: Mapping[str, Any], data_dir: Path | None) -> Path:
    """Where the data set is: in `data_dir` if its file is there, else where it was."""
    known = data_set(file["dataset"])
    try:
        return data_dir if data_dir is not None and known.file(file["split"], data_dir) else Path(file["data_dir"])
    except DataError:
        return Path(file["data_dir"])


def _check(path: Path, file: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise DataError(f"{path}: not there; say with --data-dir which folder it is in now")
    if sha256(path) != file["sha256"]:
        raise DataError(f"{path}: changed since the model was made: its SHA-256 is not the one in {RECORD}")
