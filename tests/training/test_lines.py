"""Lines are whole or not there, and wait where there is no room."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bertsmith.training.lines import Lines


@contextmanager
def room(num_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_finds_no_room_is_written_when_there_is_some(tmp_path: Path) -> None:
    path, notes = tmp_path / "lines.jsonl", list[str]()
    lines = Lines(path, notes.append)
    lines.add({"step": 1})
    with room(path.stat().st_size + 5):
        lines.add({"step": 2})
        lines.add({"step": 3})
        assert path.read_text() == '{"step": 1}\n', "no half of a line"
    assert (len(lines), len(notes)) == (3, 1)
    assert "File too large: free some space" in notes[0]
    lines.add({"step": 4})
    assert [record["step"] for record in lines.records()] == [1, 2, 3, 4]
    with room(0):
        lines.add({"step": 5})
        lines.keep_first(4)
        lines.close()
    assert len(notes) == 1, "what is to be forgotten is not lost"


def test_what_is_lost_at_the_end_is_told(tmp_path: Path) -> None:
    notes = list[str]()
    with room(0):
        lines = Lines(tmp_path / "lines.jsonl", notes.append)
        lines.add({"step": 1})
        lines.close()
    assert notes[1].endswith("the last 1 lines found no room")


def test_a_half_line_is_none_and_what_follows_it_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    lines = Lines(path, print)
    assert len(lines) == 2
    lines.add({"step": 3})
    lines.keep_first(9)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'
    lines.keep_first(1)
    assert path.read_text() == '{"step": 1}\n'
    lines.close()
