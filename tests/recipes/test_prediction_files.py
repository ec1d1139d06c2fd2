"""Predictions as tables: what stands in their cells, and that they are read back."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from bertsmith.data.readers import read_table
from bertsmith.recipes.prediction_files import SEPARATORS, json_lines, table_lines


@dataclass(frozen=True)
class Said:
    answer: str
    score: float
    odds: float | None
    ended: bool
    parts: tuple[dict[str, int], ...] = ()
    names: list[str] = field(default_factory=list)


NAMES = ("row", "answer", "score", "odds", "ended", "parts", "names")
ANSWERS = [
    {"row": 1} | asdict(Said('"a", b\tc\nd', 0.1, None, True, ({"ä": 1},))),
    {"row": 4} | asdict(Said("", 1e-7, 2.5, False, (), ["x", "y"])),
]


@pytest.mark.parametrize(("suffix", "separator"), SEPARATORS.items())
def test_one_value_stands_in_a_cell_as_it_is_and_several_as_json(tmp_path: Path, suffix: str, separator: str) -> None:
    text = "".join(table_lines(ANSWERS, NAMES, separator))
    first, second = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    assert first == {
        "row": "1",
        "answer": '"a", b\tc\nd',
        "score": "0.1",
        "odds": "",
        "ended": "true",
        "parts": '[{"ä": 1}]',
        "names": "[]",
    }
    assert (second["row"], second["answer"], float(second["score"])) == ("4", "", 1e-7)
    assert json.loads(second["names"]) == ["x", "y"]
    path = tmp_path / f"out.{suffix}"
    path.write_text(text, encoding="utf-8", newline="")
    assert [row.values for row in read_table(path)] == [first, second]


def test_a_line_of_json_a_prediction() -> None:
    first, second = (json.loads(line) for line in json_lines(ANSWERS))
    assert (first["row"], first["answer"], first["odds"], first["parts"]) == (1, '"a", b\tc\nd', None, [{"ä": 1}])
    assert (second["row"], second["names"]) == (4, ["x", "y"])
