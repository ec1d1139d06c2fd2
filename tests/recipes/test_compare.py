from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_models import toy_bert, toy_classifier, toy_reviews

from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.recipes.compare import CompareSettings, compare
from bertsmith.recipes.evaluate import EvaluateSettings, evaluate

BAD = "seeds/seed-0"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good classifier, two that have learned nothing, and a file to compare them on."""
    folder = tmp_path_factory.mktemp("house")
    train, bert = toy_reviews(folder / "train.csv", 120, seed=0), str(toy_bert(folder / "bert"))
    toy_classifier(folder / "good", train, model=bert)
    for seed in (0, 1):
        toy_classifier(folder / "seeds" / f"seed-{seed}", train, model=bert, max_steps=1, training={"seed": seed})
    toy_reviews(folder / "test.csv", 60, seed=1)
    for name in ("good", BAD):
        report_dir = folder / "reports" / Path(name).name
        evaluate(EvaluateSettings(folder=folder / name, file=folder / "test.csv", report_dir=report_dir))
    return folder


def test_a_model_that_learned_is_better_than_one_that_did_not(house: Path) -> None:
    report = compare(CompareSettings(first=house / "good", second=house / BAD, file=house / "test.csv"))
    accuracy = report.metrics["accuracy"]
    assert accuracy.verdict == "better"
    assert accuracy.difference.value == pytest.approx(accuracy.first - accuracy.second)
    assert accuracy.difference.value == pytest.approx((report.only_first - report.only_second) / 60)
    turned = compare(CompareSettings(first=house / BAD, second=house / "good", file=house / "test.csv"))
    assert turned.metrics["accuracy"].verdict == "worse"
    same = compare(CompareSettings(first=house / "good", second=house / "good", file=house / "test.csv"))
    assert same.metrics["accuracy"].verdict == "no difference shown"


def test_reports_are_as_good_as_the_models(house: Path) -> None:
    models = compare(CompareSettings(first=house / "good", second=house / BAD, file=house / "test.csv"))
    kept = CompareSettings(first=house / "reports" / "good", second=house / "reports" / "seed-0" / "evaluation.json")
    assert compare(kept) == models
    mixed = CompareSettings(first=house / "reports" / "good", second=house / BAD, file=house / "test.csv")
    assert compare(mixed) == models


def test_a_folder_of_models_is_one_with_several_seeds(house: Path) -> None:
    report = compare(CompareSettings(first=house / "good", second=house / "seeds", file=house / "test.csv"))
    assert report.num_runs == (1, 2)
    assert report.metrics["accuracy"].verdict == "better"


def test_other_examples_cannot_be_compared(house: Path, tmp_path: Path) -> None:
    other = toy_reviews(tmp_path / "other.csv", 60, seed=5)
    with pytest.raises(DataError, match="not about the same examples"):
        compare(CompareSettings(first=house / "reports" / "good", second=house / BAD, file=other))


def test_what_is_no_model_is_refused(house: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="neither a saved model nor a report"):
        compare(CompareSettings(first=tmp_path, second=house / BAD, file=house / "test.csv"))
    with pytest.raises(SettingsError, match="one of the two"):
        compare(CompareSettings(first=house / "good", second=house / BAD))
    (tmp_path / "facts.json").write_text("{}")
    with pytest.raises(FileFormatError, match="task and marks"):
        compare(CompareSettings(first=tmp_path / "facts.json", second=house / "reports" / "seed-0"))


@pytest.fixture(scope="module")
def two_columns(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with two columns of labels and two of texts, and a classifier for each pair of them."""
    folder = tmp_path_factory.mktemp("columns")
    rows = [line.split(",") for line in (house / "train.csv").read_text().splitlines()[1:]]
    turned = {"good": "bad", "bad": "good"}
    lines = ["review,sentiment,title,mood", *(f"{text},{label},{text},{turned[label]}" for text, label, _ in rows)]
    (folder / "both.csv").write_text("\n".join(lines) + "\n")
    fields = {"first": ("review", "sentiment"), "title": ("title", "sentiment"), "mood": ("review", "mood")}
    for name, (text, label) in fields.items():
        columns = {"text": text, "label": label}
        toy_classifier(folder / name, folder / "both.csv", model=str(house / "bert"), max_steps=1, columns=columns)
        report_dir = folder / "reports" / name
        evaluate(EvaluateSettings(folder=folder / name, file=folder / "both.csv", report_dir=report_dir))
    return folder


@pytest.mark.parametrize("reports", [False, True])
def test_models_that_know_different_answers_are_compared_by_one_column_alone(two_columns: Path, reports: bool) -> None:
    place = two_columns / "reports" if reports else two_columns
    values = {"first": place / "first", "second": place / "mood", "file": two_columns / "both.csv"}
    with pytest.raises(DataError, match=r"measured by the column 'sentiment', .*mood.* by 'mood'; .*--label-column"):
        compare(CompareSettings(**values))
    if not reports:
        report = compare(CompareSettings(**values, columns={"label": "mood"}))
        assert (report.num_examples, report.warnings) == (120, ())


@pytest.mark.parametrize("reports", [False, True])
def test_models_that_read_different_columns_are_compared_and_that_is_told(two_columns: Path, reports: bool) -> None:
    place = two_columns / "reports" if reports else two_columns
    values = {"first": place / "first", "second": place / "title", "file": two_columns / "both.csv"}
    (warning,) = compare(CompareSettings(**values)).warnings
    assert warning.startswith("text is read from several columns: 'review'")
    assert "'title'" in warning


def test_rows_that_only_one_of_the_models_can_read_are_no_comparison(two_columns: Path) -> None:
    names, *lines = (two_columns / "both.csv").read_text().splitlines()
    rows = [dict(zip(names.split(","), line.split(","), strict=True)) for line in lines]
    holes = [rows[0] | {"review": None}, rows[1] | {"title": None}, *rows[2:]]  # each model skips one, not the same
    (two_columns / "holes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in holes))
    values = {"first": two_columns / "first", "second": two_columns / "title", "errors": "skip"}
    with pytest.raises(DataError, match=r"\(119 examples\) and .* \(119\) are not about the same examples"):
        compare(CompareSettings(**values, file=two_columns / "holes.jsonl"))


def test_so_many_examples_are_the_same_for_both_and_for_a_report(house: Path, tmp_path: Path) -> None:
    values = {"first": house / "good", "second": house / BAD, "file": house / "test.csv", "max_eval_samples": 20}
    report = compare(CompareSettings(**values))
    assert report.num_examples == 20
    assert report.warnings == ("using 20 of 60 examples, chosen at random",)
    evaluate(EvaluateSettings(folder=house / "good", file=house / "test.csv", max_eval_samples=20, report_dir=tmp_path))
    assert compare(CompareSettings(**values | {"first": tmp_path})) == report
    with pytest.raises(SettingsError, match="holds 60 examples, which are compared as they are"):
        compare(CompareSettings(**values | {"first": house / "reports" / "good"}))
