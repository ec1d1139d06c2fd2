"""Figures reach every tracker as they are in the run's own log, across a run that goes on; none of them is required."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bertsmith.errors import SettingsError
from bertsmith.training import trackers
from bertsmith.training.logs import RunLog
from bertsmith.training.settings import TrainingSettings


def names(value: Any) -> tuple[str, ...]:
    return TrainingSettings.of({"report_to": value}).report_to


def test_trackers_are_named_as_transformers_names_them() -> None:
    assert TrainingSettings().report_to == ("tensorboard",)
    assert names("tensorboard,wandb") == names(["tensorboard", "wandb"]) == ("tensorboard", "wandb")
    assert names("none") == names([]) == ()
    with pytest.raises(SettingsError, match="no tracker 'wandbs'; did you mean 'wandb'"):
        names(["tensorboard,wandbs"])
    with pytest.raises(SettingsError, match="report_to"):
        names(3)


@pytest.mark.parametrize("name", sorted({*trackers.TRACKERS} - {"tensorboard"}))
def test_a_tracker_that_is_not_installed_is_named_with_its_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(SettingsError, match=rf"{name} is not installed: pip install 'bertsmith\[{name}\]'"):
        RunLog(tmp_path / "run/logs", report_to=(name,))


def test_without_trackers_there_are_the_lines_alone(tmp_path: Path) -> None:
    with RunLog(tmp_path / "logs", report_to=()) as log:
        log.write("train", 1, {"loss": 0.5}, samples=[3, 4])
    (line,) = (tmp_path / "logs/metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["samples"] == [3, 4]
    assert not list((tmp_path / "logs").glob("events.*"))


class Unreachable:
    def __init__(self, run: trackers.TrackedRun):
        raise ConnectionError(f"no server for {run.name}")


def test_a_tracker_that_cannot_begin_is_told_and_training_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(trackers.TRACKERS, "wandb", Unreachable)
    notes: list[str] = []
    with RunLog(tmp_path / "run/logs", report_to=("wandb",), note=notes.append) as log:
        log.write("train", 1, {"loss": 0.5})
    assert notes == ["warning: wandb gets no more figures of this run: ConnectionError: no server for run"]
    assert (tmp_path / "run/logs/metrics.jsonl").read_text().count("\n") == 1


class Broken:
    def __init__(self, run: trackers.TrackedRun):
        self.run = run

    def log(self, step: int, values: Any) -> None:
        raise ConnectionError("no route")

    def close(self, *, finished: bool) -> None:
        raise AssertionError("was left out")


def test_a_tracker_that_fails_is_left_out_and_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trackers.TRACKERS, "broken", Broken)
    notes: list[str] = []
    with RunLog(tmp_path / "logs", report_to=("broken", "tensorboard"), note=notes.append) as log:
        log.write("train", 1, {"loss": 0.5})
        log.write("train", 2, {"loss": 0.4})
    assert notes == ["warning: broken gets no more figures of this run: ConnectionError: no route"]
    assert len((tmp_path / "logs/metrics.jsonl").read_text().splitlines()) == 2


def two_parts_of_a_run(folder: Path, name: str) -> None:
    """Cut off after step 3, of which the last checkpoint is step 2's, and gone on with to step 4."""
    logs = folder / "mine" / "logs"
    with pytest.raises(KeyboardInterrupt), RunLog(logs, report_to=(name,), note=pytest.fail) as log:
        for step in (1, 2, 3):
            log.write("train", step, {"loss": 1 / step})
        raise KeyboardInterrupt
    with RunLog(logs, 2, report_to=(name,), note=pytest.fail) as log:
        for step in (3, 4):
            log.write("train", step, {"loss": 1 / step})
        log.write("validation", 4, {"accuracy": 0.75})


LOSSES = {step: 1 / step for step in (1, 2, 3, 4)}


def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    two_parts_of_a_run(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "mine" / "logs"))
    events.Reload()
    assert {event.step: event.value for event in events.Scalars("train/loss")} == pytest.approx(LOSSES)
    assert [event.value for event in events.Scalars("validation/accuracy")] == [0.75]


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its later versions prefer a data base
    uri = (tmp_path / "store").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    two_parts_of_a_run(tmp_path, "mlflow")
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("bertsmith").experiment_id])
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert {metric.step: metric.value for metric in history} == LOSSES
    assert run.data.metrics["validation/accuracy"] == 0.75


def records_of(path: Path) -> Iterator[bytes]:
    """What an offline run wrote: a LevelDB log, blocks of 32 KiB of records with (crc, length, kind) before them.

    Kinds: 1 whole, 2 first, 3 middle, 4 last part of a record. The first block begins with 7 bytes of its own.
    """
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        length, kind = struct.unpack_from("<HB", data, at + 4)
        if left < 7 or kind == 0:
            at += left
            continue
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    two_parts_of_a_run(tmp_path, "wandb")
    runs: dict[Path, list[Any]] = {}
    deadline = time.monotonic() + 60
    # A process of its own writes, and may do so still: a run's last record is its exit.
    while len(runs) < 2 or any(not (found and found[-1].HasField("exit")) for found in runs.values()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        runs = {
            path: list(map(Record.FromString, records_of(path))) for path in tmp_path.glob("wandb/offline-*/*.wandb")
        }
    records = [record for path in sorted(runs) for record in runs[path]]
    rows = [{item.nested_key[0]: json.loads(item.value_json) for item in record.history.item} for record in records]
    assert {row["step"]: row["train/loss"] for row in rows if "train/loss" in row} == LOSSES
    assert len({record.run.run_id for record in records if record.HasField("run")}) == 1


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    two_parts_of_a_run(tmp_path, "trackio")
    (run,) = SQLiteStorage.get_runs("bertsmith")
    rows = SQLiteStorage.get_logs("bertsmith", run)
    assert {row["step"]: row["train/loss"] for row in rows if "train/loss" in row} == LOSSES
