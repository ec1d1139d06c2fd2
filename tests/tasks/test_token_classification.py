"""Tagging: what is read, which pieces answer, what comes out valid, figures equal to seqeval's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from toys import WORDS, toy_config, toy_text, toy_tokenizer

from bertsmith.artifact import Artifact, load_artifact, save_artifact, start_network
from bertsmith.data.lines import Reading
from bertsmith.data.order import sample_rng
from bertsmith.errors import DataError, SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.model.crf import Chain
from bertsmith.model.networks import CrfTokenNetwork
from bertsmith.tasks.reading import read_examples, read_requests
from bertsmith.tasks.tag_decoding import PieceScores, TagPrediction, score_words, tagged
from bertsmith.tasks.tag_records import TagRequest, separated
from bertsmith.tasks.tag_settings import TokenClassificationSettings
from bertsmith.tasks.tag_windows import TagWindow
from bertsmith.tasks.task import Example
from bertsmith.tasks.token_classification import TokenClassification
from bertsmith.text.tags import grammar_of, read_spans
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train

LABELS = ("O", "B-A", "I-A", "B-B", "I-B")
PLAIN = ("ADJ", "NOUN", "VERB")


def task_with(**settings: Any) -> TokenClassification:
    return TokenClassification(TokenClassificationSettings(**({"labels": LABELS, "max_length": 16} | settings)))


def example(words: str, tags: str, **more: Any) -> Example[TagRequest]:
    return TokenClassification().example({"words": words, "tags": tags, **more}, "row 1")


def encoded(task: TokenClassification, item: Any) -> list[TagWindow]:
    windows = task.encode(item, toy_tokenizer(), sample_rng(0, 0, 0))
    assert all(isinstance(window, TagWindow) for window in windows)
    return windows  # type: ignore[return-value]


def pieces(window: TagWindow, *, at: Any = slice(None)) -> str:
    tokens = toy_tokenizer().vocab
    return " ".join(tokens[number] for number in np.asarray(window.input_ids)[at].tolist())


# Reading


def test_words_and_tags_from_every_shape_of_file(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("-DOCSTART- O\n\nba B-A\nbe I-A\n\nbi O\nbo B-B\n")
    (tmp_path / "b.jsonl").write_text(
        '{"tokens": ["ba", "be"], "ner_tags": ["B-A", "I-A"]}\n{"tokens": ["bi", "bo"], "ner_tags": ["O", "B-B"]}\n'
    )
    (tmp_path / "c.csv").write_text('words,tags\nba be,B-A I-A\n"[""bi"", ""bo""]",O B-B\n')
    for name in ("a.conll", "b.jsonl", "c.csv"):
        examples, _ = read_examples(TokenClassification(), tmp_path / name, {}, Reading())
        assert [e.request.words for e in examples] == [("ba", "be"), ("bi", "bo")], name
        assert [e.answer for e in examples] == [("B-A", "I-A"), ("O", "B-B")], name
    examples, _ = read_examples(TokenClassification(), tmp_path / "a.conll", {}, Reading())
    assert (examples[0].request.after, examples[1].request.before) == (("bi", "bo"), ("ba", "be"))
    requests = [placed.request for placed in read_requests(TokenClassification(), tmp_path / "a.conll", {}, Reading())]
    assert requests == [e.request for e in examples]


def test_another_column_of_tags_is_taken_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("ba NOUN B-A\nbe VERB O\n")
    examples, _ = read_examples(TokenClassification(), tmp_path / "a.conll", {"tags": "2"}, Reading())
    assert (examples[0].request.words, examples[0].answer) == (("ba", "be"), ("NOUN", "VERB"))


def test_spans_of_characters_become_tags_of_words(tmp_path: Path) -> None:
    text = "Aunt Jo's cat, in Paris."  # words: Aunt Jo ' s cat , in Paris .
    spans = '[{"start": 18, "end": 24, "label": "B"}, {"start": 0, "end": 8, "label": "A"}]'
    (tmp_path / "a.jsonl").write_text(f'{{"text": "{text}", "entities": {spans.replace("24", "23")}}}\n')
    (tmp_path / "b.jsonl").write_text(f'{{"text": "{text}", "label": [[18, 23, "B"], [0, 8, "A"]]}}\n')
    for name in ("a.jsonl", "b.jsonl"):
        ((found,), _) = read_examples(TokenClassification(), tmp_path / name, {}, Reading())
        assert found.answer == ("B-A", "I-A", "I-A", "O", "O", "O", "O", "B-B", "O"), name
    blank = {"text": "ba be", "tags": [{"start": 0, "end": 3, "label": "A"}]}
    assert TokenClassification().example(blank, "row").answer == ("B-A", "O")
    assert TokenClassification().example({"text": "ba be", "tags": []}, "row").answer == ("O", "O")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"words": "ba be", "tags": "O"}, "row 7: words and tags of different number: 2 words but 1 tags; every"),
        ({"words": ["ba", "be"], "tags": ["O", None]}, "row 7: a word without a tag: word 2, 'be', has None"),
        ({"words": "ba", "tags": 5}, "row 7: expected a list of tags or of spans: found 5"),
        ({"words": "ba", "tags": None}, "row 7: no value in 'tags'"),
        ({"words": "ba", "text": "ba", "tags": "O"}, "row 7: expected 'words' .* or a 'text', found both"),
        ({"words": "", "tags": "O"}, "row 7: expected 'words' .* or a 'text', found neither"),
        ({"text": "ba-be", "tags": "O O"}, "3 words but 2 tags.*at every blank and punctuation"),
        ({"text": "ba be", "tags": [{"start": 0, "end": 6, "label": "A"}]}, "not within its text: 0 to 6 of 5 char"),
        ({"text": "ba be", "tags": [{"start": 2, "end": 3, "label": "A"}]}, "holds no word of the text: 2 to 3, ' '"),
        ({"text": "ba be", "tags": [{"start": 1, "end": 5, "label": "A"}]}, "cuts a word, .*: 1 to 5, 'a be'"),
        ({"text": "ba be", "tags": [{"start": 0, "end": 2, "label": ""}]}, "a span that has no label: 0 to 2"),
        ({"text": "ba be", "tags": [{"from": 0, "end": 2}]}, 'no span of a text: .*, where one is {"start": 0'),
        ({"text": "ba be", "tags": [[0, 5, "A"], [3, 5, "B"]]}, "shares a word with another span: 3 to 5, 'be'"),
    ],
)
def test_bad_records_are_told(record: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TokenClassification().example(record, "row 7")


def test_ten_rows_of_another_length_are_told_with_their_places(tmp_path: Path) -> None:
    rows = [{"words": ["ba"] * 3, "tags": ["O"] * (3 - (i % 2))} for i in range(30)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError) as error:
        read_examples(TokenClassification(), tmp_path / "a.jsonl", {}, Reading())
    assert str(error.value).count("3 words but 2 tags") == 10
    assert "row 2 (line 2)" in str(error.value)
    skipping = Reading(errors="skip")
    examples, _ = read_examples(TokenClassification(), tmp_path / "a.jsonl", {}, skipping)
    assert (len(examples), sum(skipping.skipped.values())) == (15, 15)


def test_a_file_without_words_names_its_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("phrase,tags\nba,O\n")
    with pytest.raises(DataError, match="no column for 'words' or 'text' among 'phrase', 'tags'"):
        read_examples(TokenClassification(), tmp_path / "a.csv", {}, Reading())


# Labels


def test_labels_come_from_the_data() -> None:
    fitted = TokenClassification().fitted([example("ba be bi", "I-B O B-A")])
    assert (fitted.labels(), fitted.scheme) == (LABELS, "BIO")
    assert fitted.notices([example("ba be bi", "I-B O B-A")]) == [
        "1 of 3 tags break BIO and were mended (row 1: I-B became B-B)"
    ]
    assert list(fitted.metrics)[:2] == ["overall_f1", "overall_precision"]
    plain = TokenClassification().fitted([example("ba be bi", "VERB NOUN ADJ")])
    assert (plain.labels(), plain.scheme, next(iter(plain.metrics))) == (PLAIN, "plain", "accuracy")
    wider = TokenClassification(TokenClassificationSettings(scheme="BIOES")).fitted([example("ba be", "B-A I-A")])
    assert wider.labels() == ("O", "B-A", "I-A", "E-A", "S-A")
    assert encoded(wider, example("ba be", "B-A I-A"))[0].targets["labels"].tolist() == [1, 3]


def test_labels_that_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match=r"(?s)'B-C' in 1 rows.*row 1, word 2: 'B-C'"):
        task_with().fitted([example("ba be", "O B-C")])
    with pytest.raises(DataError, match="tags of BIO have prefixes as in B-PER; found A, O"):
        task_with().fitted([example("ba be", "O A")])
    with pytest.raises(DataError, match="two tags in the training data at least"):
        TokenClassification().fitted([example("ba be", "O O")])
    with pytest.raises(DataError, match="tags of BIO have prefixes as in B-PER; found NOUN, VERB"):
        TokenClassification(TokenClassificationSettings(scheme="BIO")).fitted([example("ba be", "NOUN VERB")])
    with pytest.raises(SettingsError, match="a scheme needs 'O' beside B-A, I-A"):
        TokenClassificationSettings.of({"labels": ["B-A", "I-A"]})


# Windows


def test_the_first_piece_of_a_word_answers_or_all_do() -> None:
    item = example("bas be bit", "B-A I-A O")  # pieces: ba ##s be bi ##t
    (first,) = encoded(task_with(), item)
    assert (first.places.tolist(), first.words.tolist()) == ([1, 3, 4], [0, 1, 2])
    assert first.targets["labels"].tolist() == [1, 2, 0]
    (every,) = encoded(task_with(labelled_pieces="all"), item)
    assert (every.places.tolist(), every.words.tolist()) == ([1, 2, 3, 4, 5], [0, 0, 1, 2, 2])
    assert every.targets["labels"].tolist() == [1, 1, 2, 0, 0]


def test_words_without_pieces_shift_nothing() -> None:
    item = Example(TagRequest(("ba", "\u200b", "be", "\x01")), ("B-A", "O", "B-B", "O"), "row")
    (window,) = encoded(task_with(), item)
    assert (window.words.tolist(), window.targets["labels"].tolist()) == ([0, 2], [1, 3])
    network = task_with().build(toy_config()).eval()
    (prediction,) = Predictor(task_with(), network, toy_tokenizer(), precision="fp32").predict([item.request])
    assert [(word.tag == "O", word.score == 0.0) for word in prediction.words][1::2] == [(True, True)] * 2
    assert all(word.score > 0 for word in prediction.words[::2])
    assert [word.start for word in prediction.words] == [0, 3, 5, 8]


def test_words_without_pieces_are_told_with_their_rows() -> None:
    rows = [
        Example(TagRequest(("ba", "\u200b", "be")), ("B-A", "I-A", "I-A"), "a.conll, row 1"),
        Example(TagRequest(("ba",)), ("O",), "a.conll, row 2"),
        Example(TagRequest(("\u0301", "be")), ("O", "O"), "a.conll, row 3"),  # an accent, which goes with lower case
    ]
    (told,) = task_with().piece_notices(rows, toy_tokenizer())
    assert told.startswith("2 of 6 words have no pieces: nothing is learned of them, they are predicted as O")
    assert "a.conll, row 1, word 2: '\\u200b', I-A; a.conll, row 3, word 1: " in told
    assert task_with().piece_notices(rows[1:2], toy_tokenizer()) == []
    (window,) = encoded(task_with(), rows[0])
    assert [LABELS[label] for label in window.targets["labels"]] == ["B-A", "B-A"]


def test_context_fills_the_window_and_is_not_answered_for() -> None:
    around = {"before": "da de di do du", "after": "fa fe fi fo fu"}
    item = example("bas be", "B-A O", **around)
    (narrow,) = encoded(task_with(context_tokens=2), item)
    assert pieces(narrow) == "[CLS] do du ba ##s be fa fe [SEP]"
    assert (narrow.places.tolist(), narrow.words.tolist()) == ([3, 5], [0, 1])
    assert narrow.targets["labels"].tolist() == [1, 0]
    (full,) = encoded(task_with(context_tokens=64, max_length=12), item)
    assert pieces(full) == "[CLS] di do du ba ##s be fa fe fi fo [SEP]"
    (none,) = encoded(task_with(context_tokens=0), item)
    assert pieces(none) == "[CLS] ba ##s be [SEP]"


def test_sentences_are_joined_within_their_document_for_training(tmp_path: Path) -> None:
    # Two documents: sentences of 2, 1 and 2 words, then one of 1; up to 3 words together. The second sentence begins
    # with an I-, which goes on from nothing, so that it is no part of the entity that ends the first.
    path = tmp_path / "two.conll"
    path.write_text("-DOCSTART- O\n\nba O\nbe B-X\n\nbi I-X\n\nbo O\nbu O\n\n-DOCSTART- O\n\nda O\n")
    rows, _ = read_examples(TokenClassification(), path, {}, Reading())
    task = task_with(joined_words=3, labels=("O", "B-X", "I-X"))
    found = task.training_examples(rows)
    assert [(e.request.words, list(e.answer)) for e in found] == [
        (("ba", "be", "bi"), ["O", "B-X", "B-X"]),
        (("bo", "bu"), ["O", "O"]),
        (("da",), ["O"]),
    ]
    assert (found[0].request.before, found[0].request.after) == ((), ("bo", "bu"))
    assert found[1].request.before == ("ba", "be", "bi")
    assert task_with().training_examples(rows) == rows


def test_context_changes_the_answer_and_its_own_words_have_none() -> None:
    torch.manual_seed(0)
    network = task_with(context_tokens=8).build(toy_config()).eval()
    predictor = Predictor(task_with(context_tokens=8), network, toy_tokenizer(), precision="fp32")
    alone, within = predictor.predict([{"words": ["ba", "be"]}, {"words": ["ba", "be"], "before": ["da", "de"]}])
    assert len(alone.words) == len(within.words) == 2
    assert alone.words[0].score != within.words[0].score


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(0, 8), st.sampled_from(["first", "all"]), st.integers(4, 12))
def test_every_word_of_a_long_text_is_answered_once(num: int, stride: int, labelled: Any, max_length: int) -> None:
    rng = np.random.default_rng(num)
    words = tuple(str(rng.choice(WORDS)) + str(rng.choice(["", "s", "st"])) for _ in range(num))
    task = task_with(stride=stride, labelled_pieces=labelled, max_length=max_length)
    windows = encoded(task, TagRequest(words, before=("da",)))
    answered = np.concatenate([window.words for window in windows])
    assert (np.diff(answered) >= 0).all()
    assert sorted(set(answered.tolist())) == list(range(num))
    sizes = [len(toy_tokenizer().encode(word).input_ids) - 2 for word in words]
    assert np.bincount(answered).tolist() == ([1] * num if labelled == "first" else sizes)
    for window in windows:
        assert window.num_tokens <= max_length
        for place, word in zip(window.places, window.words, strict=True):
            assert pieces(window, at=[place]) in (words[word][:2], "##s", "##t")


@pytest.mark.parametrize("crf", [False, True])
def test_a_text_without_words_has_no_tags(crf: bool) -> None:
    task = task_with(crf=crf)
    predictor = Predictor(task, task.build(toy_config()).eval(), toy_tokenizer(), precision="fp32")
    assert [(p.words, p.entities) for p in predictor.predict(["", " \x01 "])] == [((), ())] * 2


def test_what_a_policy_cuts_is_counted_and_has_no_tag() -> None:
    task = task_with(truncation="head", max_length=6)
    network = task.build(toy_config()).eval()
    (prediction,) = Predictor(task, network, toy_tokenizer(), precision="fp32").predict(["ba be bi bo da de"])
    assert (prediction.num_cut_tokens, len(prediction.words)) == (2, 6)
    assert [(word.tag, word.score) for word in prediction.words[4:]] == [("O", 0.0)] * 2
    long = " ".join(["ba"] * 30)
    windowed = Predictor(task_with(max_length=12), network, toy_tokenizer(), precision="fp32").predict([long])[0]
    assert (windowed.num_cut_tokens, windowed.num_windows > 3, len(windowed.words)) == (0, True, 30)


# Answers


def parts_of(logits: NDArray[np.float32], chain: Chain | None = None) -> list[PieceScores]:
    return [PieceScores(np.arange(len(logits)), logits.astype(np.float32), chain)]


@pytest.mark.parametrize("labels", [LABELS, ("O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B")])
@pytest.mark.parametrize("with_crf", [False, True])
def test_no_invalid_sequence_comes_out(labels: tuple[str, ...], with_crf: bool) -> None:
    rng = np.random.default_rng(0)
    scheme = "BIOES" if "S-A" in labels else "BIO"
    size, grammar = len(labels), grammar_of(labels, scheme)  # type: ignore[arg-type]
    chain = None
    if with_crf:
        chain = Chain(*(torch.from_numpy(rng.normal(size=shape)).float() for shape in [size, (size, size), size]))
    num_mended = 0
    for _ in range(200):
        logits = rng.normal(scale=5, size=(rng.integers(1, 9), size))
        scores = score_words(parts_of(logits, chain), len(logits) + 1, labels, grammar)
        assert grammar.admits(scores.labels)
        assert labels[scores.labels[-1]] == "O"
        num_mended += not grammar.admits(logits.argmax(1))
        if chain is None and grammar.admits(logits.argmax(1)):
            assert scores.labels[:-1].tolist() == logits.argmax(1).tolist()
        probabilities = scores.probabilities(1.0)
        assert probabilities[-1] == 0.0
        assert ((probabilities[:-1] > 0) & (probabilities[:-1] <= 1)).all()
    assert num_mended > 50


def test_the_valid_sequence_with_the_highest_sum_wins() -> None:
    # O I-A is the row-wise best and invalid. B-A I-A: 1.0 + 3.0; O O: 2.0 + 0.0; O B-A: 2.0 + 1.5.
    logits = np.array([[2.0, 1.0, 0.0, 0.0, 0.0], [0.0, 1.5, 3.0, 0.0, 0.0]], dtype=np.float32)
    scores = score_words(parts_of(logits), 2, LABELS, grammar_of(LABELS, "BIO"))
    assert [LABELS[index] for index in scores.labels] == ["B-A", "I-A"]
    expected = np.exp(1.0) / np.exp(logits[0].astype(float)).sum()
    assert scores.probabilities(1.0)[0] == pytest.approx(expected)


def test_probabilities_of_a_crf_are_those_among_valid_sequences() -> None:
    # The third word has no piece: it is outside, and the words on its two sides are sequences of their own.
    rng = np.random.default_rng(1)
    grammar, logits = grammar_of(LABELS, "BIO"), rng.normal(scale=2, size=(4, 5)).astype(np.float32)
    starts, transitions, ends = (rng.normal(size=shape) for shape in (5, (5, 5), 5))
    chain = Chain(*(torch.from_numpy(part).float() for part in (starts, transitions, ends)))
    part = PieceScores(np.array([0, 1, 3, 4]), logits, chain)
    scores = score_words([part], 5, LABELS, grammar)
    assert scores.read.tolist() == [True, True, False, True, True]
    for words, rows in (([0, 1], logits[:2]), ([3, 4], logits[2:])):
        ways = [way for way in product(range(5), repeat=2) if grammar.admits(np.array(way))]
        weights = np.exp(
            [starts[a] + ends[b] + transitions[a, b] + rows[0, a] + rows[1, b] for a, b in ways], dtype=np.float64
        )
        best = ways[int(weights.argmax())]
        assert scores.labels[words].tolist() == list(best)
        for place, word in enumerate(words):
            mass = weights[[way[place] == best[place] for way in ways]].sum() / weights.sum()
            assert scores.probabilities(1.0)[word] == pytest.approx(mass, rel=1e-4)
    assert scores.probabilities(1.0)[2] == 0.0


def test_entities_have_places_in_the_text() -> None:
    words = separated(TagRequest(text="Aunt  Jo, in Paris"))
    prediction = tagged(words, ["B-A", "I-A", "O", "O", "B-B"], [0.5, 1.0, 0.9, 0.9, 0.8], "BIO")
    assert [(e.entity_group, e.score, e.word, e.start, e.end) for e in prediction.entities] == [
        ("A", 0.75, "Aunt  Jo", 0, 8),
        ("B", 0.8, "Paris", 13, 18),
    ]
    assert [(w.word, w.start, w.end) for w in prediction.words][1:3] == [("Jo", 6, 8), (",", 8, 9)]
    joined = tagged(separated(TagRequest(("Aunt", "Jo's", "cat"))), ["O", "B-A", "I-A"], [1, 1, 1], "BIO")
    assert [(e.word, e.start, e.end) for e in joined.entities] == [("Jo's cat", 5, 13)]
    assert tagged(words, ["X"] * 5, [1.0] * 5, "plain").entities == ()


# Figures


def answers(tags: Sequence[Sequence[str]]) -> tuple[list[Example[TagRequest]], list[TagPrediction]]:
    requests = [TagRequest(("ba",) * len(row)) for row in tags]
    examples = [Example(request, tuple(row), "row") for request, row in zip(requests, tags, strict=True)]
    return examples, [tagged(separated(e.request), e.answer, [1.0] * len(e.answer), "BIO") for e in examples]


def random_tags(labels: Sequence[str], seed: int) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [rng.choice(labels, size=1 + i % 9).tolist() for i in range(60)]


@pytest.mark.peers
@pytest.mark.parametrize("strict", [False, True])
def test_figures_are_seqevals_in_both_modes(strict: bool) -> None:
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    known, given = random_tags(LABELS, 0), random_tags(LABELS, 1)
    more: dict[str, Any] = {"mode": "strict", "scheme": IOB2} if strict else {}
    report = classification_report(known, given, output_dict=True, zero_division=0, **more)
    ours = task_with(strict_entities=strict).score(answers(known)[0], answers(given)[1])
    for name, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert ours[f"overall_{name}"] == pytest.approx(report["micro avg"][theirs])
    assert [ours["A_f1"], ours["B_f1"]] == pytest.approx([report[kind]["f1-score"] for kind in "AB"])
    assert 0 < ours["overall_f1"] < 1


@pytest.mark.parametrize(
    ("scheme", "written", "given"), [("BIOES", "B-A I-A O", "B-A E-A O"), ("BIO", "B-A E-A S-B", "B-A I-A B-B")]
)
def test_tags_of_another_scheme_are_turned_into_ours_before_they_are_read_strictly(
    scheme: str, written: str, given: str
) -> None:
    task = task_with(scheme=scheme, strict_entities=True, labels=())
    examples = [Example(TagRequest(("a", "b", "c")), tuple(written.split()), "row 1")]
    task = task.fitted([*examples, example("d", "B-B")])
    metrics = task.score(examples, [TagPrediction(tuple(given.split()), (), ())])
    assert (metrics["overall_f1"], metrics["overall_accuracy"]) == (1.0, 1.0)


def test_accuracy_is_of_tags_as_they_are_mended() -> None:
    # known O B-A (mended from I-A) O; given O B-A B-A
    known, _ = answers([["O", "I-A", "O"]])
    _, given = answers([["O", "B-A", "B-A"]])
    assert task_with().score(known, given)["overall_accuracy"] == pytest.approx(2 / 3)


def test_plain_tags_have_accuracy_and_f1_of_each() -> None:
    # known N N V A, given N V V V. F1: N 2*1/(1+2), V 2*1/(3+1), A 0; none of another type
    task = task_with(labels=("A", "N", "V", "X"))
    known, _ = answers([["N", "N", "V", "A"]])
    _, given = answers([["N", "V", "V", "V"]])
    assert task.score(known, given) == {
        "accuracy": 0.5,
        "f1_macro": pytest.approx((2 / 3 + 1 / 2 + 0) / 3),
        "A_f1": 0.0,
        "N_f1": pytest.approx(2 / 3),
        "V_f1": 0.5,
        "X_f1": 0.0,
    }
    assert task.credit(task.marks(known, given)).tolist() == [0.5]
    # a word that was not read is tagged O, which is wrong and nobody's mistake for another: N 2*1/(1+2)
    _, given = answers([["N", "O", "V", "A"]])
    assert (task.score(known, given)["accuracy"], task.score(known, given)["N_f1"]) == (0.75, pytest.approx(2 / 3))


def test_marks_of_any_rows_are_those_rows_figures() -> None:
    known, given = answers(random_tags(LABELS, 0))[0], answers(random_tags(LABELS, 1))[1]
    task = task_with()
    marks = task.marks(known, given)
    assert task.metrics_of(marks[10:30]) == task.score(known[10:30], given[10:30])
    assert set(task.metrics_of(marks)) == set(task.metrics)
    assert task.metrics_of(marks[:0])["overall_f1"] == 0.0
    for row, example_, prediction in zip(task.credit(marks), known, given, strict=True):
        first, second = set(read_spans(example_.answer)), set(read_spans(prediction.tags))
        both = len(first) + len(second)
        assert row == pytest.approx(2 * len(first & second) / both if both else 1.0)


def test_confidences_and_confusion_are_of_words() -> None:
    known, _ = answers([["B-A", "O", "O"]])
    words = separated(known[0].request)
    given = [tagged(words, ["B-A", "B-B", "O"], [0.9, 0.6, 0.0], "BIO")]  # the third word was not read
    confidence, right = task_with().confidences(known, given)
    assert (confidence.tolist(), right.tolist()) == ([0.9, 0.6], [1.0, 0.0])
    assert task_with().confusion(known, given) == ([("B-A",), ("O",), ("O",)], [("B-A",), ("B-B",), ("O",)])


@pytest.mark.parametrize("crf", [False, True])
def test_tuning_softens_what_was_too_sure(crf: bool) -> None:
    rng = np.random.default_rng(0)
    task = task_with(crf=crf)
    zeros = [torch.zeros(shape) for shape in [(5,), (5, 5), (5,)]]
    known, parts = [], []
    for _ in range(80):
        tags = rng.integers(5, size=6)
        logits = rng.normal(size=(6, 5)) + 2 * np.eye(5)[tags]
        known.append(Example(TagRequest(("ba",) * 6), tuple(LABELS[i] for i in rng.permutation(tags)), "row"))
        parts.append(parts_of(logits * 5, Chain(*zeros) if crf else None))
    tuned = task.tuned(known, parts)
    assert tuned.settings.temperature > 5
    cold, warm = (one.merge(known[0].request, parts[0], 0) for one in (task, tuned))
    assert cold.tags == warm.tags
    assert max(w.score for w in warm.words) < max(w.score for w in cold.words)


def test_the_baseline_gives_each_word_its_usual_tag() -> None:
    train_rows = [example("ba be bi", "B-A I-A O"), example("ba bo bi", "B-A O O")]
    (answer,) = task_with().baselines(train_rows, [example("be ba bi", "O O O")]).values()
    assert answer[0].tags == ("I-A", "B-A", "O")
    assert [entity.entity_group for entity in answer[0].entities] == ["A", "A"]


# Training


def learnable(num: int) -> list[Example[TagRequest]]:
    """`ba` begins an A that goes on over every `be`; another word between them ends it."""
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(num):
        words = toy_text(rng, int(rng.integers(2, 9)), ("ba", "be", "bi", "dos")).split()
        tags, inside = [], False
        for word in words:
            inside = word == "ba" or (inside and word == "be")
            tags.append("B-A" if word == "ba" else "I-A" if inside else "O")
        rows.append(Example(TagRequest(tuple(words)), tuple(tags), "row"))
    return rows


@pytest.mark.parametrize("variant", [{"crf": True, "labelled_pieces": "all"}, {"scheme": "BIOES"}])
def test_variants_learn_and_are_saved(variant: dict[str, Any], tmp_path: Path) -> None:
    rows = learnable(48)
    task = TokenClassification(TokenClassificationSettings(max_length=16, **variant)).fitted(rows)
    torch.manual_seed(0)
    network = task.build(toy_config())
    steps = TrainingSettings(max_steps=60, per_device_train_batch_size=16, learning_rate=5e-3, precision="fp32")
    train(task, network, toy_tokenizer(), rows, steps)
    predictor = Predictor(task, network.eval(), toy_tokenizer(), precision="fp32")
    fresh = learnable(80)[48:]
    assert task.score(fresh, predictor.run(fresh).predictions)["overall_f1"] > 0.9
    save_artifact(tmp_path / "model", Artifact(task, network, toy_tokenizer()))
    loaded = load_artifact(tmp_path / "model")
    assert loaded.task == task
    again = Predictor(loaded.task, loaded.network, loaded.tokenizer, precision="fp32").run(fresh).predictions
    assert [prediction.tags for prediction in again] == [
        prediction.tags for prediction in predictor.run(fresh).predictions
    ]
    kind = json.loads((tmp_path / "model" / "config.json").read_text())["model_type"]
    assert kind == ("bertsmith" if task.settings.crf else "bert")


def test_a_crf_starts_from_any_checkpoint_with_new_scores(tmp_path: Path) -> None:
    plain = task_with().build(toy_config())
    save_artifact(tmp_path / "model", Artifact(task_with(), plain, toy_tokenizer()))
    network, report = start_network(task_with(crf=True), tmp_path / "model", heads="fit")
    assert isinstance(network, CrfTokenNetwork)
    assert set(report.missing) == {"crf.starts", "crf.transitions", "crf.ends"}


def test_losses_of_a_crf_do_not_depend_on_the_batch() -> None:
    task, rows = task_with(crf=True, labelled_pieces="all", max_length=8), learnable(6)
    torch.manual_seed(0)
    network = task.build(toy_config()).eval()
    torch.nn.init.normal_(network.crf.transitions, std=0.01)  # type: ignore[union-attr]
    windows = [window for row in rows for window in encoded(task, row)]
    windows += encoded(task, Example(TagRequest(("\u200b",)), ("O",), "row"))  # nothing to learn from
    with torch.no_grad():
        together = float(task.loss(network, task.collate(windows))["tagging"])
        apart = sum(float(task.loss(network, task.collate([window]))["tagging"]) for window in windows)
    assert together == pytest.approx(apart, rel=1e-5)


@pytest.mark.parametrize("scheme", ["BIO", "BIOES", "IOB1", "plain"])
def test_the_loss_of_a_crf_is_over_valid_sequences_and_a_cut_one_may_begin_within_an_entity(scheme: Any) -> None:
    # Two windows of one entity, a word without pieces within another: what it parts is mended.
    words = ("ba", "be", "bi", "bo", "bu", "da", "\u200b", "de")
    tags = ("B-A", "I-A", "I-A", "I-A", "I-A", "B-A", "I-A", "I-A")
    item = Example(TagRequest(words), tags if scheme != "plain" else ("NOUN",) * 8, "row")
    task = TokenClassification(TokenClassificationSettings(scheme=scheme, crf=True, max_length=6, stride=0))
    task = task.fitted([item, *([example("ba", "VERB")] if scheme == "plain" else [])])
    labels, grammar = task.settings.labels, grammar_of(task.settings.labels, scheme)
    torch.manual_seed(0)
    network = task.build(toy_config()).eval()
    assert isinstance(network, CrfTokenNetwork)
    torch.nn.init.normal_(network.crf.transitions, std=0.01)
    torch.nn.init.normal_(network.crf.starts, std=0.01)
    learned, windows = network.crf.chain(), encoded(task, item)
    read = [window.words.tolist() for window in windows]
    assert [(words[0], words[-1]) for words in read] == [(0, 3), (4, 7)]
    batch = task.collate(windows)
    # The sequences: words 0-3, 4-5, 7. Open: after the first, before the second.
    assert batch.targets["lengths"].tolist() == [4, 2, 1]
    assert batch.targets["open"].tolist() == [[False, True], [True, False], [False, False]]
    with torch.no_grad():
        logits = network(batch.packed)[batch.targets["places"]].split([4, 2, 1])
        loss = float(task.loss(network, batch)["tagging"])
        expected = 0.0
        known = batch.targets["labels"].split([4, 2, 1])
        for rows, answer, (before, after) in zip(logits, known, batch.targets["open"].tolist(), strict=True):
            ways = {}
            for way in product(range(len(labels)), repeat=len(rows)):
                if not (before or grammar.starts[way[0]]) or not (after or grammar.ends[way[-1]]):
                    continue
                if all(grammar.transitions[a, b] for a, b in pairwise(way)):
                    total = sum(row[label] for row, label in zip(rows, way, strict=True))
                    total += sum(learned.transitions[a, b] for a, b in pairwise(way))
                    ways[way] = float(total + (0 if before else learned.starts[way[0]]))
            expected += float(torch.tensor(list(ways.values())).logsumexp(0)) - ways[tuple(answer.tolist())]
    assert loss == pytest.approx(expected, rel=1e-4)
    spelled = [labels[i] for i in batch.targets["labels"].tolist()]
    if scheme == "BIO":
        assert spelled == ["B-A", "I-A", "I-A", "I-A", "I-A", "B-A", "B-A"]
    if scheme == "BIOES":
        assert spelled == ["B-A", "I-A", "I-A", "I-A", "E-A", "S-A", "S-A"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["ba", "bes", "dit", "\u200b"]), min_size=1, max_size=30),
    st.sampled_from(["BIO", "BIOES"]),
    st.sampled_from(["windows", "head", "tail", "head_tail"]),
    st.sampled_from(["first", "all"]),
    st.randoms(use_true_random=False),
)
def test_no_target_of_a_crf_is_forbidden(words: list[str], scheme: Any, truncation: Any, pieces: Any, rng: Any) -> None:
    tags = tuple(rng.choice(LABELS) for _ in words)
    made = TokenClassificationSettings(
        scheme=scheme, crf=True, max_length=8, stride=2, truncation=truncation, labelled_pieces=pieces
    )
    item = Example(TagRequest(tuple(words)), tags, "row")
    task = TokenClassification(made).fitted([item, example("ba be", "B-A B-B")])
    batch = task.collate(encoded(task, item))
    network = task.build(toy_config()).eval()
    with torch.no_grad():
        loss = float(task.loss(network, batch)["tagging"])
    assert 0 <= loss < 20 * len(words)
    (parts,) = Predictor(task, network, toy_tokenizer(), precision="fp32").run([item], keep_parts=True).parts
    assert 0.01 < task.tuned([item], [parts]).settings.temperature < 1000


@pytest.mark.peers
def test_transformers_reads_what_is_saved(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    task = task_with()
    torch.manual_seed(0)
    network = task.build(toy_config()).eval()
    save_artifact(tmp_path / "model", Artifact(task, network, toy_tokenizer()))
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "model").eval()
    assert theirs.config.id2label == dict(enumerate(LABELS))
    (window,) = encoded(task, TagRequest(("bas", "be", "dit")))
    with torch.inference_mode():
        ours = task.outputs(network, task.collate([window]))[0].logits
        other = theirs(input_ids=torch.tensor(window.input_ids, dtype=torch.int64)[None]).logits[0]
    torch.testing.assert_close(ours, other, atol=1e-5, rtol=1e-5)


@pytest.mark.shared
@pytest.mark.slow
def test_real_files_are_read_as_they_are_published(shared: Path) -> None:
    conll, _ = read_examples(TokenClassification(), shared / "ner/conll2003_en/valid.txt.xz", {}, Reading())
    fitted = TokenClassification().fitted(conll)
    assert (len(conll), fitted.scheme, fitted.notices(conll)) == (3250, "BIO", [])
    counts = Counter(span.type for row in conll for span in read_spans(row.answer))
    assert counts == {"LOC": 1837, "PER": 1842, "ORG": 1341, "MISC": 922}
    assert any(row.request.before for row in conll)
    parts, _ = read_examples(TokenClassification(), shared / "pos/ud_english_ewt/dev.conllu.xz", {}, Reading())
    words = TokenClassification().fitted(parts)
    assert (len(parts), words.scheme, len(words.labels())) == (2001, "plain", 17)


@pytest.mark.shared
@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("crf", [False, True])
def test_a_real_encoder_learns_names_from_a_few_sentences(shared: Path, minilm: Path, crf: bool) -> None:
    rows, _ = read_examples(TokenClassification(), shared / "ner/conll2003_en/valid.txt.xz", {}, Reading())
    train_rows, test_rows = rows[:3000:6], rows[3000:]
    task = TokenClassification(TokenClassificationSettings(context_tokens=0, crf=crf)).fitted(rows)
    torch.manual_seed(0)
    network, _ = start_network(task, minilm, heads="new")
    tokenizer = Tokenizer.load(minilm)
    steps = TrainingSettings(num_train_epochs=3, per_device_train_batch_size=16, learning_rate=3e-4, precision="fp32")
    train(task, network, tokenizer, train_rows, steps)
    run = Predictor(task, network, tokenizer, precision="fp32").run(test_rows, keep_parts=True)
    usual = next(iter(task.baselines(train_rows, test_rows).values()))
    ours, theirs = (task.score(test_rows, answers)["overall_f1"] for answers in (run.predictions, usual))
    assert ours > theirs + 0.1
    tuned = task.tuned(test_rows, run.parts)
    assert 0.5 < tuned.settings.temperature < 3
