"""Progress: silent, lines or bars, with rate and time left, as an object and as a callback."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest

from bertsmith.runtime.progress import BarProgress, LineProgress, Progress, duration, number, progress_for, show


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_silent_progress_counts_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    with progress.phase("reading", total=3, unit="files") as phase:
        phase.advance()
        phase.advance(2, loss=0.5)
        progress.note("half way")
    progress("merging", 1, 2)
    assert (phase.done, phase.shown) == (3, {"loss": 0.5})
    assert capsys.readouterr() == ("", "")


def test_lines_carry_count_rate_time_and_values() -> None:
    stream = io.StringIO()
    with LineProgress(stream, interval_seconds=0).phase("training", total=4, unit="steps") as phase:
        phase.advance(2, loss=2.34567)
        phase.advance(2, loss=1.0)
    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"training: 2/4 steps, \S+ steps/s, 0\.0 s left \| loss 2\.346", lines[0])
    assert re.fullmatch(r"training: 4/4 steps, \S+ steps/s, 0\.0 s \| loss 1", lines[-1])
    assert len(lines) == 2


def test_what_was_done_before_says_nothing_of_the_rate() -> None:
    with Progress().phase("training", total=1000, unit="steps", done_before=900) as phase:
        assert (phase.done, phase.rate, phase.remaining_seconds) == (900, 0.0, None)
        phase.advance()
        elapsed = phase.elapsed_seconds
        assert phase.done == 901
        assert phase.rate <= 1 / elapsed
        assert phase.remaining_seconds is not None
        assert phase.remaining_seconds >= 99 * elapsed


def test_a_phase_without_a_count_tells_its_time_alone() -> None:
    stream = io.StringIO()
    with LineProgress(stream).phase("baselines"):
        pass
    assert re.fullmatch(r"baselines, \S+ s\n", stream.getvalue())


def test_lines_are_few() -> None:
    stream = io.StringIO()
    with LineProgress(stream, interval_seconds=3600).phase("reading", unit="lines") as phase:
        for _ in range(1000):
            phase.advance()
    assert len(stream.getvalue().splitlines()) == 1
    assert stream.getvalue().startswith("reading: 1,000 lines, ")


def test_a_phase_that_fails_is_closed() -> None:
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), LineProgress(stream).phase("reading", total=2) as phase:
        phase.advance(1 // 0)
    assert stream.getvalue().startswith("reading: 0/2")


def test_as_a_callback() -> None:
    stream = io.StringIO()
    progress = LineProgress(stream, interval_seconds=3600)
    progress("counting", 1, 2)
    progress("counting", 2, 2)
    progress("merging", 10)
    progress("writing", 1, 1)
    progress("checking", 3)
    progress.finish()
    progress.finish()
    assert [line.split(",")[0] for line in stream.getvalue().splitlines()] == [
        "counting: 2/2",
        "merging: 10",
        "writing: 1/1",
        "checking: 3",
    ]


def test_a_called_phase_begins_when_the_one_before_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 110.0, 110.0, 110.0, 110.0, 110.0, 110.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    LineProgress(stream)("counting", 50, 50)
    assert stream.getvalue() == "counting: 50/50, 5/s, 10.0 s\n"


def test_bars_on_a_terminal() -> None:
    stream = Terminal()
    progress = BarProgress(stream)
    with progress.phase("epoch [1]", unit="steps") as outer:
        with progress.phase("evaluation", total=9) as inner:
            inner.advance(7, accuracy=0.5)
        progress.note("best [so far]")
        outer.advance(2, loss=0.25)
    progress.note("after")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    last_frame = text[text.rindex("epoch [1]") :]
    assert "epoch [1]" in text
    assert "2/2" in text
    assert "loss 0.25" in text
    assert "evaluation" not in last_frame
    assert "best [so far]" in text
    assert text.endswith("after\n")


def test_the_stream_decides() -> None:
    assert type(progress_for(Terminal())) is BarProgress
    assert type(progress_for(io.StringIO())) is LineProgress
    assert type(progress_for(Terminal(), quiet=True)) is Progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (59.96, "1 min 0 s"), (75, "1 min 15 s"), (3599.7, "1 h 0 min"), (7322, "2 h 2 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_and_values() -> None:
    assert [number(value) for value in (0.012345, 56.78, 12345.6)] == ["0.01235", "56.78", "12,346"]
    assert show({"loss": 2.34567, "step": 12, "state": "warm"}) == "loss 2.346, step 12, state warm"


def test_no_torch() -> None:
    program = "import sys, bertsmith.runtime.progress; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
