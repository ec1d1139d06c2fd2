"""Output: tables for people, one JSON document for scripts."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bertsmith.cli.output import Output, cell, rows_of

FACTS = {"kind": "corpus", "size": 1234567, "skipped": {"blank": 3, "none": None}, "labels": ["a", "b"], "empty": []}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_facts_are_tab_separated_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Output().facts("a corpus", FACTS)
    assert capsys.readouterr().out == "a corpus\nkind\tcorpus\nsize\t1,234,567\nskipped.blank\t3\nlabels\ta, b\n"


def test_a_table_in_a_pipe_has_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table("answers", [("good", 0.5)], header=("text", "score"))
    assert capsys.readouterr().out == "answers\ntext\tscore\ngood\t0.5\n"


def test_tables_are_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    Output().table("predictions [2]", [("good [so]", 0.98765), ("bad", 0.5)], header=("text", "score"))
    lines = terminal.getvalue()
    assert "predictions [2]" in lines
    assert "good [so]" in lines
    assert "0.9877" in lines
    assert "score" in lines


def test_a_styled_text_has_its_colours_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [("a [b] ", ""), ("good", "black on #aaddff")]
    Output().styled(parts)
    assert capsys.readouterr().out == "a [b] good\n"
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", terminal)
    Output().styled(parts)
    assert "a [b] " in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()


def test_json_has_stdout_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.say("for people")
    output.facts("a corpus", FACTS)
    output.result({"path": Path("a/b"), "text": "漢"})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"path": "a/b", "text": "漢"}
    assert "for people" in captured.err
    assert "corpus" in captured.err


def test_quiet_says_nothing_but_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True, quiet=True)
    output.say("for people")
    output.facts("a corpus", FACTS)
    output.progress("reading", 1, 1)
    output.result([1])
    assert capsys.readouterr() == ("[1]\n", "")


def test_without_json_there_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    Output().result({"a": 1})
    assert capsys.readouterr().out == ""


def test_nan_is_no_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        Output(as_json=True).result({"loss": float("nan")})


def test_cells() -> None:
    assert [cell(value) for value in (True, False, 1234, 0.12346, "x")] == ["yes", "no", "1,234", "0.1235", "x"]
    assert rows_of({"a": {"b": {"c": 1}}}) == [("a.b.c", 1)]
    assert rows_of({"f1": np.float64(0.5), "none": (), "two": (1, 2)}) == [("f1", 0.5), ("two", "1, 2")]
