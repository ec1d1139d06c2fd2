"""SQuAD's JSON: articles and plain lists, questions without an answer, and structures that are something else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row
from bertsmith.data.squad import read_squad
from bertsmith.errors import DataError

CONTEXT = "Ada Lovelace was born in London in 1815."


def question(**values: Any) -> dict[str, Any]:
    return {"id": "q1", "question": "Where?", "answers": [{"text": "London", "answer_start": 25}]} | values


def articles(*questions: Any, **values: Any) -> dict[str, Any]:
    return {"data": [{"title": "Ada", "paragraphs": [{"context": CONTEXT, "qas": list(questions)} | values]}]}


def read(path: Path, content: Any, reading: Reading | None = None) -> list[Row]:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return list(read_squad(path, reading or Reading()))


def test_a_question_comes_with_its_passage_title_and_answers(tmp_path: Path) -> None:
    when = question(
        id="q2",
        question="When?",
        answers=[{"text": "1815", "answer_start": 35}, {"text": "in 1815", "answer_start": 32}],
    )
    rows = read(tmp_path / "a.json", articles(question(), when))
    assert rows[0].values == {
        "id": "q1",
        "question": "Where?",
        "context": CONTEXT,
        "title": "Ada",
        "answers": {"text": ["London"], "answer_start": [25]},
    }
    assert rows[1].values["answers"] == {"text": ["1815", "in 1815"], "answer_start": [35, 32]}
    assert [(row.number, row.path) for row in rows] == [(1, tmp_path / "a.json"), (2, tmp_path / "a.json")]


def test_an_impossible_question_has_no_answers_and_a_blind_one_no_such_value(tmp_path: Path) -> None:
    impossible = question(is_impossible=True, plausible_answers=[{"text": "London", "answer_start": 25}], answers=[])
    blind = {"id": "q3", "question": "Why?"}
    rows = read(tmp_path / "a.json", articles(impossible, blind))
    assert rows[0].values["answers"] == {"text": [], "answer_start": []}
    assert "answers" not in rows[1].values


@pytest.mark.parametrize("wrap", [lambda plain: {"version": "1", "data": plain}, lambda plain: plain])
def test_plain_lists_of_questions(tmp_path: Path, wrap: Any) -> None:
    plain = [question(context=CONTEXT, title="Ada", answers={"text": ["London"], "answer_start": [25]})]
    assert read(tmp_path / "a.json", wrap(plain))[0].values == read(tmp_path / "b.json", articles(question()))[0].values


def test_packed_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(articles(question())).encode()))
    assert [row.values["id"] for row in read_squad(path, Reading())] == ["q1"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "not valid JSON"),
        ('{"a": 1}\n{"a": 2}\n', r"not valid JSON: Extra data.*name it with \.jsonl"),
        ("[" * 100_000, "nested too deeply"),
        ("3", r'expected \{"data": .*, found a value of type int'),
        ({"rows": []}, r'expected \{"data": .*, found an object with \'rows\''),
        ({"data": []}, "the file has no questions"),
        ({"data": [{"paragraphs": {}}]}, r"data\[0\]: no list 'paragraphs' \(among paragraphs\)"),
        ({"data": [{"paragraphs": [3]}]}, r"data\[0\]\.paragraphs\[0\]: not an object \(found .* int\)"),
        (
            {"data": [{"paragraphs": [{"context": "c"}]}]},
            r"data\[0\]\.paragraphs\[0\]: no list 'qas' \(among context\)",
        ),
        (articles(question(), "x"), r"data\[0\]\.paragraphs\[0\]\.qas\[1\]: not an object"),
        (articles(question(question=None)), r"qas\[0\] \(question 'q1'\): 'question' is missing"),
        (
            articles(question(), context=7),
            r"qas\[0\] \(question 'q1'\): 'context' is no string \(a value of type int\)",
        ),
        (articles(question(answers="London")), r"qas\[0\] \(question 'q1'\): 'answers' is no list of objects"),
        (articles(question(answers=[{"text": "London"}])), r"'answer_start' is no whole number \(answers\[0\]: None\)"),
        (articles(question(answers={"text": ["a"], "answer_start": []})), "no pair of lists"),
        (articles(question(answers=[{"answer_start": 3}])), r"'answers\[0\]\.text' is missing"),
        ([question()], r"\[0\] \(question 'q1'\): 'context' is missing"),
        (articles(question(question="\ud83d")), r"qas\[0\] \(question 'q1'\): lone surrogate"),
        (
            articles(question(answers=[{"text": "\ud83d", "answer_start": 0}])),
            r"qas\[0\] \(question 'q1'\): lone surrogate",
        ),
    ],
)
def test_what_is_something_else_is_told_with_its_place(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(DataError, match=rf"a\.json.*{told}"):
        read(tmp_path / "a.json", content)


def test_bad_questions_are_skipped_and_counted_or_mended(tmp_path: Path) -> None:
    content = articles(question(answers=7), question(question="\ud83d?"), question(id="q3"))
    skipping, replacing = Reading("skip"), Reading("replace")
    assert [(row.number, row.values["id"]) for row in read(tmp_path / "a.json", content, skipping)] == [(3, "q3")]
    assert skipping.skipped == {"'answers' is no list of objects": 1, "lone surrogate": 1}
    good = articles(question(question="\ud83d?"))
    assert read(tmp_path / "b.json", good, replacing)[0].values["question"] == "\ufffd?"
    assert replacing.replaced == {"lone surrogate": 1}


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(articles(question(id="?"))).encode().replace(b'"?"', b'"\xff"'))
    with pytest.raises(DataError, match=r"a\.json: invalid UTF-8 .*'replace'"):
        list(read_squad(path, Reading("skip")))
    assert next(read_squad(path, Reading("replace"))).values["id"] == "\ufffd"


def test_a_truncated_packed_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps(articles(question())).encode())[:-12])
    with pytest.raises(DataError, match=r"a\.json\.gz"):
        list(read_squad(path, Reading()))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "num_questions", "num_impossible"),
    [
        ("squad/dev-v2.0.rebuilt.json.xz", 11873, 5945),
        ("qa/cmrc2018/cmrc2018_trial.json.xz", 1002, 0),
        ("qa/xquad/xquad.tr.json.xz", 1190, 0),
    ],
)
def test_real_files_have_the_published_counts(shared: Path, name: str, num_questions: int, num_impossible: int) -> None:
    rows = list(read_squad(shared / name, Reading()))
    assert (len(rows), sum(not row.values["answers"]["text"] for row in rows)) == (num_questions, num_impossible)


def test_a_question_has_the_line_of_its_id_where_the_file_has_lines(tmp_path: Path) -> None:
    first = question(question='What is "id": "q2" in "Ada"?')
    third = question(id="q\u00e9", answers=[{"text": "London", "answer_start": "25"}])
    content = json.dumps(articles(first, question(id="q2"), third), indent=2)
    rows = read(tmp_path / "a.json", content, reading := Reading(errors="skip"))
    assert (len(rows), sum(reading.skipped.values())) == (2, 1)
    lines = content.splitlines()
    assert [lines[(row.line or 0) - 1].strip() for row in rows] == ['"id": "q1",', '"id": "q2",']
    assert rows[1].where == f"{tmp_path / 'a.json'}, row 2 (data[0].paragraphs[0].qas[1], line {rows[1].line})"
    number = next(i for i, line in enumerate(lines, start=1) if "q\\u00e9" in line)
    with pytest.raises(
        DataError, match=rf"a\.json, data\[0\].*qas\[2\] \(question 'qé', line {number}\): 'answer_start'"
    ):
        read(tmp_path / "a.json", content)
    (alone,) = read(tmp_path / "b.json", articles(question()))
    assert alone.where == f"{tmp_path / 'b.json'}, row 1 (data[0].paragraphs[0].qas[0])"
