"""A run's log that tells somebody of each evaluation, who may end the run by raising. Knows no sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bertsmith.training.judge import Metrics
from bertsmith.training.logs import RunLog

VALIDATION = "validation"
Watch = Callable[[int, Metrics], None]
"""Hears the number of the evaluation, from 1, and its metrics."""


class WatchedLog(RunLog):
    """A `RunLog`; evaluations before a resumed run's beginning are counted and not told again."""

    def __init__(
        self,
        folder: Path,
        last_step: int,
        report_to: Sequence[str],
        note: Callable[[str], None],
        watch: Watch | None = None,
        num_lines: int | None = None,
    ):
        super().__init__(folder, last_step, report_to, note, num_lines)
        self._watch = watch
        self._num_evaluations = sum(record["kind"] == VALIDATION for record in self.lines.records())

    def go_back(self, step: int, num_lines: int) -> None:
        """As `RunLog.go_back`; what is evaluated again is told again, under the same numbers."""
        super().go_back(step, num_lines)
        self._num_evaluations = sum(record["kind"] == VALIDATION for record in self.lines.records())

    def write(self, kind: str, step: int, values: Mapping[str, float], **facts: Any) -> None:
        """As `RunLog.write`."""
        super().write(kind, step, values, **facts)
        if kind == VALIDATION:
            self._num_evaluations += 1
            if self._watch is not None:
                self._watch(self._num_evaluations, values)
