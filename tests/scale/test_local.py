"""Workers that are processes: every item once, in spite of errors, deaths and signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from runner_work import die_always, die_once, fail_at_three, nap, sleep_until_asked, square, threads

from bertsmith.runtime.interruption import InterruptedRunError, stoppable
from bertsmith.scale.local import LocalRunner


def values(function: Callable[[Any], Any], items: Iterable[Any], num_workers: int = 2) -> dict[Any, Any]:
    outcomes = list(LocalRunner(num_workers).run(function, items))
    found = {outcome.item: outcome.value if outcome.error is None else outcome.error for outcome in outcomes}
    assert len(found) == len(outcomes), "an item came twice"
    return found


def test_every_item_is_done_once() -> None:
    assert values(square, range(7)) == {number: number * number for number in range(7)}


def test_an_error_is_the_item_s_and_the_others_go_on() -> None:
    found = values(fail_at_three, range(6))
    assert found[3] == "numbers.txt, line 3: a three"
    assert found[4].startswith("ZeroDivisionError: four (")
    assert [found[number] for number in (0, 1, 2, 5)] == [0, 1, 2, 5]


def test_what_a_dead_worker_had_is_given_to_another(tmp_path: Path) -> None:
    assert values(die_once, [(tmp_path, n) for n in range(4)]) == {(tmp_path, n): n for n in range(4)}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1", "3"]


def test_an_item_that_costs_three_workers_is_given_up() -> None:
    found = values(die_always, range(3))
    assert (found[0], found[2]) == (0, 2)
    assert found[1].startswith("its worker died, 3 times")


def test_the_next_item_is_asked_for_after_the_outcomes_so_far() -> None:
    told: list[int] = []

    def items() -> Iterator[int]:
        for number in range(3):
            assert told == list(range(number)), "with one worker, each outcome is known before the next item"
            yield number

    for outcome in LocalRunner(1).run(square, items()):
        told.append(outcome.item)
    assert told == [0, 1, 2]


def test_workers_have_their_share_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [outcome.value for outcome in LocalRunner(1, num_threads=3).run(threads, [0])] == ["3"]
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("work", [sleep_until_asked, nap])
def test_a_signal_puts_the_work_down_and_ends_the_workers(work: Callable[[Path], None], tmp_path: Path) -> None:
    started = tmp_path / "started"

    def ask() -> None:
        while not started.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask)
    asking.start()
    with stoppable(), pytest.raises(InterruptedRunError, match="stopped by SIGTERM"):
        list(LocalRunner(1).run(work, [started, started]))
    asking.join()
    assert not _children()


def _children() -> list[str]:
    """Of this process, those that run `spawn_main`: the workers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and b"spawn_main" in (process / "cmdline").read_bytes():
                found.append(process.name)
        except (OSError, IndexError):
            continue
    return found
