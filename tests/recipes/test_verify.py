from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from toy_models import toy_bert, toy_classifier, toy_reviews

from bertsmith.errors import DataError, FileFormatError
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


def change(folder: Path, **values: Any) -> None:
    path = folder / "model" / "bertsmith.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(record | values), encoding="utf-8")


def evaluations(folder: Path) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = json.loads((folder / "model" / "bertsmith.json").read_text())["evaluations"]
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
    record = json.loads((copy / "model" / "bertsmith.json").read_text())
    record["data"]["files"]["test"]["path"] = "/moved/test.csv"
    change(copy, data=record["data"])
    with pytest.raises(DataError, match=r"/moved/test\.csv: not there"):
        verify(VerifySettings(folder=copy / "model"))
    assert verify(VerifySettings(folder=copy / "model", data_dir=house)).figures


def test_other_numbers_of_examples_are_found_out(copy: Path) -> None:
    first, _ = evaluations(copy)
    change(copy, evaluations=[first | {"num_examples": 7}])
    with pytest.raises(DataError, match="figures of 7 validation examples"):
        verify(VerifySettings(folder=copy / "model"))


def test_a_model_without_figures_and_a_damaged_record(copy: Path, house: Path) -> None:
    with pytest.raises(DataError, match="no figures"):
        verify(VerifySettings(folder=house / "bert"))
    change(copy, evaluations=[{"split": "test"}])
    with pytest.raises(FileFormatError, match="damaged"):
        verify(VerifySettings(folder=copy / "model"))
