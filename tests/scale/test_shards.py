"""Shards: made once each, kept over deaths, errors and signals, and made again where a marker does not hold."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from runner_work import write_shard

from bertsmith.errors import SettingsError
from bertsmith.runtime.interruption import InterruptedRunError
from bertsmith.scale.local import LocalRunner
from bertsmith.scale.shards import DONE, Made, Shard, ShardError, Work, locked, shards_folder, work_off


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").touch()
    return tmp_path / "notes"


def run(notes: Path, *texts: str, settings: str = "s") -> list[Made]:
    shards = [Shard((notes, text), {"text": text}, f"t.txt, text {place}") for place, text in enumerate(texts)]
    folder = shards_folder(notes.with_name("output"))
    with locked(folder):
        return work_off(Work(write_shard, {"settings": settings}, shards), folder, LocalRunner(2))


def texts_of(made: list[Made]) -> list[str]:
    return [(shard.folder / "out.txt").read_text() for shard in made]


def done(notes: Path) -> list[str]:
    return sorted(notes.read_text().split())


def test_shards_come_in_order_with_their_accounts(notes: Path) -> None:
    made = run(notes, "b", "aa", "ccc")
    assert texts_of(made) == ["B", "AA", "CCC"]
    assert [shard.account for shard in made] == [{"length": 1}, {"length": 2}, {"length": 3}]
    assert done(notes) == ["aa", "b", "ccc"]


def test_a_later_run_makes_nothing_again(notes: Path) -> None:
    first = run(notes, "a", "b")
    assert run(notes, "a", "b") == first
    assert done(notes) == ["a", "b"]


def test_what_was_changed_is_made_again_and_nothing_else(notes: Path) -> None:
    first, second = run(notes, "a", "b")
    (first.folder / "out.txt").write_text("damaged")
    assert texts_of(run(notes, "a", "b")) == ["A", "B"]
    (second.folder / DONE).write_text("{")
    assert texts_of(run(notes, "a", "b")) == ["A", "B"]
    assert done(notes) == ["a", "a", "b", "b"]
    run(notes, "a", "x")
    assert done(notes) == ["a", "a", "b", "b", "x"]
    run(notes, "a", "x", settings="others")
    assert done(notes) == ["a", "a", "a", "b", "b", "x", "x"]


def test_a_marker_of_other_settings_does_not_count(notes: Path) -> None:
    (made,) = run(notes, "a")
    marker = json.loads((made.folder / DONE).read_text())
    (made.folder / DONE).write_text(json.dumps(marker | {"settings": {"settings": "others"}}))
    run(notes, "a")
    assert done(notes) == ["a", "a"]


def test_a_failing_shard_is_named_and_the_others_are_kept(notes: Path) -> None:
    with pytest.raises(
        ShardError, match=r"1 of 3 shards failed; the other 2 are kept(.|\n)*t\.txt, text 1: a bad text"
    ):
        run(notes, "a", "bad", "c")
    assert not list(shards_folder(notes.with_name("output")).glob(".*"))
    assert texts_of(run(notes, "a", "better", "c")) == ["A", "BETTER", "C"]
    assert done(notes) == ["a", "bad", "better", "c"]


def test_a_worker_that_dies_leaves_no_half_of_a_shard(notes: Path) -> None:
    assert texts_of(run(notes, "a", "die", "c")) == ["A", "DIE", "C"]
    assert done(notes) == ["a", "c", "die", "die"]
    run(notes, "a", "die", "c")
    assert done(notes) == ["a", "c", "die", "die"]
    assert not list(shards_folder(notes.with_name("output")).glob(".*"))


def test_a_signal_keeps_what_is_done(notes: Path) -> None:
    def ask() -> None:
        while not notes.with_name("waiting").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(InterruptedRunError, match=r"stopped by SIGINT: \d of 3 shards are done; go on with the same"):
        run(notes, "a", "b", "wait")
    asking.join()
    assert not list(shards_folder(notes.with_name("output")).glob(".*"))
    run(notes, "a", "b", "c")
    assert [text for text in done(notes) if text != "wait"] == ["a", "b", "c"]


def test_two_runs_on_one_folder_are_refused(notes: Path) -> None:
    with locked(shards_folder(notes.with_name("output"))), pytest.raises(SettingsError, match="is working there now"):
        run(notes, "a")
