"""What a run writes down while it goes: one JSON line a record, and the figures once more for whoever tracks them."""

from __future__ import annotations

import math
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bertsmith.errors import SettingsError
from bertsmith.files import atomic_file
from bertsmith.training.lines import Lines
from bertsmith.training.trackers import TRACKERS, TrackedRun, Tracker

LINES = "metrics.jsonl"
RUN_ID = "run_id"


class RunLog:
    """`metrics.jsonl` in `folder`, and trackers by name: what another run wrote there is not this run's, and goes.

    last_step: of the checkpoint that a run goes on from. num_lines: those that were there when it was made, None for
    those of steps up to it; they stay, what came later is forgotten. note: takes what a user should read. Raises
    `SettingsError` for a tracker that is not installed.
    """

    def __init__(
        self,
        folder: Path,
        last_step: int = 0,
        report_to: Sequence[str] = ("tensorboard",),
        note: Callable[[str], None] = print,
        num_lines: int | None = None,
    ):
        if not last_step:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        self.lines = Lines(folder / LINES, note)
        if num_lines is None:
            num_lines = sum(1 for _ in takewhile(lambda record: record["step"] <= last_step, self.lines.records()))
        self.lines.keep_first(num_lines)
        self._note = note
        self._run = TrackedRun(folder.absolute(), folder.absolute().parent.name, _run_id(folder), last_step)
        self._trackers: dict[str, Tracker] = {}
        self._track(report_to)

    def go_back(self, step: int, num_lines: int) -> None:
        """To how it was after that step, with so many lines; trackers are told as of a run that goes on from there."""
        self.lines.keep_first(num_lines)
        names = list(self._trackers)
        self._close(finished=False)
        self._run = replace(self._run, last_step=step)
        self._track([name for name in names if name in self._trackers])

    def write(self, kind: str, step: int, values: Mapping[str, float], **facts: Any) -> None:
        """`kind` is `train`, `validation`, `spike`, `skipped` or `truncation`; `facts` are for the line alone, as JSON.

        A value that is not finite is written as its name, so that it is seen. A tracker that fails is left out from
        then on, a line that finds no room waits: nobody's server or disk stops a training run.
        """
        shown = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        record = {"kind": kind, "step": step, "time": round(time.time(), 3), **shown, **facts}
        self.lines.add(record)
        figures = {f"{kind}/{name}": value for name, value in values.items()}
        for name in list(self._trackers):
            self._try(name, lambda tracker: tracker.log(step, figures))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lines.close()
        self._close(finished=error is None)

    def _track(self, names: Sequence[str]) -> None:
        for name in names:
            try:
                self._trackers[name] = TRACKERS[name](self._run)
            except SettingsError:
                raise
            except Exception as error:
                self._trackers.pop(name, None)
                self._leave_out(name, error)

    def _close(self, *, finished: bool) -> None:
        for name in list(self._trackers):
            self._try(name, lambda tracker: tracker.close(finished=finished))

    def _try(self, name: str, use: Callable[[Tracker], None]) -> None:
        try:
            use(self._trackers[name])
        except Exception as error:
            del self._trackers[name]
            self._leave_out(name, error)

    def _leave_out(self, name: str, error: Exception) -> None:
        self._note(f"warning: {name} gets no more figures of this run: {type(error).__name__}: {error}")


def _run_id(folder: Path) -> str:
    """Written down, so that a run that goes on is the same one to its trackers."""
    path = folder / RUN_ID
    if not path.is_file():
        with atomic_file(path) as temporary:
            temporary.write_text(uuid.uuid4().hex, encoding="utf-8")
    return path.read_text(encoding="utf-8")
