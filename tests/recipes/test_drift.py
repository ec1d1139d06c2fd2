from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from toy_models import toy_bert, toy_classifier, toy_reviews
from toys import WORDS, toy_text

from bertsmith.cli.main import main
from bertsmith.errors import DataError
from bertsmith.inference.predictor import load
from bertsmith.recipes.drift import DriftReport, DriftSettings, drift
from bertsmith.serving.uncertain import UncertainFile


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier, the file that it was trained on, one of the same source and one of another."""
    folder = tmp_path_factory.mktemp("house")
    train = toy_reviews(folder / "train.csv", 200, seed=0, wrong=20)
    toy_classifier(folder / "model", train, model=str(toy_bert(folder / "bert")), validation_fraction=0.4, max_steps=60)
    toy_reviews(folder / "same.csv", 80, seed=1)
    rng = np.random.default_rng(2)
    lines = [toy_text(rng, 12, WORDS[:4]) + " zebra" for _ in range(80)]
    (folder / "other.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def compared(house: Path, file: Path, **more: object) -> DriftReport:
    return drift(DriftSettings.of({"folder": house / "model", "file": file, "precision": "fp32", **more}))


def names(report: DriftReport) -> set[str]:
    return {shift.name for shift in report.drift.shifts if shift.alarm}


def test_requests_like_those_of_training_raise_no_alarm(house: Path) -> None:
    report = compared(house, house / "same.csv")
    assert not report.alarm
    assert len(report.drift.shifts) == 7
    assert report.strange_rows == ()


def test_other_requests_do_and_the_page_shows_how(house: Path, tmp_path: Path) -> None:
    report = compared(house, house / "other.txt", report_dir=tmp_path)
    assert names(report) >= {"length in tokens", "unknown pieces", "pieces", "vectors", "vectors told apart"}
    assert report.strange_rows
    page = (tmp_path / "drift.html").read_text(encoding="utf-8")
    assert "What is asked has shifted" in page
    assert "zebra" in page
    facts = json.loads((tmp_path / "drift.json").read_text(encoding="utf-8"))
    assert facts["alarm"] is True
    assert "zebra" not in json.dumps(facts)


def test_a_reference_can_be_named(house: Path) -> None:
    report = compared(house, house / "other.txt", reference_file=house / "other.txt")
    assert not report.alarm
    trained_on = compared(house, house / "same.csv", reference_file=house / "train.csv")
    assert any("trained on the reference" in warning for warning in trained_on.warnings)


@pytest.mark.parametrize("keep_texts", [True, False])
def test_a_kept_file_is_compared_with_what_the_model_was_as_unsure_of(
    house: Path, tmp_path: Path, keep_texts: bool
) -> None:
    predictor = load(house / "model", precision="fp32")
    rows = (house / "same.csv").read_text(encoding="utf-8").splitlines()[1:]
    requests = [predictor.task.request(row.split(",")[0]) for row in rows]
    predictions = predictor.predict(requests)
    below = float(np.quantile([p.score for p in predictions], 0.6))
    file = UncertainFile(tmp_path / "kept.jsonl", below=below, keep_texts=keep_texts)
    file.offer("reviews", "", predictor.task, requests, predictions)
    file.close()
    report = compared(house, tmp_path / "kept.jsonl")
    assert not report.alarm
    by_name = {shift.name: shift for shift in report.drift.shifts}
    assert by_name["confidence"].num_now == file.num_kept
    assert by_name["confidence"].then < below
    assert ("pieces" in by_name) == keep_texts
    assert ("length in characters" in by_name) != keep_texts


def test_a_model_whose_data_are_gone_needs_a_reference(house: Path, tmp_path: Path) -> None:
    moved = house / "train.csv"
    moved.rename(house / "elsewhere.csv")
    try:
        with pytest.raises(DataError, match=r"train\.csv: not there.*--reference-file"):
            compared(house, house / "same.csv")
    finally:
        (house / "elsewhere.csv").rename(moved)


def test_the_verb_prints_a_table_or_json(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["drift", str(house / "model"), str(house / "other.txt"), "--precision", "fp32"]
    assert main(arguments) == 0
    assert "shifted: length in tokens" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["alarm"] is True
    assert compared(house, house / "other.txt").drift.shifts[0].value == answer["drift"]["shifts"][0]["value"]
