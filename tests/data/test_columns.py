"""Finding columns: by name, by content, and the refusals where there is doubt."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from bertsmith.data.columns import Columns, check_labels, class_name, find_columns
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError

SENTENCES = [f"Sentence number {i} tells of some other thing, {i * i}." for i in range(40)]


def table(**columns: list[Any]) -> list[Row]:
    names = list(columns)
    return [
        Row(dict(zip(names, values, strict=True)), Path("t.csv"), number)
        for number, values in enumerate(zip(*columns.values(), strict=True), start=1)
    ]


def numbers(count: int) -> list[str]:
    return [str(i % count) for i in range(40)]


# Columns of a table, and what is found: text, pair, label.
CLEAR = [
    ({"text": SENTENCES, "label": numbers(2)}, ("text", None, "label")),
    ({"id": numbers(40), "Review": SENTENCES, "stars": numbers(5)}, ("Review", None, "stars")),
    ({"label": numbers(2), "rating": numbers(5), "text": SENTENCES}, ("text", None, "label")),
    ({"title": SENTENCES, "text": SENTENCES, "category": numbers(4)}, ("text", None, "category")),
    ({"sentence1": SENTENCES, "sentence2": SENTENCES, "label": numbers(3)}, ("sentence1", "sentence2", "label")),
    ({"qid1": numbers(40), "question1": SENTENCES, "question2": SENTENCES, "is_duplicate": numbers(2)},
     ("question1", "question2", "is_duplicate")),
    ({"Quality": numbers(2), "#1 ID": numbers(40), "#1 String": SENTENCES, "#2 String": SENTENCES},
     ("#1 String", "#2 String", "Quality")),
    ({"premise": SENTENCES, "hypothesis": SENTENCES, "gold_label": numbers(3)},
     ("premise", "hypothesis", "gold_label")),
    ({"stimme": SENTENCES, "partei": numbers(6)}, ("stimme", None, "partei")),
    ({"nr": numbers(40), "评论": ["味道很好，下次还会再来的" + str(i) for i in range(40)], "好评": numbers(2)},
     ("评论", None, "好评")),
    ({"text": SENTENCES, "truth": [i % 2 == 0 for i in range(40)]}, ("text", None, "truth")),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "found"), CLEAR)
def test_clear_tables(columns: dict[str, list[Any]], found: tuple[str, str | None, str]) -> None:
    columns_found = find_columns(table(**columns))
    assert (columns_found.text, columns_found.pair, columns_found.label) == found


def test_the_reason_names_what_was_taken_and_what_was_not() -> None:
    assert find_columns(table(id=numbers(40), review=SENTENCES, stars=numbers(5))) == Columns(
        "review",
        None,
        "stars",
        "text: column 'review' (by its name); label: column 'stars' (by its name, 5 distinct values); not used: 'id'",
    )


DOUBTFUL = [
    ({"good": SENTENCES, "bad": SENTENCES, "label": numbers(2)}, "cannot tell the text column: 2 columns could be it"),
    ({"review": SENTENCES, "comment": SENTENCES, "label": numbers(2)}, "cannot tell the text column: 2 columns"),
    ({"colour": numbers(2), "label": numbers(3)}, "cannot tell the text column: no column looks like it"),
    ({"text": SENTENCES, "a": numbers(2), "b": numbers(3)}, "cannot tell the label column: 2 columns could be it"),
    ({"text": SENTENCES, "topic": numbers(2), "sentiment": numbers(3)}, "cannot tell the label column: 2 columns"),
    ({"text": SENTENCES, "id": numbers(40)}, "cannot tell the label column: no column looks like it"),
    ({"text": SENTENCES, "label": numbers(1)[:1] * 40, "x": numbers(40)}, None),
    ({"text": SENTENCES, "score": [str(i / 7) for i in range(40)]}, "its values are nearly all different"),
    ({"text": SENTENCES, "score": ["1", "2.5", "", "4"] * 10}, "numbers with fractions: --problem-type regression"),
    ({"text": SENTENCES, "mood": ["good"] * 40}, r"no column looks like it \(two labels or more, each several times"),
]


@pytest.mark.parametrize(("columns", "told"), DOUBTFUL)
def test_doubt_is_refused_with_the_candidates(columns: dict[str, list[Any]], told: str | None) -> None:
    if told is None:  # a name decides, even of a column with one value: that is the task's to judge
        assert find_columns(table(**columns)).label == "label"
        return
    with pytest.raises(DataError, match=told) as caught:
        find_columns(table(**columns))
    for name in columns:
        assert f"\n  {name!r}" in str(caught.value)


def test_given_columns_are_taken_and_unknown_ones_refused() -> None:
    rows = table(good=SENTENCES, bad=SENTENCES, a=numbers(2), b=numbers(3))
    found = find_columns(rows, text="good", pair="bad", label="b")
    assert (found.text, found.pair, found.label) == ("good", "bad", "b")
    with pytest.raises(DataError, match="no column 'god'; did you mean 'good'"):
        find_columns(rows, text="god", label="b")
    with pytest.raises(DataError, match="name the first one's too"):
        find_columns(rows, pair="bad", label="b")


def test_missing_labels_are_no_class_of_their_own() -> None:
    reason = find_columns(table(text=SENTENCES, label=["1.0", "2.0", "", "nan"] * 10)).reason
    assert "2 distinct values" in reason


def test_without_labels_none_is_looked_for() -> None:
    assert find_columns(table(text=SENTENCES), labelled=False).label is None


def test_a_first_row_in_place_of_the_header_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"Film number {i} is better than the others,{'good' if i % 2 else 'bad'}\n" for i in range(40)]
    path.write_text("Quite a good film,good\n" + "".join(rows))
    with pytest.raises(DataError, match="the first line seems to be data, not a header: 'good'"):
        find_columns(list(read_table(path)))


def test_columns_of_sorted_rows_are_found_too() -> None:
    rows = table(stimme=[f"Ein Satz mit der Nummer {i}." for i in range(12_000)], partei=["a"] * 8000 + ["b"] * 4000)
    assert find_columns(rows).label == "partei"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (" positive ", "positive"),
        ("1", "1"),
        (1, "1"),
        (1.0, "1"),
        (0.5, "0.5"),
        (True, "True"),
        (math.nan, None),
        (math.inf, None),
        ("", None),
        ("  ", None),
        ("NaN", None),
        (None, None),
        ({"a": 1}, None),
    ],
)
def test_what_labels_name(value: Any, name: str | None) -> None:
    assert class_name(value) == name


def test_unseen_labels_are_named_counted_and_placed() -> None:
    places = [f"t.csv, row {i}" for i in range(1, 31)]
    with pytest.raises(DataError) as caught:
        check_labels(["good"] * 10 + ["god"] * 15 + ["new"] * 5, places, ["bad", "good"])
    lines = str(caught.value).splitlines()
    assert lines[:4] == [
        "20 rows have labels that the model does not know:",
        "  'god' in 15 rows; did you mean 'good'?",
        "  'new' in 5 rows; known: bad, good",
        "  t.csv, row 11: 'god'",
    ]
    assert len(lines) == 14
    assert "leave these rows out" in lines[-1]
    check_labels(["good", "bad"], places[:2], ["bad", "good"])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("glue/RTE/train.tsv.xz", ("sentence1", "sentence2", "label")),
        ("glue/QNLI/dev.tsv.xz", ("question", "sentence", "label")),
        ("glue/QQP/subset.tsv.xz", ("question1", "question2", "is_duplicate")),
        ("intent/banking77/train.csv.xz", ("text", None, "category")),
        ("zh_cls/waimai_10k.csv.xz", ("review", None, "label")),
        ("zh_pair/ocnli/dev.json.xz", ("sentence1", "sentence2", "label")),
    ],
)
def test_real_tables(shared: Path, name: str, found: tuple[str, str | None, str]) -> None:
    columns = find_columns(list(read_table(shared / name)))
    assert (columns.text, columns.pair, columns.label) == found
