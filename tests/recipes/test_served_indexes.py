"""Indexes that are served together hold the weights of a reader once."""

from __future__ import annotations

from pathlib import Path

import pytest
from toys import Notes, toy_config, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.recipes.ask import Reader
from bertsmith.recipes.served_indexes import open_indexes
from bertsmith.search.answer import AnswerRule, KeptAnswers
from bertsmith.search.documents import Document
from bertsmith.search.index import Index
from bertsmith.tasks.question_answering import QuestionAnswering, QuestionAnsweringSettings


@pytest.mark.parametrize("is_named", [True, False])
def test_a_reader_of_several_indexes_is_loaded_once(tmp_path: Path, is_named: bool) -> None:
    task = QuestionAnswering(QuestionAnsweringSettings(max_length=32))
    save_artifact(tmp_path / "reader", Artifact(task, task.build(toy_config()), toy_tokenizer()))
    reader = Reader.load(tmp_path / "reader", device="cpu")
    rule = AnswerRule(threshold=0.3, num_questions=20)
    for name in ("a", "b"):
        index = Index.create(tmp_path / name, toy_tokenizer())
        index.upsert([Document(name, "Ba be bi.")])
        index.close()
        KeptAnswers(str(reader.folder), reader.sha256, rule).save(tmp_path / name)
    notes = Notes()
    found = open_indexes(
        {name: tmp_path / name for name in ("a", "b")},
        {},
        reader=tmp_path / "reader" if is_named else None,
        reranker=None,
        device="cpu",
        progress=notes,
    )
    assert found.answerers["a"].reader is found.answerers["b"].reader
    assert found.answerers["a"].searcher is not found.answerers["b"].searcher
    assert {answerer.rule for answerer in found.answerers.values()} == {rule}
    assert not [text for text in notes.texts if text.startswith("warning")]
