"""Asking as a run: what a rule is fitted to, and what is said of an answer that nobody fitted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import Notes, toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.errors import DataError, SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.recipes.ask import AskSettings, ask
from bertsmith.recipes.chat import open_assistant
from bertsmith.search.answer import Answerer, AnswerRule, Candidate, Citation, Found, tuned
from bertsmith.search.documents import Document
from bertsmith.search.index import Index
from bertsmith.search.searcher import open_index
from bertsmith.tasks.question_answering import QuestionAnswering, QuestionAnsweringSettings

DOCUMENTS = (Document("a", "Ba be bi."), Document("b", "Bo bu ba da."), Document("c", "Fa ba fe fi."))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    index = Index.create(tmp_path / "index", toy_tokenizer())
    index.upsert(DOCUMENTS)
    index.close()
    return tmp_path / "index"


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    task = QuestionAnswering(QuestionAnsweringSettings(max_length=32, allow_no_answer=True))
    network = task.build(toy_config(initializer_range=0.5))
    save_artifact(tmp_path / "reader", Artifact(task, network, toy_tokenizer()))
    return tmp_path / "reader"


def reranker() -> Predictor:
    torch.manual_seed(1)
    task = toy_task("reranking").task
    return Predictor(task, task.build(toy_config(initializer_range=0.5)).eval(), toy_tokenizer(), "fp32")


def test_a_reranker_for_hits_changes_no_answer(folder: Path) -> None:
    torch.manual_seed(0)
    task = QuestionAnswering(QuestionAnsweringSettings(max_length=32, allow_no_answer=True))
    model = Predictor(task, task.build(toy_config(initializer_range=0.5)).eval(), toy_tokenizer(), "fp32")
    plain, reranked = open_index(folder), open_index(folder, reranker=reranker())
    orders = [[hit.document for hit in searcher.search(["ba"])[0]] for searcher in (plain, reranked)]
    assert orders[0] != orders[1], "it has something to change"
    rule = AnswerRule(threshold=0.0)
    answers = [Answerer(searcher, model, rule).ask(["ba"])[0] for searcher in (plain, reranked)]
    assert answers[0] == answers[1]


def test_a_question_is_searched_as_it_is_asked_for_and_the_rule_knows_how_it_was_fitted(
    folder: Path, reader: Path, tmp_path: Path
) -> None:
    model = reranker()
    save_artifact(tmp_path / "reranker", Artifact(model.task, model.network, model.tokenizer))
    (plain,) = ask(AskSettings(folder=folder, reader=reader, question=("ba",))).answers
    reranked = AskSettings(folder=folder, reader=reader, question=("ba",), reranker=tmp_path / "reranker", mode="bm25")
    (answered,) = ask(reranked).answers
    (expected,) = open_index(folder, reranker=model).search(["ba"])
    assert [hit.document for hit in answered.hits] == [hit.document for hit in expected]
    assert [hit.document for hit in answered.hits] != [hit.document for hit in plain.hits]
    with pytest.raises(SettingsError, match="mode: dense needs vectors"):
        ask(reranked.model_copy(update={"mode": "dense"}))
    (best,) = {candidate.answer for candidate in answered.candidates[:1]}
    questions = tmp_path / "questions.jsonl"
    rows = [{"question": "ba", "answers": [best] if number % 2 else []} for number in range(30)]
    questions.write_text("\n".join(map(json.dumps, rows)))
    assert ask(reranked.model_copy(update={"tune": questions, "risk": 0.9})).warnings == ()
    assert ask(reranked.model_copy(update={"reader": None})).warnings == ()
    (told,) = ask(AskSettings(folder=folder, question=("ba",))).warnings
    assert "fitted to passages found by bm25 and a reranker, these are found by bm25" in told


def test_chinese_answers_are_compared_by_their_characters() -> None:
    def found(answer: str, odds: float) -> Found:
        candidate = Candidate(answer, 0.0, Citation("d", "", 0, len(answer), answer))
        return Found([], [candidate], np.array([odds]), np.array([1.0]))

    rng = np.random.default_rng(0)
    # Half of the title is right enough by characters; as one English word it is wrong.
    row = [found("\u7ea2\u697c", 2 + rng.normal()) for _ in range(30)] + [
        found("\u5317", -2 + rng.normal()) for _ in range(10)
    ]
    known = [["\u7ea2\u697c\u68a6"]] * 40
    assert tuned(row, known, 0.2, "cmrc2018").coverage > 0.7
    with pytest.raises(DataError, match="all of the 40 answers found are wrong"):
        tuned(row, known, 0.2, "squad")


def test_questions_about_something_else_are_told(folder: Path, reader: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text("\n".join(json.dumps({"question": "ku", "answers": ["ku"]}) for _ in range(20)))
    with pytest.raises(DataError, match="no passage was found for any of the 20 questions"):
        ask(AskSettings(folder=folder, reader=reader, tune=questions))


def test_an_assistant_says_that_nobody_fitted_its_answers(folder: Path, reader: Path, tmp_path: Path) -> None:
    file = tmp_path / "assistant.toml"
    file.write_text('index = "index"\nreader = "reader"\n')
    notes = Notes()
    assert open_assistant(file, progress=notes).answerer is not None
    (note,) = notes.texts
    assert note.startswith(f"warning: {folder}: confidence and threshold are not fitted")
