from __future__ import annotations

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
