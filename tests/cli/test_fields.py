"""The options that come from the tasks' fields: a column for each, and each field of one request."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.cli.fields import column_options, request_options
from bertsmith.cli.main import main
from bertsmith.inference.predictor import load
from bertsmith.tasks import TASKS

REQUESTS: dict[str, dict[str, Any]] = {
    "classification": {"text": "ba de", "text_pair": "fi"},
    "embedding": {"text": "ba de", "text_pair": "fi", "negatives": ["go", "ku la"]},
    "multiple_choice": {"question": "ba de", "choices": ["fi", "go ku", "la"]},
    "pretraining": {"text": "ba [MASK] de"},
    "question_answering": {"question": "ba", "context": "de fi go ku"},
    "reranking": {"query": "ba", "passages": ["de fi", "go"]},
    "seq2seq": {"text": "ba de"},
    "token_classification": {"words": ["ba", "de"], "before": ["fi"]},
}


def model_for(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    task = toy_task(name).task
    save_artifact(folder, Artifact(task, task.build(toy_config()), toy_tokenizer()))
    return folder


def ask(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_every_field_of_every_task_has_a_column_option_once() -> None:
    spellings = [option.names for option in column_options(TASKS.values())]
    assert len(set(spellings)) == len(spellings)
    assert {("--text-column",), ("--text-pair-column",), ("--answers-column",), ("--labels-column",)} <= set(spellings)
    assert [option.setting for option in column_options([TASKS["seq2seq"]])] == [
        f"columns.{name}" for name in ("text", "keywords", "language", "prefix", "target")
    ]


def test_fields_that_hold_several_texts_take_several_words() -> None:
    kinds = {option.setting: option.field.annotation for option in request_options(TASKS.values())}
    assert kinds["request.choices"] == kinds["request.words"] == tuple[str, ...]
    assert kinds["request.question"] is str
    assert kinds["request.text_pair"] is str


@pytest.mark.parametrize("name", TASKS)
def test_one_request_by_its_fields(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model_for(name, tmp_path / "model")
    options: list[str] = []
    for field, value in REQUESTS[name].items():
        options += [f"--{field.replace('_', '-')}", *(value if isinstance(value, list) else [value])]
    (given,) = ask(capsys, "predict", folder, *options, "--precision", "fp32")["predictions"]
    (expected,) = load(folder, precision="fp32").predict([REQUESTS[name]])
    assert given == json.loads(json.dumps(asdict(expected)))


def test_an_answer_is_shown_with_its_place_and_without_the_other_candidates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model_for("question_answering", tmp_path / "model")
    request = REQUESTS["question_answering"]
    options = [part for field, value in request.items() for part in (f"--{field}", value)]
    assert main(["predict", str(folder), *options, "--precision", "fp32"]) == 0
    title, header, row = capsys.readouterr().out.splitlines()
    (best,) = load(folder, precision="fp32").predict([request])
    assert len(best.candidates) > 1
    assert (title, header) == ("predictions", "row\tanswer\tscore\tstart\tend")
    cells = row.split("\t")
    assert (cells[1], cells[3:]) == (best.answer, [str(best.start), str(best.end)])


def test_a_field_of_another_task_is_refused_with_those_of_this_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model_for("seq2seq", tmp_path / "model")
    assert main(["predict", str(folder), "--question", "ba"]) == 1
    assert "no field 'question'; known: text" in capsys.readouterr().err


def test_a_request_that_lacks_a_field_says_which_option_gives_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model_for("question_answering", tmp_path / "model")
    for arguments in (["--question", "ba"], ["ba de"]):
        assert main(["predict", str(folder), *arguments]) == 1
        said = capsys.readouterr().err
        assert "no value in 'context'" in said
        assert "--context" in said


def test_texts_beside_a_request_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model_for("classification", tmp_path / "model")
    assert main(["predict", str(folder), "ba", "--text-pair", "de"]) == 2
    assert "texts, a file of requests, or the fields of one request" in capsys.readouterr().err


def test_a_column_of_a_field_that_the_task_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model_for("seq2seq", tmp_path / "model")
    (tmp_path / "rows.csv").write_text("text,target\nba,de\n", encoding="utf-8")
    assert main(["evaluate", str(folder), str(tmp_path / "rows.csv"), "--question-column", "text"]) == 1
    assert "no field 'question' in seq2seq; known: text, keywords, language, prefix, target" in capsys.readouterr().err
