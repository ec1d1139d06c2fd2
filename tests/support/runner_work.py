"""Functions that workers are given in tests: they have to be importable in another process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertsmith.errors import DataError
from bertsmith.runtime.interruption import raise_if_asked


def square(number: int) -> int:
    return number * number


def fail_at_three(number: int) -> int:
    if number == 3:
        raise DataError("numbers.txt, line 3: a three")
    if number == 4:
        raise ZeroDivisionError("four")
    return number


def die_once(item: tuple[Path, int]) -> int:
    """Kills its own process the first time that it is given an odd number."""
    folder, number = item
    seen = folder / str(number)
    if number % 2 and not seen.exists():
        seen.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_always(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def sleep_until_asked(started: Path) -> None:
    """Work without an end that can be put down."""
    started.touch()
    while True:
        raise_if_asked()
        time.sleep(0.02)


def nap(started: Path) -> None:
    """Short work that never looks whether it was asked to stop."""
    started.touch()
    time.sleep(0.5)


def threads(_: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def write_shard(part: tuple[Path, str], folder: Path) -> Mapping[str, Any]:
    """Writes the text; notes in the first file that it did so, a line a time. `die`: once, by kill -9."""
    notes, text = part
    with notes.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    (folder / "out.txt").write_text(text.upper(), encoding="utf-8")
    if text == "bad":
        raise DataError("a bad text")
    if text == "die" and notes.read_text(encoding="utf-8").count("die") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "wait":
        sleep_until_asked(notes.with_name("waiting"))
    return {"length": len(text)}
