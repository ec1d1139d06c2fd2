from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toy_models import toy_bert, toy_classifier, toy_reviews

from bertsmith.cli.main import main
from bertsmith.errors import DataError, SettingsError
from bertsmith.recipes.checks import CheckReading, read_checks
from bertsmith.recipes.robustness import robustness_of
from bertsmith.tasks.classification import Classification, ClassificationSettings
from bertsmith.tasks.question_answering import QuestionAnswering

CHECKS = [
    {"test": "plain words", "type": "MFT", "capability": "Vocabulary", "inputs": "ba be bi", "label": 2},
    {"test": "plain words", "type": "MFT", "capability": "Vocabulary", "inputs": "ka le mu", "label": 0},
    {"test": "plain words", "type": "MFT", "capability": "Vocabulary", "inputs": "ba mu", "label": 1},
    {"test": "order", "type": "INV", "capability": "SRL", "inputs": ["ba be", "be ba"], "label": None},
    {"test": "more", "type": "DIR", "capability": "SRL", "inputs": ["ba be", "be ba"], "label": None},
    {"test": "none", "type": "MFT", "capability": "SRL", "inputs": None, "label": 1},
    {"test": "unknown", "type": "MFT", "capability": "SRL", "inputs": "ba", "label": None},
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    train = toy_reviews(folder / "train.csv", 120, seed=0)
    toy_classifier(folder / "model", train, model=str(toy_bert(folder / "bert")))
    toy_reviews(folder / "test.csv", 40, seed=1)
    write(folder / "checks.jsonl", CHECKS)
    return folder


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_verb_prints_both_tables_and_writes_a_page(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "robustness",
        str(house / "model"),
        str(house / "test.csv"),
        "--checks-file",
        str(house / "checks.jsonl"),
    ]
    names = ["--label-names.0", "bad", "--label-names.2", "good", "--precision", "fp32", "--changes", "lower case"]
    assert main([*arguments, *names, "--report-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\nlower case\t0\t0\t0\t0\t" in out
    assert "\nplain words\tMFT\t2\t" in out
    assert "left out: 1 direction tests" in out
    assert "left out: 1 cases whose label the model does not have" in out
    page = (tmp_path / "robustness.html").read_text(encoding="utf-8")
    assert "Small changes of the texts" in page
    assert "Tests of behaviour" in page
    facts = json.loads((tmp_path / "robustness.json").read_text(encoding="utf-8"))
    assert main([*arguments, *names, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["found"] == facts["found"]
    assert [check["test"] for check in answer["checks"]] == ["plain words", "order"]


def test_what_is_not_asked_is_said(house: Path) -> None:
    values = {"folder": house / "model", "precision": "fp32"}
    with pytest.raises(SettingsError, match="--checks-file"):
        robustness_of(values)
    with pytest.raises(SettingsError, match="no change 'lower'; did you mean 'lower case'"):
        robustness_of({**values, "file": house / "test.csv", "changes": ("lower",)})
    report = robustness_of({**values, "file": house / "test.csv", "changes": ("lower case",)})
    assert report.found is not None
    assert [effect.name for effect in report.found.effects] == ["lower case"]
    assert report.checks == ()


def test_cases_of_a_test_are_chosen_by_its_name(house: Path) -> None:
    task = Classification(ClassificationSettings(labels=("0", "1", "2")))
    cases, notes = read_checks(task, house / "checks.jsonl", CheckReading(max_cases=1))
    assert [case.test for case in cases] == ["plain words", "order"]
    assert sorted(notes) == [
        "left out: 1 cases of an MFT without a label",
        "left out: 1 cases without inputs",
        "left out: 1 direction tests (DIR): the file does not say in which direction",
    ]


def test_pairs_of_texts_stand_in_the_order_that_is_said(tmp_path: Path) -> None:
    rows = [
        {"test": "who", "inputs": ["Ann is not a cook, Bob is.", "Who is a cook?"], "label": "Bob"},
        {"test": "both", "inputs": [["Ann met Bob.", "Who?"], ["Ann met Bob.", "Whom?"]], "label": ["Ann", "Bob"]},
        {"test": "gone", "inputs": ["Ann met Bob.", "Who?"], "label": "Carl"},
        {"test": "typo", "inputs": [["Ann met Bob.", "Who met Bob?"], ["Ann met Bob.", "Who mte Bob?"]]},
    ]
    path = write(tmp_path / "qa.jsonl", rows)
    cases, notes = read_checks(QuestionAnswering(), path, CheckReading(fields=("context", "question")))
    assert [(case.test, case.kind, len(case.items)) for case in cases] == [
        ("who", "MFT", 1),
        ("both", "MFT", 2),
        ("typo", "INV", 2),
    ]
    assert cases[1].items[1].request.question == "Whom?"
    assert cases[1].items[1].answer[0].start == 8
    assert notes == ["left out: 1 cases whose answer is not in their text"]
    with pytest.raises(SettingsError, match="no 'contex'"):
        read_checks(QuestionAnswering(), path, CheckReading(fields=("contex",)))


def test_a_case_is_left_out_once_and_none_passes_for_asking_nothing(tmp_path: Path) -> None:
    rows = [
        {"test": "foreign", "inputs": ["ba", "be", "bi"], "label": ["8", "0", 9.5]},
        {"test": "empty", "inputs": [], "label": []},
        {"test": "number", "inputs": "ba", "label": 2.0},
        {"test": "unknown number", "inputs": "ba", "label": 3.0},
    ]
    task = Classification(ClassificationSettings(labels=("0", "1", "2")))
    cases, notes = read_checks(task, write(tmp_path / "checks.jsonl", rows), CheckReading())
    assert [(case.test, [example.answer for example in case.items]) for case in cases] == [("number", ["2"])]
    assert notes == ["left out: 2 cases whose label the model does not have", "left out: 1 cases without inputs"]
    with pytest.raises(SettingsError, match="no 'label'"):
        read_checks(task, tmp_path / "checks.jsonl", CheckReading(fields=("label",)))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"inputs": "ba", "type": "INV"}, "expected a list of inputs"),
        ({"inputs": ["ba"], "type": "INV"}, "two inputs or more"),
        ({"inputs": ["ba", "be"], "label": ["0"]}, "2 inputs but 1 labels"),
        ({"inputs": ["a", "b", "c"], "label": "0"}, "texts for text, text_pair, found"),
        ({"inputs": "ba", "type": "XXX"}, "expected MFT, INV or DIR"),
        ({"inputs": "ba", "label": "9"}, "no case that this model can be asked"),
        ({"text": "ba"}, "no column 'inputs'"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    task = Classification(ClassificationSettings(labels=("0", "1")))
    with pytest.raises(DataError, match=said):
        read_checks(task, write(tmp_path / "checks.jsonl", [row]), CheckReading())
