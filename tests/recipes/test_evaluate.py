from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from toy_models import toy_bert, toy_classifier, toy_reviews

from bertsmith.artifact import Artifact
from bertsmith.errors import DataError, SettingsError
from bertsmith.inference.predictor import load
from bertsmith.recipes.evaluate import EvaluateReport, EvaluateSettings, _trained_on, evaluate
from bertsmith.recipes.examples import Source


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier, the reviews that it was trained on, others, and some of another kind."""
    folder = tmp_path_factory.mktemp("house")
    train = toy_reviews(folder / "train.csv", 120, seed=0)
    toy_classifier(folder / "model", train, model=str(toy_bert(folder / "bert")))
    test = toy_reviews(folder / "test.csv", 60, seed=1, wrong=6)
    seen, again = train.read_text().splitlines()[1:21], test.read_text().splitlines()[-1]
    turned = again.replace("good", "BAD").replace("bad", "good").replace("BAD", "bad")
    test.write_text("\n".join([test.read_text().rstrip(), *seen, again, turned]) + "\n")
    toy_reviews(folder / "other.csv", 40, seed=2, wrong=20)
    return folder


@pytest.fixture(scope="module")
def report(house: Path) -> EvaluateReport:
    return evaluate(
        EvaluateSettings(
            folder=house / "model",
            file=house / "test.csv",
            slice_column=("shop",),
            other_file=house / "other.csv",
            report_dir=house / "report",
        )
    )


def test_figures_have_intervals_that_hold_them(report: EvaluateReport) -> None:
    assert report.num_examples == 82
    for name, value in report.metrics.items():
        assert report.intervals[name].value == value
        assert report.intervals[name].low <= value <= report.intervals[name].high
    assert report.intervals["accuracy"].low < report.metrics["accuracy"] < report.intervals["accuracy"].high


def test_without_a_report_the_figures_and_warnings_are_the_same(house: Path, report: EvaluateReport) -> None:
    plain = evaluate(EvaluateSettings(folder=house / "model", file=house / "test.csv"))
    assert plain.intervals == report.intervals
    assert plain.warnings == report.warnings
    assert (plain.report, plain.findings) == (None, None)


def test_repeats_contradictions_and_trained_on_rows_are_told(report: EvaluateReport) -> None:
    assert report.findings is not None
    data = report.findings.data
    # The last row stands there three times, once with the other label. Of 20 rows of training some are validation.
    assert (data.num_repeats, data.num_conflicting) == (2, 3)
    assert data.num_trained_on is not None
    assert 15 <= data.num_trained_on <= 20
    assert any("2 of 82" in warning for warning in report.warnings)


def test_baselines_stand_beside_the_model(report: EvaluateReport) -> None:
    assert report.findings is not None
    by_name = {baseline.name: baseline for baseline in report.findings.baselines.scores}
    assert set(by_name) == {"majority", "TF-IDF + logistic regression"}
    assert by_name["majority"].verdicts["accuracy"] == "better"
    assert by_name["majority"].metrics["accuracy"].value == pytest.approx(0.5, abs=0.1)


def test_slices_are_by_length_label_and_the_named_column(report: EvaluateReport) -> None:
    assert report.findings is not None
    slices = {part.kind: part for part in report.findings.slices}
    assert {"length", "label", "shop"} <= set(slices)
    assert {part.name for part in slices["shop"].slices} == {"north", "south"}
    for part in slices.values():
        assert sum(one.num for one in part.slices) == 82
    of_labels = {one.name: one for one in slices["label"].slices}
    assert set(of_labels) == {"bad", "good"}


def test_the_worst_answers_are_wrong_and_the_surest_first(report: EvaluateReport) -> None:
    assert report.findings is not None
    mistakes = report.findings.mistakes
    assert mistakes
    assert all(mistake.known != mistake.given["label"] and mistake.credit == 0 for mistake in mistakes)
    scores = [float(mistake.given["score"]) for mistake in mistakes]
    assert scores == sorted(scores, reverse=True)


def test_another_domain_has_figures_of_its_own(report: EvaluateReport) -> None:
    assert report.findings is not None
    assert report.findings.other is not None
    assert report.findings.other.num_examples == 40
    assert report.findings.other.metrics["accuracy"] < report.metrics["accuracy"]


def test_the_page_and_the_facts_are_files_that_need_nothing_else(house: Path, report: EvaluateReport) -> None:
    assert report.report == house / "report" / "report.html"
    html = report.report.read_text(encoding="utf-8")
    assert "http" not in html.replace("http://www.w3.org/1999/xlink", "")
    for said in ("majority", "Expected calibration error", "Known and given labels", "By shop", "other.csv"):
        assert said in html
    facts = json.loads((house / "report" / "evaluation.json").read_text(encoding="utf-8"))
    assert facts["evaluation"]["intervals"]["accuracy"]["value"] == report.metrics["accuracy"]
    assert len(facts["marks"]) == 82
    assert facts["task"]["labels"] == ["bad", "good"]


def test_the_temperature_stands_in_the_report_with_the_calibration_before_and_after(
    house: Path, report: EvaluateReport
) -> None:
    assert report.findings is not None
    tempering, after = report.findings.tempering, report.findings.reliability
    assert tempering is not None
    assert after is not None
    temperature = load(house / "model").task.settings.temperature
    assert tempering.temperature == temperature != 1.0
    assert report.calibration == {"ece": after.ece, "log_loss": after.log_loss}
    shutil.copytree(house / "model", house / "untempered")
    record = json.loads((house / "untempered" / "bertsmith.json").read_text())
    record["task"]["temperature"] = 1.0
    (house / "untempered" / "bertsmith.json").write_text(json.dumps(record))
    settings = EvaluateSettings(folder=house / "untempered", file=house / "test.csv", report_dir=house / "untempered")
    plain = evaluate(settings).findings
    assert plain is not None
    assert plain.reliability is not None
    assert (tempering.before.ece, tempering.before.log_loss) == pytest.approx(
        (plain.reliability.ece, plain.reliability.log_loss)
    )
    html = (house / "report" / "report.html").read_text(encoding="utf-8")
    assert f"a temperature of {temperature:.3f}, fitted to held-out examples" in html
    for number in (tempering.before.ece, tempering.before.log_loss, after.ece, after.log_loss):
        assert f"<td>{number:.3f}</td>" in html
    facts = json.loads((house / "report" / "evaluation.json").read_text(encoding="utf-8"))
    assert facts["tempering"]["temperature"] == temperature
    assert facts["tempering"]["before"]["ece"] == tempering.before.ece
    assert plain.tempering is None
    assert "No temperature was fitted" in (house / "untempered" / "report.html").read_text(encoding="utf-8")


def test_without_the_training_file_the_report_says_so(house: Path, tmp_path: Path) -> None:
    train = toy_reviews(tmp_path / "train.csv", 40, seed=3)
    toy_classifier(tmp_path / "model", train, model=str(house / "bert"), max_steps=2)
    train.write_text(train.read_text() + "ba de,good,north\n")
    settings = EvaluateSettings(folder=tmp_path / "model", file=house / "other.csv", report_dir=tmp_path / "report")
    found = evaluate(settings).findings
    assert found is not None
    assert found.baselines.scores == ()
    assert "changed since the model was made" in found.baselines.missing
    assert found.data.num_trained_on is None
    train.unlink()
    found = evaluate(settings).findings
    assert found is not None
    assert "not there" in found.baselines.missing
    assert "No baseline" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_the_training_file_itself_is_no_test(house: Path) -> None:
    shutil.copy(house / "train.csv", house / "copy.csv")
    report = evaluate(EvaluateSettings(folder=house / "model", file=house / "copy.csv"))
    assert any("trained on this very file" in warning for warning in report.warnings)


def test_the_splits_of_one_file_are_not_taken_for_one_another() -> None:
    trained = {"sha256": "x", "dataset": "clinc150", "split": "train", "data_dir": "data"}
    artifact = Artifact(None, None, None, {"data": {"files": {"train": trained}}})  # type: ignore[arg-type]

    class Here(Source):
        def record(self) -> dict[str, Any]:
            return {"sha256": "x", "dataset": self.dataset, "split": self.split, "data_dir": "moved"}

    assert _trained_on(artifact, Here(None, "clinc150", "test")) == []
    assert len(_trained_on(artifact, Here(None, "clinc150", "train"))) == 1


def test_a_file_without_training_data_at_hand_is_not_called_clean(house: Path, tmp_path: Path) -> None:
    train = toy_reviews(tmp_path / "train.csv", 40, seed=3)
    toy_classifier(tmp_path / "model", train, model=str(house / "bert"), max_steps=2)
    train.unlink()
    report = evaluate(EvaluateSettings(folder=tmp_path / "model", file=house / "other.csv"))
    assert any("trained on is not known" in warning for warning in report.warnings)


def test_bad_questions(house: Path) -> None:
    with pytest.raises(SettingsError, match="one of the two"):
        evaluate(EvaluateSettings(folder=house / "model"))
    with pytest.raises(DataError, match="did you mean 'shop'"):
        evaluate(EvaluateSettings(folder=house / "model", file=house / "test.csv", slice_column=("shops",)))
    (house / "unseen.csv").write_text("review,sentiment\nba de,good\nku lo,dreadful\n")
    with pytest.raises(DataError, match="dreadful"):
        evaluate(EvaluateSettings(folder=house / "model", file=house / "unseen.csv"))


def test_files_without_a_line_of_names_are_read_by_the_names_that_are_given(house: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.csv"
    bare.write_text((house / "test.csv").read_text().split("\n", 1)[1])
    names = tuple((house / "test.csv").read_text().split("\n", 1)[0].split(","))
    usual = evaluate(EvaluateSettings(folder=house / "model", file=house / "test.csv"))
    values = {"file": bare, "other_file": bare, "column_names": names, "report_dir": tmp_path / "report"}
    report = evaluate(EvaluateSettings(folder=house / "model", **values))
    assert report.metrics == usual.metrics
    assert report.findings is not None
    assert report.findings.other is not None
    assert report.findings.other.metrics == usual.metrics


def test_so_many_examples_are_always_the_same_and_the_report_says_so(house: Path, tmp_path: Path) -> None:
    values = {"folder": house / "model", "file": house / "test.csv", "other_file": house / "other.csv"}
    report = evaluate(EvaluateSettings(**values, max_eval_samples=30, report_dir=tmp_path))
    assert report.num_examples == 30
    assert report.warnings[0] == "using 30 of 82 examples, chosen at random"
    assert report.findings is not None
    assert report.findings.other is not None
    assert report.findings.other.num_examples == 30
    assert report.findings.other.warnings == ("using 30 of 40 examples, chosen at random",)
    assert "using 30 of 82 examples" in (tmp_path / "report.html").read_text(encoding="utf-8")
    again = evaluate(EvaluateSettings(**values, max_eval_samples=30))
    assert (again.metrics, again.intervals) == (report.metrics, report.intervals)
    whole = evaluate(EvaluateSettings(**values, max_eval_samples=82))
    assert whole.num_examples == 82
    assert not any("using" in warning for warning in whole.warnings)
