"""Answers from an index: where they stand, how sure they are, and when there is none."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_models import toy_bert
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.data.batch import Truncation
from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.inference.predictor import Predictor, load
from bertsmith.recipes.ask import AskSettings, ask, open_answerer, read_questions
from bertsmith.recipes.finetune import finetune, finetune_settings
from bertsmith.search.answer import FILE, Answerer, AnswerRule, Candidate, Citation, Found, threshold_for, tuned
from bertsmith.search.documents import Document
from bertsmith.search.index import Index
from bertsmith.search.passages import PassageSettings
from bertsmith.search.provenance import Provenance
from bertsmith.search.searcher import open_index
from bertsmith.tasks.question_answering import QuestionAnswering, QuestionAnsweringSettings

DOCUMENTS = [
    Document("a", "Ba be bi. Bo bu da. De di do.", "ka"),
    Document("b", "Fa fe fi. Fo fu ga.", "", {"year": 2024}),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    index = Index.create(
        tmp_path / "index", toy_tokenizer(), passages=PassageSettings(passage_tokens=8, overlap_sentences=0)
    )
    index.upsert(DOCUMENTS)
    index.close()
    return tmp_path / "index"


def toy_reader(*, allow_no_answer: bool = True) -> Predictor:
    torch.manual_seed(0)
    task = QuestionAnswering(QuestionAnsweringSettings(max_length=32, allow_no_answer=allow_no_answer))
    return Predictor(task, task.build(toy_config(initializer_range=0.5)).eval(), toy_tokenizer(), "fp32")


@pytest.mark.parametrize("allow_no_answer", [True, False])
def test_a_citation_is_a_place_in_its_document(folder: Path, allow_no_answer: bool) -> None:
    reader = toy_reader(allow_no_answer=allow_no_answer)
    answerer = Answerer(open_index(folder), reader, AnswerRule(threshold=0.0))
    texts = {document.id: document.text for document in DOCUMENTS}
    for question, answered in zip(["bo", "fo fu"], answerer.ask(["bo", "fo fu"]), strict=True):
        assert answered.citation is not None
        for place in [answered.citation, *(candidate.citation for candidate in answered.candidates)]:
            assert texts[place.document][place.start : place.end] == place.text
        assert answered.answer == answered.citation.text == answered.candidates[0].answer
        assert 0 <= answered.score <= 1
        scores = [candidate.score for candidate in answered.candidates]
        assert scores == sorted(scores, reverse=True)
        assert {hit.document for hit in answered.hits} == {"a" if question == "bo" else "b"}


def test_what_is_unsure_is_withheld_and_what_is_not_found_has_no_candidates(folder: Path) -> None:
    answerer = Answerer(open_index(folder), toy_reader(), AnswerRule(threshold=1.1))
    withheld, nothing = answerer.ask(["bo", "xyz"])
    assert withheld.answer is withheld.citation is None
    assert withheld.candidates[0].answer
    assert nothing.candidates == nothing.hits == ()
    assert nothing.score == 0.0
    (filtered,) = answerer.ask(["bo"], {"year": 2024})
    assert filtered.hits == ()


def test_what_a_reader_does_not_read_of_a_question_is_told(folder: Path) -> None:
    reader = toy_reader()
    short = reader.task.settings.model_copy(update={"max_question_tokens": 4})
    answerer = Answerer(open_index(folder), replace(reader, task=QuestionAnswering(short), sha256="the reader's"))
    told = Provenance()
    answerer.ask(["bo", "bo " * 7, "xyz"], provenance=told)
    assert told == Provenance({"reader": "the reader's"}, Truncation(3, 1, 3))
    with pytest.warns(UserWarning, match="1 of 1 queries are longer than is read: 3 tokens were cut"):
        answerer.ask(["bo " * 7])
    nobody = Provenance()
    answerer.ask(["xyz"], provenance=nobody)
    assert nobody == Provenance()


@pytest.fixture(scope="module")
def trained_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To whatever question, the word with m is the answer; a passage without one has none."""
    folder = tmp_path_factory.mktemp("reader")
    rng = np.random.default_rng(0)
    words = [first + vowel for first in "bdfgkln" for vowel in "aeiou"]
    rows = []
    for number in range(400):
        said = list(rng.choice(words, size=int(rng.integers(2, 6))))
        answer = f"m{rng.choice(list('aeiou'))}"
        if number % 3:
            said[int(rng.integers(len(said)))] = answer
        said.insert(int(rng.integers(1, len(said))), ".")
        answers = [answer] if number % 3 else []
        rows.append({"question": said[0], "context": f"{' '.join(said)}.", "answers": answers})
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    values = {
        "train_file": folder / "train.jsonl",
        "output_dir": folder / "model",
        "model": str(toy_bert(folder / "bert")),
        "training": {"max_steps": 80, "per_device_train_batch_size": 16, "learning_rate": 5e-3, "device": "cpu"},
    }
    finetune("question_answering", finetune_settings("question_answering").of(values))
    return folder / "model"


def test_a_planted_answer_is_found_and_cited_and_a_missing_one_is_not_made_up(
    trained_reader: Path, tmp_path: Path
) -> None:
    """Every document has a word that no other has; those of odd numbers hold an answer, in their last sentence."""
    names = [first + second for first in "kln" for second in "aeiou"]
    answers = [f"m{'aeiou'[number % 5]}" if number % 2 else None for number in range(len(names))]
    texts = {
        name: f"Ba {name} de. Gi {name} fo{f' {answer}' if answer else ''} bu."
        for name, answer in zip(names, answers, strict=True)
    }
    settings = PassageSettings(passage_tokens=8, overlap_sentences=0)
    index = Index.create(tmp_path / "index", toy_tokenizer(), passages=settings)
    index.upsert([Document(name, text) for name, text in texts.items()])
    index.close()
    known = dict(zip(names[:10], answers[:10], strict=True))
    lines = [
        {"question": question, "answers": [answer] if answer else []}
        for name, answer in known.items()
        for question in (name, f"{name} {name}")
    ]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    ask(AskSettings(folder=tmp_path / "index", reader=trained_reader, tune=tmp_path / "questions.jsonl"))
    answerer, _ = open_answerer(tmp_path / "index")
    for name, answer, answered in zip(names[10:], answers[10:], answerer.ask(names[10:]), strict=True):
        assert answered.answer == answer
        if answer is None:
            assert answered.citation is None
        else:
            start = texts[name].index(answer)
            assert answered.citation == Citation(name, "", start, start + len(answer), answer)


def test_a_span_of_two_passages_is_one_candidate(tmp_path: Path, trained_reader: Path) -> None:
    settings = PassageSettings(passage_tokens=8, overlap_sentences=1)
    index = Index.create(tmp_path / "index", toy_tokenizer(), passages=settings)
    index.upsert([Document("d", "Ka be. Ka mi. Ka du. Ka fe.")])
    index.close()
    (answered,) = Answerer(open_index(tmp_path / "index"), load(trained_reader), AnswerRule(threshold=0.0)).ask(["ka"])
    assert sum("mi" in hit.text for hit in answered.hits) == 2
    assert answered.answer == "mi"
    places = [(candidate.citation.start, candidate.citation.end) for candidate in answered.candidates]
    assert len(set(places)) == len(places)


def test_an_empty_index_knows_nothing(tmp_path: Path) -> None:
    Index.create(tmp_path / "index", toy_tokenizer()).close()
    (answered,) = Answerer(open_index(tmp_path / "index"), toy_reader()).ask(["ba"])
    assert (answered.answer, answered.score, answered.candidates, answered.hits) == (None, 0.0, (), ())


@pytest.mark.parametrize(
    "content",
    [
        {"reader": "r"},
        {"reader": "r", "reader_sha256": "0", "rule": []},
        {"reader": "r", "reader_sha256": "0", "rule": {"threshold": "high"}},
        {"reader": "r", "reader_sha256": "0", "rule": {"slope": math.nan}},
        {"reader": 3, "reader_sha256": "0", "rule": {}},
        {"reader": "r", "reader_sha256": "0", "rule": {}, "num_passages": 0},
        {"reader": "r", "reader_sha256": "0", "rule": {}, "mode": "exact"},
        {"reader": "r", "reader_sha256": "0", "rule": {}, "is_reranked": "no"},
    ],
)
def test_a_rule_of_another_shape_is_told(folder: Path, content: dict[str, Any]) -> None:
    (folder / FILE).write_text(json.dumps(content))
    with pytest.raises(FileFormatError, match="--tune makes it anew"):
        open_answerer(folder, reader=folder)


def made(odds: list[float], answers: list[str]) -> Found:
    """Candidates of the first passages, one each."""
    candidates = [Candidate(text, 0.0, Citation("d", "", 0, len(text), text)) for text in answers]
    return Found([], candidates, np.array(odds), np.arange(1.0, len(odds) + 1))


def test_the_rule_learns_what_is_right_and_its_confidence_is_a_probability() -> None:
    rng = np.random.default_rng(0)
    found, known = [], []
    for _ in range(2000):
        odds = rng.normal(0, 2)
        # Right with the probability sigmoid(odds); the second candidate never is.
        is_right = rng.random() < 1 / (1 + np.exp(-odds))
        found.append(made([odds, odds - 3], ["yes", "no"]))
        known.append(["yes"] if is_right else ["else"])
    fitted = tuned(found, known, wanted_risk=0.1)
    answerer = Answerer.__new__(Answerer)
    answerer.rule = fitted.rule
    judged = [answerer.judged(one) for one in found]
    scores = np.array([one.score for one in judged])
    is_right = np.array([one == ["yes"] for one in known])
    for part in np.array_split(np.argsort(scores), 5):
        assert scores[part].mean() == pytest.approx(is_right[part].mean(), abs=0.06)
    given = np.array([one.answer is not None for one in judged])
    assert given.mean() == pytest.approx(fitted.coverage)
    assert (~is_right[given]).mean() == pytest.approx(fitted.risk)
    assert fitted.risk <= 0.1
    assert all(one.candidates[0].answer == "yes" for one in judged)


def test_the_threshold_is_the_lowest_that_keeps_the_risk() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.5])
    is_right = np.array([True, True, False, True, True, False])
    # Shares of wrong answers, the surest first: 0, 0, 1/3, 1/4, and both of 0.5 together 2/6.
    assert threshold_for(scores, is_right, 0.25) == (0.6, pytest.approx(4 / 6), 0.25)
    assert threshold_for(scores, is_right, 0.2) == (0.8, pytest.approx(2 / 6), 0.0)
    assert threshold_for(scores, is_right, 0.4) == (0.5, 1.0, pytest.approx(2 / 6))
    threshold, coverage, _ = threshold_for(scores, ~is_right, 0.1)
    assert threshold > 0.9
    assert coverage == 0.0


def test_too_few_questions_and_all_alike_are_refused() -> None:
    with pytest.raises(DataError, match="on 20 questions or more, found 5"):
        tuned([made([1.0], ["a"])] * 5, [["a"]] * 5, 0.1)
    with pytest.raises(DataError, match="all of the 30 answers found are wrong"):
        tuned([made([1.0], ["a"])] * 30, [["b"]] * 30, 0.1)


def test_what_was_tuned_is_remembered_for_its_reader_alone(folder: Path, tmp_path: Path) -> None:
    reader = toy_reader()
    place = tmp_path / "reader"
    save_artifact(place, Artifact(reader.task, reader.network, reader.tokenizer))
    (answered,) = Answerer(open_index(folder), reader, AnswerRule(threshold=0.0)).ask(["bo"])
    lines = [
        {"question": "bo", "answers": [answered.candidates[0].answer] if number % 2 else []} for number in range(30)
    ]
    questions = tmp_path / "questions.jsonl"
    questions.write_text("\n".join(map(json.dumps, lines)))
    report = ask(AskSettings(folder=folder, reader=place, tune=questions, risk=0.9, question=("bo",)))
    assert report.tuned is not None
    assert report.warnings == ()
    assert report.answers[0].answer == answered.candidates[0].answer
    assert (folder / FILE).is_file()
    again, warnings = open_answerer(folder)
    assert again.rule == report.tuned.rule
    assert warnings == ()
    other = replace(reader, network=reader.task.build(toy_config()).eval())
    save_artifact(tmp_path / "other", Artifact(other.task, other.network, other.tokenizer))
    fresh, warnings = open_answerer(folder, reader=tmp_path / "other")
    assert fresh.rule == AnswerRule()
    assert "not fitted to this reader" in warnings[0]


def test_what_cannot_be_asked_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no reader is known"):
        ask(AskSettings(folder=folder, question=("bo",)))
    with pytest.raises(SettingsError, match="needs a question"):
        ask(AskSettings(folder=folder))
    with pytest.raises(SettingsError, match="not there"):
        ask(AskSettings(folder=folder, question=("bo",), reader=tmp_path / "nowhere"))
    task = toy_task("classification").task
    with pytest.raises(SettingsError, match="question_answering is expected"):
        Answerer(open_index(folder), Predictor(task, task.build(toy_config()), toy_tokenizer()))
    with pytest.raises(DataError, match="a list of questions"):
        Answerer(open_index(folder), toy_reader()).ask("bo")
    with pytest.raises(DataError, match="an empty text"):
        Answerer(open_index(folder), toy_reader()).ask(["bo", " "])


def test_questions_come_from_tables_and_from_squads_json(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer\nwho?,me\nwhat?,\n")
    assert read_questions(tmp_path / "a.csv") == [("who?", ["me"]), ("what?", [])]
    paragraph = {
        "context": "it is me",
        "qas": [{"id": "1", "question": "who?", "answers": [{"text": "me", "answer_start": 6}]}],
    }
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"title": "", "paragraphs": [paragraph]}]}))
    assert read_questions(tmp_path / "a.json") == [("who?", ["me"])]
    (tmp_path / "b.csv").write_text("question,reply\nwho?,me\n")
    with pytest.raises(DataError, match="no answers"):
        read_questions(tmp_path / "b.csv")
