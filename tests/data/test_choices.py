"""Multiple-choice files: SWAG's, ARC's three shapes, and tables as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertsmith.data.choices import read_choices
from bertsmith.data.lines import Reading
from bertsmith.errors import DataError


def read(path: Path, content: str | list[Any], reading: Reading | None = None) -> list[dict[str, Any]]:
    text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
    path.write_text(text, encoding="utf-8")
    return [dict(row.values) for row in read_choices(path, reading or Reading())]


def test_swag(tmp_path: Path) -> None:
    rows = read(
        tmp_path / "swag.csv",
        "video-id,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label\n"
        "v1,A man sits.,He,gold,sings.,runs.,eats.,sleeps.,2\n"
        "v2,A dog barks.,It,gen,a.,b.,c.,d.,-1\n",
    )
    assert rows == [
        {
            "video-id": "v1",
            "gold-source": "gold",
            "context": "A man sits.",
            "question": "He",
            "choices": ["sings.", "runs.", "eats.", "sleeps."],
            "label": "2",
        },
        {
            "video-id": "v2",
            "gold-source": "gen",
            "context": "A dog barks.",
            "question": "It",
            "choices": ["a.", "b.", "c.", "d."],
            "label": None,
        },
    ]


def test_arc_as_published_and_as_on_the_hub(tmp_path: Path) -> None:
    choices = [{"text": "iron", "label": "A"}, {"text": "wood", "label": "B"}, {"text": "tin", "label": "C"}]
    published = {"id": "q1", "question": {"stem": "What rusts?", "choices": choices}, "answerKey": "C"}
    hub = {
        "id": "q1",
        "question": "What rusts?",
        "choices": {"text": ["iron", "wood", "tin"], "label": ["1", "2", "3"]},
        "answerKey": "3",
    }
    expected = {"id": "q1", "question": "What rusts?", "choices": ["iron", "wood", "tin"], "label": 2}
    assert read(tmp_path / "arc.jsonl", [published, hub]) == [expected, expected]
    unlabelled = {name: value for name, value in published.items() if name != "answerKey"}
    assert read(tmp_path / "arc.jsonl", [unlabelled]) == [expected | {"label": None}]


def test_arc_as_csv_without_a_header(tmp_path: Path) -> None:
    rows = read(tmp_path / "arc.csv", 'What rusts?,iron,"wood, wet",,B\nMost?,1,2,3,3\nWho?,,her,him,C\n')
    assert rows == [
        {"question": "What rusts?", "choices": ["iron", "wood, wet"], "label": 1},
        {"question": "Most?", "choices": ["1", "2", "3"], "label": 2},
        {"question": "Who?", "choices": ["her", "him"], "label": 1},
    ]


def test_other_tables_stay_as_they_are(tmp_path: Path) -> None:
    row = {"question": "q", "choices": ["a", "b"], "label": "b", "source": "x"}
    assert read(tmp_path / "own.jsonl", [row]) == [row]
    assert read(tmp_path / "own.csv", "question,a,b,key\nq,1,2,A\n") == [
        {"question": "q", "a": "1", "b": "2", "key": "A"}
    ]


@pytest.mark.parametrize(
    ("header", "answers"),
    [
        ("question,A,B,C,answer", ("C", "A")),  # as letters: the text of A is B's letter
        ("answer,question,A,B,C", ("c", "A")),  # the last column's name might be a key
        ("question,option_a,option_b,option_c,answer", ("C", "a")),
        ("question,Choice0,Choice1,Choice2,answer", ("2", "0")),
    ],
)
def test_a_column_for_each_choice(tmp_path: Path, header: str, answers: tuple[str, str]) -> None:
    cells = [{"question": "Blood?", "texts": ["B", "A", "0"]}, {"question": "Two?", "texts": ["x", "y", ""]}]
    lines = [header]
    for row, answer in zip(cells, answers, strict=True):
        values = [row["question"], *row["texts"]]
        lines.append(",".join([answer, *values] if header.startswith("answer") else [*values, answer]))
    first, second = read(tmp_path / "spread.csv", "\n".join(lines) + "\n")
    assert (first["question"], first["choices"], int(first["answer"])) == ("Blood?", ["B", "A", "0"], 2)
    assert (second["question"], second["choices"], int(second["answer"])) == ("Two?", ["x", "y"], 0)


def test_choices_in_columns_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 1 \(line 2\): .*the choice in 'B' is empty, and one after it is not"):
        read(tmp_path / "a.csv", "question,A,B,C,label\nq,x,,z,A\n")
    with pytest.raises(DataError, match=r"row 1 \(line 2\): .*the key 'C' names an empty choice"):
        read(tmp_path / "a.csv", "question,A,B,C,label\nq,x,y,,C\n")
    for header in ("question,A,B,D,label", "question,A,B,choice0,choice1", "question,option1,option2,label"):
        (row,) = read(tmp_path / "a.csv", f"{header}\n{','.join('qxyzw'[: header.count(',') + 1])}\n")
        assert list(row) == header.split(","), "not one series from its first on"


def test_keys_that_name_no_choice_are_told_or_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "arc.csv"
    content = "q,a,b,A\nq,a,b,C\nq,,b,A\nq,a,b,?\n"
    with pytest.raises(DataError, match=r"(?s)row 2 \(line 2\): .*the key 'C' names none .*: A, B\).*row 3.*row 4"):
        read(path, content)
    reading = Reading("skip")
    assert len(read(path, content, reading)) == 1
    assert reading.skipped == {"a question that cannot be used": 3}
    bad: dict[str, Any] = {"question": {"stem": "q", "choices": [{"text": "a", "label": "A"}]}, "answerKey": "B"}
    with pytest.raises(DataError, match=r"row 1 \(line 1\): .*the key 'B' names none of the choices: A"):
        read(tmp_path / "arc.jsonl", [bad])
    with pytest.raises(DataError, match="a choice is no object with 'text' and 'label'"):
        read(tmp_path / "arc.jsonl", [{"question": {"stem": "q", "choices": ["a"]}, "answerKey": "B"}])


@pytest.mark.shared
def test_real_arc(shared: Path) -> None:
    reading = Reading("skip")
    rows = list(read_choices(shared / "multiple_choice" / "arc_easy_dev.csv.xz", reading))
    # The file lacks all choices of 102 questions, and the fifth, right one of two.
    assert (len(rows), reading.skipped) == (2147, {"a question that cannot be used": 104})
    assert {len(row.values["choices"]) for row in rows} == {3, 4}
    assert all(row.values["label"] < len(row.values["choices"]) for row in rows)
