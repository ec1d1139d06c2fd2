from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from toy_models import toy_bert, toy_classifier, toy_reviews

from bertsmith.artifact import RECORD, SEAL, seal
from bertsmith.errors import DataError, FileFormatError
from bertsmith.files import read_json, write_json
from bertsmith.inference.predictor import load
from bertsmith.recipes.seeds import finetune_seeds
from bertsmith.recipes.verify import VerifySettings, verify


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that is not always right, with the files that it was trained and tested on."""
    folder = tmp_path_factory.mktemp("house")
    files = {"train_file": toy_reviews(folder / "train.csv", 120, seed=0, wrong=40)}
    files["test_file"] = toy_reviews(folder / "test.csv", 60, seed=1, wrong=10)
    toy_classifier(folder / "model", model=str(toy_bert(folder / "bert")), **files)
    return folder


@pytest.fixture
def copy(house: Path, tmp_path: Path) -> Path:
    """Model and files, to be spoiled; the record still names the files of the original."""
    shutil.copytree(house, tmp_path / "copy")
    return tmp_path / "copy"


def record_of(folder: Path) -> dict[str, Any]:
    return read_json(folder / "model" / RECORD)


def change(folder: Path, **values: Any) -> None:
    """A record that says something else, with the hash that goes with it: as if it had been saved so."""
    record = record_of(folder) | values
    write_json(folder / "model" / RECORD, record | {SEAL: seal(record)})


def evaluations(folder: Path) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = record_of(folder)["evaluations"]
    return kept


def test_the_figures_of_a_fine_tuned_model_hold(house: Path) -> None:
    report = verify(VerifySettings(folder=house / "model"))
    assert {(figure.split, figure.metric) for figure in report.figures} >= {
        ("validation", "accuracy"),
        ("test", "accuracy"),
    }
    assert all(figure.recorded == pytest.approx(figure.found) for figure in report.figures)
    by_split = {figure.split: figure.recorded for figure in report.figures if figure.metric == "accuracy"}
    assert by_split["test"].low < by_split["test"].value < by_split["test"].high


def test_a_figure_that_is_too_good_is_found_out(copy: Path) -> None:
    first, second = evaluations(copy)
    second["metrics"]["accuracy"]["value"] += 0.002
    change(copy, evaluations=[first, second])
    with pytest.raises(DataError, match=r"1 of \d+ figures do not hold\ntest accuracy: recorded"):
        verify(VerifySettings(folder=copy / "model"))


def test_a_changed_file_is_found_out(copy: Path) -> None:
    (copy / "test.csv").write_text((copy / "test.csv").read_text() + "ba de,good,north\n")
    with pytest.raises(DataError, match=r"test\.csv: changed since"):
        verify(VerifySettings(folder=copy / "model", data_dir=copy))


def test_a_missing_file_is_named_and_may_be_elsewhere(copy: Path, house: Path) -> None:
    data = record_of(copy)["data"]
    data["files"]["test"]["path"] = "/moved/test.csv"
    change(copy, data=data)
    with pytest.raises(DataError, match=r"/moved/test\.csv: not there"):
        verify(VerifySettings(folder=copy / "model"))
    assert verify(VerifySettings(folder=copy / "model", data_dir=house)).figures


def test_other_numbers_of_examples_are_found_out(copy: Path) -> None:
    first, second = evaluations(copy)
    change(copy, evaluations=[first | {"num_examples": 7}, second])
    with pytest.raises(DataError, match="figures of 7 validation examples"):
        verify(VerifySettings(folder=copy / "model"))
    data = record_of(copy)["data"]
    change(copy, evaluations=[first, second], data=data | {"num_train_examples": 109})
    with pytest.raises(DataError, match="num_train_examples is 109, and the recorded data give 108"):
        verify(VerifySettings(folder=copy / "model"))


def test_a_changed_temperature_moves_the_calibration_alone(copy: Path) -> None:
    task = record_of(copy)["task"]
    assert task["temperature"] > 1
    change(copy, task=task | {"temperature": 1.0})
    with pytest.raises(DataError, match=r"test ece: recorded 0\.\d{4}, found 0\.\d{4}") as error:
        verify(VerifySettings(folder=copy / "model"))
    assert "accuracy" not in str(error.value)


def test_evaluations_and_figures_that_are_missing_are_found_out(copy: Path) -> None:
    first, second = evaluations(copy)
    change(copy, evaluations=[first])
    with pytest.raises(DataError, match="evaluations: test missing"):
        verify(VerifySettings(folder=copy / "model"))
    del second["metrics"]["accuracy"], second["calibration"]["ece"]
    change(copy, evaluations=[first, second])
    with pytest.raises(DataError, match="figures of the test examples: accuracy, ece missing"):
        verify(VerifySettings(folder=copy / "model"))


@pytest.mark.parametrize(
    "values",
    [
        {"task": {"temperature": 1.25}},
        {"data": {"num_train_examples": 7}},
        {"settings": {"tune": False}},
        {"versions": {"torch": "1.0"}},
    ],
)
def test_whatever_is_changed_in_the_record_is_found_out(copy: Path, values: dict[str, dict[str, Any]]) -> None:
    record = record_of(copy)
    write_json(copy / "model" / RECORD, record | {name: record[name] | value for name, value in values.items()})
    with pytest.raises(DataError, match="was changed after saving"):
        verify(VerifySettings(folder=copy / "model"))
    assert load(copy / "model").predict(["ba de"])  # who sets a threshold by hand may


def test_another_layout_of_the_record_is_no_change(copy: Path) -> None:
    record = record_of(copy)
    text = json.dumps(dict(sorted(record.items(), reverse=True)), separators=(",", ":"))
    (copy / "model" / RECORD).write_text(text, encoding="utf-8")
    assert verify(VerifySettings(folder=copy / "model")).figures
    del record[SEAL]
    write_json(copy / "model" / RECORD, record)
    with pytest.raises(DataError, match="an earlier version saved it"):
        verify(VerifySettings(folder=copy / "model"))


def test_a_model_without_figures_and_a_damaged_record(copy: Path, house: Path) -> None:
    with pytest.raises(DataError, match="no figures"):
        verify(VerifySettings(folder=house / "bert"))
    change(copy, evaluations=[{"split": "test"}])
    with pytest.raises(FileFormatError, match="damaged"):
        verify(VerifySettings(folder=copy / "model"))


@pytest.fixture(scope="module")
def seeds(house: Path) -> Path:
    """The same run with the seeds 4 and 5, a moment each."""
    values = {"train_file": house / "train.csv", "test_file": house / "test.csv", "model": str(house / "bert")}
    training = {"max_steps": 3, "precision": "fp32", "device": "cpu", "seed": 4}
    finetune_seeds("classification", values | {"output_dir": house / "seeds", "seeds": 2, "training": training})
    return house / "seeds"


def test_a_folder_of_seeds_is_verified_run_by_run_and_in_its_means(seeds: Path) -> None:
    report = verify(VerifySettings(folder=seeds))
    assert [run.folder.name for run in report.runs] == ["seed-4", "seed-5"]
    assert {figure.metric for run in report.runs for figure in run.figures} >= {"accuracy", "ece", "log_loss"}
    first, second = ({(f.split, f.metric): f.recorded.value for f in run.figures} for run in report.runs)
    assert {figure.split for figure in report.figures} == {"validation", "test"}
    for figure in report.figures:
        place = (figure.split, figure.metric)
        assert figure.found.value == pytest.approx((first[place] + second[place]) / 2)


def test_what_does_not_hold_in_a_folder_of_seeds_is_found_out(seeds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    shutil.copytree(seeds, folder)
    summary = read_json(folder / "seeds.json")

    def refused(values: dict[str, Any], message: str) -> None:
        write_json(folder / "seeds.json", summary | values)
        with pytest.raises((DataError, FileFormatError), match=message):
            verify(VerifySettings(folder=folder))

    metrics = summary["metrics"]
    better = {"accuracy": metrics["test"]["accuracy"] | {"value": 0.999}}
    refused({"metrics": metrics | {"test": metrics["test"] | better}}, "1 of 8 figures do not hold\ntest accuracy")
    refused({"metrics": {"test": metrics["test"]}}, "sides of the data: validation missing")
    refused({"metrics": metrics | {"test": better}}, "figures of the test examples: f1, f1_macro")
    refused({"seeds": [4]}, "expected two seeds or more")
    refused({"seeds": ["four"]}, "damaged")
    refused({"seeds": [4, 6]}, "seeds: seed-5 missing; seed-6 unknown")
    (folder / "seed-5").rename(folder / "seed-6")
    refused({"seeds": [4, 6]}, "a run with the seed 5, where seeds.json has 6")
    shutil.rmtree(folder / "seed-6")
    refused({}, "seeds: seed-5 unknown")
