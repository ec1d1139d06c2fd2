"""Progress of long work: bars on a terminal, plain lines elsewhere, nothing when asked. Knows no model, data or torch.

Work on higher floors is given a `Progress` and opens phases on it. Work on the lower floors takes a plain callback
`(phase, done, total)`, and a `Progress` is such a callback as well.

>>> with Progress().phase("reading", total=2, unit="files") as phase:
...     for _ in range(2):
...         phase.advance()
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

Shown = float | int | str


class Phase:
    """One stretch of work with a known or unknown end; made by `Progress.phase`, closed by its `with` block."""

    def __init__(
        self,
        progress: Progress,
        name: str,
        total: int | None,
        unit: str,
        started_seconds: float | None = None,
        done_before: int = 0,
    ):
        self.name = name
        self.total = total
        self.unit = unit
        self.done = done_before
        self.shown: dict[str, Shown] = {}
        self._progress = progress
        self._done_before = done_before
        self._started_seconds = time.monotonic() if started_seconds is None else started_seconds

    def advance(self, count: int = 1, **shown: Shown) -> None:
        """`count` more units are done; `shown` are named values to show beside the bar (a loss, say) until replaced."""
        self.done += count
        self.shown.update(shown)
        self._progress.drawn(self)

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._started_seconds

    @property
    def rate(self) -> float:
        """Units a second since the phase began."""
        return (self.done - self._done_before) / max(self.elapsed_seconds, 1e-9)

    @property
    def remaining_seconds(self) -> float | None:
        """Time left at the rate so far; `None` while nothing is known."""
        if self.total is None or self.done == self._done_before:
            return None
        return max(self.total - self.done, 0) / self.rate

    def __enter__(self) -> Self:
        self._progress.opened(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.closed(self)


class Progress:
    """Silent progress, and the base of those that show something."""

    def __init__(self) -> None:
        self._called: Phase | None = None
        self._idle_since_seconds = time.monotonic()

    def phase(self, name: str, total: int | None = None, unit: str = "items", done_before: int = 0) -> Phase:
        """A phase of `total` units (`None`: unknown), for a `with` block; phases may lie within each other.

        done_before: units that were done before it began, which say nothing of its rate.
        """
        return Phase(self, name, total, unit, done_before=done_before)

    def note(self, text: str) -> None:
        """A line worth keeping, above the bars or among the lines."""

    def __call__(self, phase: str, done: int, total: int | None = None) -> None:
        """The callback form: `done` of `total` units so far. A phase ends when it is full or another one is named."""
        if self._called is None or self._called.name != phase:
            self.finish()
            # The first call comes after the first piece of work, so the phase began when the last one ended.
            self._called = Phase(self, phase, total, "", self._idle_since_seconds)
            self.opened(self._called)
        self._called.total = total
        self._called.advance(done - self._called.done)
        if total is not None and done >= total:
            self.finish()

    def finish(self) -> None:
        """End what the callback form left open."""
        if self._called is not None:
            self.closed(self._called)
            self._called = None
            self._idle_since_seconds = time.monotonic()

    def opened(self, phase: Phase) -> None:
        """Called by a phase when it begins."""

    def drawn(self, phase: Phase) -> None:
        """Called by a phase when it has advanced."""

    def closed(self, phase: Phase) -> None:
        """Called by a phase when it ends, well or not."""


class LineProgress(Progress):
    """A plain line when a phase begins, every few seconds, and when it ends: for log files and pipes."""

    def __init__(self, stream: TextIO | None = None, interval_seconds: float = 5.0):
        super().__init__()
        self._stream = stream
        self._interval_seconds = interval_seconds
        self._written_seconds: dict[Phase, float] = {}

    def note(self, text: str) -> None:
        print(text, file=self._stream or sys.stderr, flush=True)

    def opened(self, phase: Phase) -> None:
        self._written_seconds[phase] = time.monotonic()

    def drawn(self, phase: Phase) -> None:
        now = time.monotonic()
        if now - self._written_seconds[phase] >= self._interval_seconds and phase.done != phase.total:
            self._written_seconds[phase] = now
            left = phase.remaining_seconds
            self._write(phase, f", {duration(left)} left" if left is not None else "")

    def closed(self, phase: Phase) -> None:
        del self._written_seconds[phase]
        self._write(phase, f", {duration(phase.elapsed_seconds)}")

    def _write(self, phase: Phase, time_text: str) -> None:
        total = f"/{phase.total:,}" if phase.total is not None else ""
        unit = f" {phase.unit}" if phase.unit else ""
        shown = f" | {show(phase.shown)}" if phase.shown else ""
        if phase.total is None and not phase.done:  # what is counted in nothing but time
            self.note(f"{phase.name}{time_text}{shown}")
        else:
            self.note(f"{phase.name}: {phase.done:,}{total}{unit}, {number(phase.rate)}{unit}/s{time_text}{shown}")


class BarProgress(Progress):
    """Bars with rate and time left, on a terminal."""

    def __init__(self, stream: TextIO | None = None):
        super().__init__()
        self._stream = stream
        self._bars: RichProgress | None = None
        self._tasks: dict[Phase, TaskID] = {}

    def note(self, text: str) -> None:
        if self._bars is None:
            print(text, file=self._stream or sys.stderr, flush=True)
        else:
            self._bars.console.print(text, markup=False, highlight=False)

    def opened(self, phase: Phase) -> None:
        if self._bars is None:
            self._bars = _rich_bars(self._stream or sys.stderr)
            self._bars.start()
        self._tasks[phase] = self._bars.add_task(phase.name, total=phase.total, completed=phase.done, rate="", shown="")

    def drawn(self, phase: Phase) -> None:
        assert self._bars is not None
        unit = f" {phase.unit}" if phase.unit else ""
        self._bars.update(
            self._tasks[phase],
            completed=phase.done,
            total=phase.total,
            rate=f"{number(phase.rate)}{unit}/s",
            shown=show(phase.shown),
        )

    def closed(self, phase: Phase) -> None:
        assert self._bars is not None
        task = self._tasks.pop(phase)
        if self._tasks:
            # A phase within another leaves no bar behind: a run evaluates many times.
            self._bars.remove_task(task)
        else:
            self._bars.update(task, total=phase.total if phase.total is not None else phase.done)
            self._bars.stop()
            self._bars = None


def progress_for(stream: TextIO, *, quiet: bool = False) -> Progress:
    """The progress that suits `stream`: none when `quiet`, bars on a terminal, lines elsewhere."""
    if quiet:
        return Progress()
    return BarProgress(stream) if stream.isatty() else LineProgress(stream)


def is_silent(progress: Progress | None) -> bool:
    """Whether nobody sees it."""
    return progress is None or type(progress) is Progress


def number(value: float) -> str:
    """A number in few characters.

    >>> number(0.012345), number(56.78), number(12345.6)
    ('0.01235', '56.78', '12,346')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units.

    >>> duration(0.44), duration(75), duration(7322)
    ('0.4 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def shorten(text: str, num_characters: int = 80) -> str:
    """A text on one line of a table, its end left out where it is long.

    >>> shorten("a b c", 4)
    'a b…'
    """
    return text if len(text) <= num_characters else text[: num_characters - 1] + "…"


def show(values: Mapping[str, Shown]) -> str:
    """Named values on one line.

    >>> show({"loss": 2.34567, "step": 12})
    'loss 2.346, step 12'
    """
    return ", ".join(f"{name} {number(value) if isinstance(value, float) else value}" for name, value in values.items())


def _rich_bars(stream: TextIO) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[shown]}", markup=False),
        console=Console(file=stream),
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=stream.isatty(),
    )
