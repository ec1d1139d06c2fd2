"""Classification: label names and order, metrics by hand, columns found."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertsmith.data.lines import Reading
from bertsmith.errors import DataError
from bertsmith.tasks.classification import Classification, ClassificationSettings, LabelPrediction, TextRequest
from bertsmith.tasks.reading import read_examples
from bertsmith.tasks.task import Example


def examples(*labels: str) -> list[Example[TextRequest]]:
    return [Example(TextRequest("ba"), label, f"row {i}") for i, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("found", "labels"),
    [(("b", "a", "b"), ("a", "b")), (("10", "9", "2"), ("2", "9", "10")), (("-1", "x"), ("-1", "x"))],
)
def test_labels_are_in_the_order_of_their_names_or_numbers(found: tuple[str, ...], labels: tuple[str, ...]) -> None:
    assert Classification().fitted(examples(*found)).labels() == labels


def test_given_labels_keep_their_order_and_refuse_others() -> None:
    task = Classification(ClassificationSettings(labels=("good", "bad")))
    assert task.fitted(examples("bad", "good")).labels() == ("good", "bad")
    with pytest.raises(DataError, match=r"(?s)2 rows have labels.*'god' in 2 rows; did you mean 'good'.*row 1: 'god'"):
        task.fitted(examples("good", "god", "god"))


def test_one_label_alone_is_nothing_to_learn() -> None:
    with pytest.raises(DataError, match="at least two labels"):
        Classification().fitted(examples("a", "a"))


def test_metrics_by_hand() -> None:
    # answers a a a b; predictions a a b b. accuracy 3/4; f1 of a: 2*2/(2*2+0+1) = 0.8, of b: 2*1/(2*1+1+0) = 2/3;
    # matthews: (tp tn - fp fn) / sqrt(...) with a as positive: (2*1 - 0*1) / sqrt(2*3*1*2) = 2 / sqrt(12).
    task = Classification(ClassificationSettings(labels=("a", "b")))
    given = [LabelPrediction(label, 1.0, {}) for label in ("a", "a", "b", "b")]
    assert task.score(examples("a", "a", "a", "b"), given) == {
        "accuracy": 0.75,
        "f1": pytest.approx(2 / 3),  # of b, the second label
        "f1_macro": pytest.approx((0.8 + 2 / 3) / 2),
        "matthews_correlation": pytest.approx(2 / 12**0.5),
    }


def test_rows_without_a_label_are_all_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("text,label\n" + "".join(f"ba be {i},{'' if i % 5 == 0 else i % 2}\n" for i in range(60)))
    with pytest.raises(DataError) as error:
        read_examples(Classification(), path, {}, Reading())
    message = str(error.value)
    assert message.count("no label") == 10
    assert "row 1 (line 2)" in message
    assert "... and 2 more, 12 in all" in message
    skipping = Reading(errors="skip")
    examples, columns = read_examples(Classification(), path, {}, skipping)
    assert (len(examples), sum(skipping.skipped.values())) == (48, 12)
    assert columns.by_field == {"text": "text", "label": "label"}


def test_a_missing_column_names_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("source,aim\na b c,d\nb c d,e\n")
    from bertsmith.tasks.seq2seq import Seq2Seq

    with pytest.raises(DataError, match="no column for 'text' among 'source', 'aim'; say which it is"):
        read_examples(Seq2Seq(), tmp_path / "data.csv", {}, Reading())
    with pytest.raises(DataError, match="no field 'txt' in seq2seq; did you mean 'text'"):
        read_examples(Seq2Seq(), tmp_path / "data.csv", {"txt": "source"}, Reading())
    examples, _ = read_examples(Seq2Seq(), tmp_path / "data.csv", {"text": "source", "target": "aim"}, Reading())
    assert [(example.request.text, example.answer) for example in examples] == [("a b c", "d"), ("b c d", "e")]


def test_bad_numbers_are_counted_by_their_kind(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,score\nba,1\nbe,high\nbi,low\nbo,nan\nbu,\n")
    reading = Reading(errors="skip")
    task = Classification(ClassificationSettings(problem_type="regression"))
    assert len(read_examples(task, tmp_path / "data.csv", {}, reading)[0]) == 1
    assert reading.skipped == {"not a number": 3, "not a finite number": 1}


def test_a_model_of_pairs_is_not_asked_with_one_text_nor_the_other_way_round() -> None:
    pairs = [Example(TextRequest("ba", "be"), label) for label in ("a", "b")]
    task = Classification().fitted(pairs)
    assert task.request(("ba", "be")).text_pair == "be"
    with pytest.raises(DataError, match="request 1: the model was trained on two texts a request, found one"):
        task.request("ba", "request 1")
    with pytest.raises(DataError, match="one text a request, found two"):
        Classification().fitted(examples("a", "b")).request(("ba", "be"))
    mixed = Classification().fitted([*pairs, *examples("a")])
    assert mixed.request("ba") == TextRequest("ba")


def test_the_least_sure_of_several_labels_counts() -> None:
    task = Classification(ClassificationSettings(problem_type="multi_label", labels=("a", "b", "c")))
    decided = task.decided(LabelPrediction("a", 0.9, {"a": 0.9, "b": 0.4, "c": 0.05}, labels=("a",)))
    assert (decided.labels, decided.confidence) == (("a",), 0.6)
    number = Classification(ClassificationSettings(problem_type="regression"))
    assert number.decided(LabelPrediction(None, 3.5, {})).confidence is None
