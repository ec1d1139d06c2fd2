"""Question answering: targets and answers through windows, n-best, no answer, metrics, SQuAD's files, and peers."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import WORDS, toy_tokenizer

from bertsmith.data.answers import KnownAnswer
from bertsmith.data.lines import Reading
from bertsmith.data.order import sample_rng
from bertsmith.errors import DataError
from bertsmith.tasks.answer_records import Answer, AnswerPrediction, QuestionRequest, to_no_answer_odds, to_squad
from bertsmith.tasks.question_answering import QuestionAnswering, QuestionAnsweringSettings, SpanPart, SpanWindow
from bertsmith.tasks.reading import read_examples
from bertsmith.tasks.task import Example

RNG = sample_rng(0, 0, 0)
CONTEXT = "ba be bi bo bu da de di"
"""Eight words of two letters, a piece each: piece i is characters 3i to 3i + 2."""


def task(**values: Any) -> QuestionAnswering:
    return QuestionAnswering(QuestionAnsweringSettings(**values))


def example(*answers: str, context: str = CONTEXT) -> Example[QuestionRequest]:
    found = tuple(KnownAnswer(answer, context.index(answer)) for answer in answers)
    return Example(QuestionRequest("ga", context, "q1"), found, "row 1")


def windows_of(item: Any, **values: Any) -> list[SpanWindow]:
    windows = task(**values).encode(item, toy_tokenizer(), RNG)
    assert all(isinstance(window, SpanWindow) for window in windows)
    return windows  # type: ignore[return-value]


def part(null: float, *spans: tuple[int, int, float]) -> SpanPart:
    places = np.array([span[:2] for span in spans], dtype=np.int32).reshape(-1, 2)
    return SpanPart(null, places, np.array([span[2] for span in spans], dtype=np.float32))


# Targets


def test_every_window_is_trained_on_the_part_of_the_answer_that_it_holds_or_on_none() -> None:
    # Room for four of eight pieces beside [CLS] ga [SEP] ... [SEP], two of them shared.
    shape = {"max_length": 8, "stride": 2}
    windows = windows_of(example("bo bu", "ba"), **shape)
    tokens = [toy_tokenizer().decode(window.input_ids, skip_special_tokens=False) for window in windows]
    assert tokens == [
        "[CLS] ga [SEP] ba be bi bo [SEP]",  # holds half of the answer: none
        "[CLS] ga [SEP] bi bo bu da [SEP]",
        "[CLS] ga [SEP] bu da de di [SEP]",
    ]
    assert [dict(window.targets) for window in windows] == [
        {"start": 0, "end": 0},
        {"start": 4, "end": 5},
        {"start": 0, "end": 0},
    ]
    assert [window.continues for window in windows] == [False, True, True]
    assert [dict(window.targets) for window in windows_of(example(), **shape)] == [{"start": 0, "end": 0}] * 3
    assert [dict(window.targets) for window in windows_of(example().request, **shape)] == [{}] * 3


def test_an_answer_within_a_word_takes_the_pieces_that_share_a_character_with_it() -> None:
    (window,) = windows_of(example("e b"))
    assert window.targets == {"start": 4, "end": 5}


def test_what_the_tokenizer_drops_cannot_be_pointed_at() -> None:
    (window,) = windows_of(example(" \u200b", context="ba \u200b be"))
    assert window.targets == {"start": 0, "end": 0}


def test_an_answer_across_the_gap_of_a_cut_text_is_none() -> None:
    # Head and tail: one piece and three.
    shape = {"max_length": 8, "truncation": "head_tail"}
    (across,) = windows_of(example("ba be bi bo bu da"), **shape)
    (after,) = windows_of(example("da de"), **shape)
    assert across.targets == {"start": 0, "end": 0}
    assert after.targets == {"start": 4, "end": 5}
    assert across.num_cut_tokens == 4


def test_a_long_question_is_cut_and_counted() -> None:
    question = " ".join(WORDS[:10])
    windows = task(max_question_tokens=3, max_length=11, stride=2).encode(
        QuestionRequest(question, CONTEXT), toy_tokenizer(), RNG
    )
    assert [window.num_cut_tokens for window in windows] == [7, 0]
    with pytest.raises(DataError, match="row 1: a question of 10 tokens, more than max_question_tokens 3"):
        windows_of(Example(QuestionRequest(question, "ba"), (), "row 1"), max_question_tokens=3, truncation="error")


@given(st.data())
def test_targets_and_offsets_lead_back_to_the_answer(data: st.DataObject) -> None:
    words = data.draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=40))
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, min(first + 5, len(words) - 1)))
    context, start = " ".join(words), 3 * first
    answer = context[start : 3 * last + 2]
    item = Example(QuestionRequest("ga ge", context), (KnownAnswer(answer, start),), "row 1")
    windows = windows_of(item, max_length=data.draw(st.integers(16, 40)), stride=data.draw(st.integers(6, 20)))
    found = [window for window in windows if window.targets["start"]]
    # Shared pieces are as many as a target has at most, so some window holds it whole.
    assert found
    for window in found:
        rows = [window.targets[side] - window.context_start for side in ("start", "end")]
        assert context[window.offsets[rows[0], 0] : window.offsets[rows[1], 1]] == answer
    assert sum(int(window.owned.sum()) for window in windows) == len(words)


# Answers


def decoded(window: SpanWindow, starts: list[float], ends: list[float], **values: Any) -> SpanPart:
    """starts, ends: logits of all tokens."""
    return task(**values).decode(window, torch.tensor([starts, ends], dtype=torch.float32).T, toy_tokenizer())


def test_only_spans_of_the_context_are_answers() -> None:
    (window,) = windows_of(QuestionRequest("ga", "ba be bi"))
    # [CLS] ga [SEP] ba be bi [SEP]: what stands outside the context is higher, and does not count.
    logits = decoded(window, [9, 8, 8, 1, 2, 0, 7], [9, 8, 8, 0, 1, 3, 7], num_best=2)
    assert logits.null == 18
    assert logits.places.tolist() == [[3, 8], [0, 8]]
    assert logits.logits.tolist() == [5, 4]


def test_no_answer_is_longer_than_allowed() -> None:
    (window,) = windows_of(QuestionRequest("ga", "ba be bi"))
    logits = decoded(window, [0, 0, 0, 5, 0, 0, 0], [0, 0, 0, 0, 0, 5, 0], max_answer_tokens=2, num_best=1)
    assert logits.places.tolist() == [[0, 2]]


def test_a_window_leaves_what_another_sees_better_to_it() -> None:
    windows = windows_of(QuestionRequest("ga", CONTEXT), max_length=8, stride=2)
    for window in windows:
        everywhere = decoded(window, [0.0] * 8, [0.0] * 8, num_best=99)
        starts = set(everywhere.places[:, 0].tolist())
        assert starts == set(window.offsets[window.owned, 0].tolist())


def test_n_best_of_all_windows_with_probabilities() -> None:
    request = example().request
    parts = [part(0.0, (0, 2, math.log(6)), (3, 5, math.log(1))), part(-1.0, (6, 8, math.log(3)))]
    prediction = task(num_best=3).merge(request, parts, 2)
    assert [(c.answer, c.start, c.end) for c in prediction.candidates] == [("ba", 0, 2), ("bi", 6, 8), ("be", 3, 5)]
    assert [c.score for c in prediction.candidates] == pytest.approx([0.6, 0.3, 0.1])
    assert (prediction.answer, prediction.start, prediction.end) == ("ba", 0, 2)
    assert prediction.score == pytest.approx(0.6)
    assert prediction.no_answer_odds is None
    assert (prediction.num_windows, prediction.num_cut_tokens) == (2, 2)
    assert [c.answer for c in task(num_best=1).merge(request, parts, 0).candidates] == ["ba"]


def test_no_answer_needs_every_window_and_the_threshold() -> None:
    request = example().request
    parts = [part(5.0, (0, 2, 1.0)), part(2.0, (3, 5, 0.0))]
    # The least null score, 2, beats the best span, 1, by 1.
    none = task(allow_no_answer=True).merge(request, parts, 0)
    assert (none.answer, none.start, none.end, none.no_answer_odds) == ("", 0, 0, 1.0)
    assert none.score == pytest.approx(math.exp(2) / (math.exp(2) + math.exp(1) + 1))
    assert task(allow_no_answer=True, no_answer_threshold=1.5).merge(request, parts, 0).answer == "ba"
    assert task(allow_no_answer=False).merge(request, parts, 0).answer == "ba"


def test_an_empty_context_has_no_answer() -> None:
    request = QuestionRequest("ga", "")
    (window,) = windows_of(request)
    parts = [decoded(window, [1.0] * 4, [1.0] * 4)]
    assert task().merge(request, parts, 0) == AnswerPrediction("", 0.0, 0, 0, ())
    assert task(allow_no_answer=True).merge(request, parts, 0).score == 1.0


# Data


def test_answers_are_found_where_they_are() -> None:
    it = task()
    record = {"question": "ga", "context": CONTEXT, "id": 7}
    moved = it.example({**record, "answers": {"text": ["bo"], "answer_start": [8]}}, "row 1")
    right = it.example({**record, "answers": {"text": ["bo"], "answer_start": [9]}}, "row 2")
    assert moved.request.id == "7"
    assert moved.answer == (KnownAnswer("bo", 9, 1),)
    assert it.notices([right]) == []
    assert it.notices([right, moved]) == [
        "1 questions have answers that are not where the file says, but elsewhere in their context; the first: row 1"
    ]
    own = it.example({**record, "answers": {"text": ["zo", "bo"], "answer_start": [0, 9]}}, "row 9")
    (notice,) = it.notices([right, own])
    assert notice.startswith("1 questions have answers that are not in their context, beside one that is")
    assert notice.endswith("row 9")
    assert windows_of(own)[0].targets == windows_of(right)[0].targets != {"start": 0, "end": 0}
    assert it.texts(moved.request) == ["ga", CONTEXT]
    with pytest.raises(DataError, match="row 3: an answer that is not in its context: 'zo', question '7'"):
        it.example({**record, "answers": ["zo"]}, "row 3")
    with pytest.raises(DataError, match="row 4: no value in 'answers'; a question without an answer has an empty list"):
        it.example(record, "row 4")


def test_whether_answers_may_lack_is_found_in_the_data() -> None:
    assert task().fitted([example("ba")]).settings.allow_no_answer is False
    assert task().fitted([example("ba"), example()]).settings.allow_no_answer is True
    assert task(allow_no_answer=True).fitted([example("ba")]).settings.allow_no_answer is True
    with pytest.raises(DataError, match="1 questions have no answer, but allow_no_answer is false: row 1"):
        task(allow_no_answer=False).fitted([example("ba"), example()])


def test_squad_files_are_read(tmp_path: Path) -> None:
    questions = [
        {"id": "1", "question": "ga", "answers": [{"text": "bo bu", "answer_start": 9}], "is_impossible": False},
        {"id": "2", "question": "ge", "answers": [], "is_impossible": True},
    ]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": questions}]}]}))
    examples, _ = read_examples(task(), path, {}, Reading())
    assert [item.answer for item in examples] == [(KnownAnswer("bo bu", 9),), ()]
    assert examples[1].request == QuestionRequest("ge", CONTEXT, "2")


def test_rows_whose_answer_is_not_in_the_text_are_listed_or_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    answers = ["ba", "zo", "be", "zu"]
    rows = [{"question": "ga", "context": CONTEXT, "answers": [answer]} for answer in answers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"(?s)row 2 .*not in its context \('zo'\).*row 4 \(line 4\): .*'zu'"):
        read_examples(task(), path, {}, Reading())
    reading = Reading("skip")
    assert len(read_examples(task(), path, {}, reading)[0]) == 2
    assert reading.skipped.total() == 2


# Judging


def given_answer(text: str, score: float = 1.0, odds: float | None = None) -> AnswerPrediction:
    return AnswerPrediction(text, score, 0, 0, (), odds)


def test_metrics_by_hand() -> None:
    examples = [example("bo bu", "bo"), example("da de di"), example(), example()]
    predictions = [given_answer("bo", 0.9), given_answer("di", 0.8), given_answer("", 0.7), given_answer("ba", 0.6)]
    # F1 of the second: one of one given, one of three known: 2 / 4.
    assert task().score(examples[:2], predictions[:2]) == {"f1": 0.75, "exact_match": 0.5}
    both = task(allow_no_answer=True)
    scores = both.score(examples, predictions)
    assert scores == {
        "f1": 0.625,
        "exact_match": 0.5,
        "has_answer_f1": 0.75,
        "has_answer_exact_match": 0.5,
        "no_answer_accuracy": 0.5,
    }
    assert list(scores) == list(both.metrics)
    assert both.credit(both.marks(examples, predictions)).tolist() == [1, 0.5, 1, 0]
    confidence, right = both.confidences(examples, predictions)
    assert confidence.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert right.tolist() == [1, 0, 1, 0]
    assert both.confusion(examples, predictions) == (
        [("answer",), ("answer",), ("no answer",), ("no answer",)],
        [("answer",), ("answer",), ("no answer",), ("answer",)],
    )
    assert task().confusion(examples[:2], predictions[:2]) == ([], [])


def test_threshold_is_where_f1_is_highest() -> None:
    # Odds of no answer: -2 and 1 with an answer that is right, 3 and -1 without one; 4 with an answer that is missed.
    spans = [("ba", -2.0), ("ba", 1.0), (None, 3.0), (None, -1.0), ("di", 4.0)]
    examples = [example(answer) if answer else example() for answer, _ in spans]
    parts = [[part(odds, (0, 2, 0.0))] for _, odds in spans]
    tuned = task(allow_no_answer=True, no_answer_threshold=-50.0).tuned(examples, parts)
    # Answering those up to 1 gains 1 - 1 + 1, those up to -2 gains 1; of equal thresholds the nearest to 0 is -1.5.
    assert tuned.settings.no_answer_threshold == pytest.approx(-1.5)
    assert task().tuned(examples[:2], parts[:2]).settings.no_answer_threshold == 0.0


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(-4, 4)), min_size=1, max_size=12))
def test_no_other_threshold_is_better(rows: list[tuple[bool, bool, int]]) -> None:
    examples = [example("ba" if right else "di") if has_answer else example() for has_answer, right, _ in rows]
    parts = [[part(float(odds), (0, 2, 0.0))] for _, _, odds in rows]

    def f1(it: QuestionAnswering) -> float:
        answers = [it.merge(item.request, row, 0) for item, row in zip(examples, parts, strict=True)]
        return it.score(examples, answers)["f1"]

    tuned = task(allow_no_answer=True).tuned(examples, parts)
    others = [f1(task(allow_no_answer=True, no_answer_threshold=t / 2)) for t in range(-10, 11)]
    assert f1(tuned) >= max(others) - 1e-12


def test_temperature_makes_the_probability_a_good_bet() -> None:
    # The best of two spans is right three times in four: odds of 3 at T = 4 / ln 3.
    examples = [example("ba")] * 9 + [example("be")] * 3
    parts = [[part(0.0, (0, 2, 4.0), (3, 5, 0.0))]] * 12
    tuned = task(temperature=7.0).tuned(examples, parts)
    assert tuned.settings.temperature == pytest.approx(4 / math.log(3), rel=1e-3)
    assert tuned.merge(examples[0].request, parts[0], 0).score == pytest.approx(0.75, abs=1e-3)


def test_tuning_on_nothing_changes_nothing() -> None:
    assert task(allow_no_answer=True).tuned([], []) == task(allow_no_answer=True)
    assert task().tuned([example("ba")], [[part(0.0)]]).settings.temperature == 1.0


def test_baselines_by_hand() -> None:
    context = "Rome is old. The tower of Pisa leans. Milan is large."
    item = Example(QuestionRequest("Which tower leans?", context), (KnownAnswer("Pisa", 26),))
    answers = task(allow_no_answer=True).baselines([], [item])
    (sentence,) = answers["BM25 sentence"]
    assert sentence.answer == context[sentence.start : sentence.end] == "The tower of Pisa leans."
    assert [p.answer for p in answers["no answer"]] == [""]
    assert list(task().baselines([], [item])) == ["BM25 sentence"]


def test_squad_files_are_written() -> None:
    requests = [QuestionRequest("q", "c", "a"), QuestionRequest("q", "c", "b")]
    predictions = [given_answer("Paris", odds=-3.5), given_answer("", odds=2.0)]
    assert to_squad(requests, predictions) == {"a": "Paris", "b": ""}
    assert to_no_answer_odds(requests, predictions) == {"a": -3.5, "b": 2.0}
    with pytest.raises(DataError, match="needs an id for each question; none for 'who'"):
        to_squad([QuestionRequest("who", "c")], predictions[:1])
    with pytest.raises(DataError, match="all have an answer"):
        to_no_answer_odds(requests[:1], [given_answer("Paris")])


def test_target_is_the_score_of_a_span() -> None:
    outputs = torch.tensor([[1.0, 2.0], [5.0, 0.0], [0.0, 4.0]])
    assert float(task().target(outputs)) == 9.0
    assert float(task().target(outputs, (0, 2))) == 5.0


# Peers


@pytest.mark.peers
def test_equals_the_reference_model(minilm: Path) -> None:
    """Loss and answers of `transformers`' model, decoded as the SQuAD baseline does it: every pair of tokens tried."""
    transformers = pytest.importorskip("transformers")
    from bertsmith.artifact import start_network
    from bertsmith.text.tokenizer import Tokenizer

    torch.manual_seed(0)
    it = task(max_length=48, stride=16, max_answer_tokens=6, num_best=5, allow_no_answer=True)
    network, _ = start_network(it, minilm, heads="new")
    network.eval()
    torch.nn.init.normal_(network.span_head.weight)  # far enough apart for an order
    reference = transformers.BertForQuestionAnswering.from_pretrained(minilm).eval()
    with torch.no_grad():
        reference.qa_outputs.weight.copy_(network.span_head.weight)
        reference.qa_outputs.bias.copy_(network.span_head.bias)
    question = "Where does the river begin?"
    context = " ".join(f"River number {i} begins in the Łódź hills and ends, at last, in the sea." for i in range(5))
    answer = KnownAnswer("the Łódź hills", context.index("the Łódź hills", 100))
    tokenizer = Tokenizer.load(minilm)
    windows = it.encode(Example(QuestionRequest(question, context), (answer,)), tokenizer, RNG)
    batch = it.collate(windows)
    theirs = transformers.BertTokenizerFast.from_pretrained(minilm)(
        question, context, max_length=48, stride=16, truncation="only_second", padding=True,
        return_overflowing_tokens=True, return_offsets_mapping=True, return_tensors="pt",
    )  # fmt: skip
    inputs = {key: theirs[key] for key in ("input_ids", "token_type_ids", "attention_mask")}
    assert [list(window.input_ids) for window in windows] == [
        ids[mask.bool()].tolist() for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]
    with torch.no_grad():
        expected = reference(**inputs)
        # Their own loss pads with tokens that the softmax then counts; ours has none.
        losses = [
            reference(
                **{key: value[i : i + 1, : window.num_tokens] for key, value in inputs.items()},
                start_positions=torch.tensor([window.targets["start"]]),
                end_positions=torch.tensor([window.targets["end"]]),
            ).loss
            for i, window in enumerate(windows)
        ]
        torch.testing.assert_close(it.loss(network, batch)["span"], torch.stack(losses).sum(), atol=1e-3, rtol=1e-4)
        parts = [it.decode(w, o, tokenizer) for w, o in zip(windows, it.outputs(network, batch), strict=True)]
    every: dict[tuple[int, int], float] = {}
    for i, window in enumerate(windows):
        start, end = expected.start_logits[i], expected.end_logits[i]
        offsets = theirs["offset_mapping"][i].tolist()
        for first in np.flatnonzero(window.owned) + window.context_start:
            for last in range(first, min(first + 6, window.num_tokens - 1)):
                every[offsets[first][0], offsets[last][1]] = float(start[first] + end[last])
    best = sorted(every, key=lambda place: -every[place])[:5]
    prediction = it.merge(QuestionRequest(question, context), parts, 0)
    assert [(c.start, c.end) for c in prediction.candidates if c.answer] == best
    null = min(float(expected.start_logits[i, 0] + expected.end_logits[i, 0]) for i in range(len(windows)))
    assert prediction.no_answer_odds == pytest.approx(null - every[best[0]], abs=1e-3)
    assert all(isinstance(c, Answer) and context[c.start : c.end] == c.answer for c in prediction.candidates)


def test_an_answer_that_is_nowhere_is_told_with_its_place_in_the_file(tmp_path: Path) -> None:
    absent = {"id": "q7", "question": "Who?", "answers": [{"text": "nobody", "answer_start": 0}]}
    blind = {"id": "q8", "question": "Who?"}
    content = {"data": [{"title": "t", "paragraphs": [{"context": "ba be bi", "qas": [absent, blind]}]}]}
    (tmp_path / "a.json").write_text(json.dumps(content, indent=1))
    with pytest.raises(DataError) as caught:
        read_examples(QuestionAnswering(), tmp_path / "a.json", {}, Reading())
    first, second, _ = str(caught.value).splitlines()
    assert re.search(r"a\.json, row 1 \(data\[0\]\.paragraphs\[0\]\.qas\[0\], line \d+\): .*question 'q7'", first)
    assert re.search(
        r"row 2 \(data\[0\]\.paragraphs\[0\]\.qas\[1\], line \d+\): no value in 'answers'.*question 'q8'", second
    )
