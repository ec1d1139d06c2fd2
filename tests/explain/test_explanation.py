"""What holds of an explanation for every entry of `TASKS`, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.errors import DataError, SettingsError
from bertsmith.explain.explanation import EXPLAINERS, ExplainerSettings, explain
from bertsmith.explain.subject import Subject
from bertsmith.inference.predictor import Predictor
from bertsmith.tasks import TASKS
from bertsmith.tasks.classification import Classification
from bertsmith.tasks.embedding import Embedding
from bertsmith.tasks.target import log_odds, place_of

OTHER_TARGETS = {
    "pretraining": ["ba", "0=ba", "0="],
    "classification": ["2"],
    "seq2seq": ["0"],
    "embedding": ["text_pair", "negatives 0"],
    "reranking": ["2"],
    "question_answering": ["0-2", "start", "end"],
    "multiple_choice": ["1", "B"],
    "token_classification": ["2", "1=B-A", "0=O"],
}
NO_TARGETS = {
    "pretraining": ["no such token", "7=ba"],
    "classification": ["3", "good"],
    "seq2seq": ["999", "-1"],
    "embedding": ["negatives 1", "text"],
    "reranking": ["3"],
    "question_answering": ["nowhere", "5-900", "7-3", " ", "1" * 5_000 + "-2"],
    "multiple_choice": ["9", "Q", "1" * 5_000],
    "token_classification": ["99", "0=B-Z", "nowhere"],
}
FEW = ExplainerSettings(num_random=2)


def predictor_for(name: str) -> Predictor:
    torch.manual_seed(3)
    task = toy_task(name).task
    network = task.build(toy_config())
    # Weights larger than a new network's, which says nearly the same of every text.
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(3 if weight.ndim > 1 else 1)
    return Predictor(task, network.eval(), toy_tokenizer(), precision="fp32")


@pytest.mark.parametrize("name", list(TASKS))
@pytest.mark.parametrize("explainer", list(EXPLAINERS))
def test_every_task_by_every_explainer(name: str, explainer: str) -> None:
    predictor, request = predictor_for(name), toy_task(name).requests[3]
    found = explain(predictor, request, FEW.model_copy(update={"explainer": explainer}))
    texts = {text.name: text.text for text in found.texts}
    assert len(texts) == len(found.texts)
    assert found.words
    for word in found.words:
        assert texts[word.text][word.start : word.end] == word.word
        assert np.isfinite(word.score)
    assert any(word.score != 0 for word in found.words)
    assert {text for text in predictor.task.texts(request) if text} <= set(texts.values())
    assert json.loads(json.dumps(found.to_dict()))["target"]["name"] == found.target.name
    assert (found.completeness is not None) == (explainer == "integrated_gradients")
    assert np.isfinite([found.faithfulness.comprehensiveness, found.faithfulness.sufficiency]).all()


@pytest.mark.parametrize("name", list(TASKS))
def test_integrated_gradients_are_complete(name: str) -> None:
    for request in toy_task(name).requests[1:4]:
        found = explain(predictor_for(name), request, FEW).completeness
        assert found is not None
        assert found.holds, found
        assert found.sum == pytest.approx(found.difference, rel=0.01, abs=1e-6)


@pytest.mark.parametrize("name", list(TASKS))
def test_the_number_is_that_of_the_prediction(name: str) -> None:
    """Of the default target; a span's candidates and a tag's rivals share their probability in other ways."""
    predictor, request = predictor_for(name), toy_task(name).requests[2]
    (said,) = predictor.predict([request])
    found = explain(predictor, request, FEW).target
    expected = {
        "pretraining": lambda: said.fills[0][0].score,
        "embedding": lambda: said.similarity,
        "reranking": lambda: max(said.scores),
        "token_classification": lambda: max((w for w in said.words), key=lambda w: (w.tag != "O", w.score)).score,
        "question_answering": lambda: None,
    }.get(name, lambda: said.score)()
    if expected is not None:
        number = found.value if found.probability is None else found.probability
        assert number == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "target"), [(name, target) for name, all_ in OTHER_TARGETS.items() for target in all_]
)
def test_what_is_explained_can_be_chosen(name: str, target: str) -> None:
    predictor, request = predictor_for(name), toy_task(name).requests[3]
    settings = FEW.model_copy(update={"target": target, "explainer": "occlusion"})
    assert np.isfinite(explain(predictor, request, settings).target.value)


@pytest.mark.parametrize(("name", "target"), [(name, target) for name, all_ in NO_TARGETS.items() for target in all_])
def test_a_target_that_there_is_not_is_refused(name: str, target: str) -> None:
    with pytest.raises(SettingsError, match=r"no |not within|expected"):
        Subject.of(predictor_for(name), toy_task(name).requests[3], target)


def test_every_target_is_tried() -> None:
    assert set(OTHER_TARGETS) == set(NO_TARGETS) == set(TASKS)


@pytest.mark.parametrize("text", ["", "  \n", "\u200b\x00"])
def test_a_text_without_words_is_refused(text: str) -> None:
    predictor = classifier(max_length=16)
    with pytest.raises(DataError, match="nothing to explain"):
        explain(predictor, predictor.task.request(text))


@pytest.mark.parametrize(
    ("name", "record", "target"),
    [
        ("embedding", {"text": "", "text_pair": "be", "negatives": [""]}, "negatives 0"),
        ("reranking", {"query": "", "passages": ["ba be", ""]}, "1"),
    ],
)
def test_windows_without_words_are_refused_where_others_have_some(name: str, record: Any, target: str) -> None:
    predictor = predictor_for(name)
    with pytest.raises(DataError, match="nothing to explain: no word"):
        explain(predictor, predictor.task.request(record), FEW.model_copy(update={"target": target}))
    other = FEW.model_copy(update={"target": "text_pair" if name == "embedding" else "0"})
    assert explain(predictor, predictor.task.request(record), other).words


def test_an_unknown_explainer_is_refused_with_the_nearest() -> None:
    predictor = classifier(max_length=16)
    with pytest.raises(SettingsError, match="did you mean 'integrated_gradients'"):
        explain(predictor, predictor.task.request("ba be"), ExplainerSettings(explainer="integrated_gradient"))


def test_one_text_alone_has_no_similarity() -> None:
    predictor = predictor_for("embedding")
    with pytest.raises(SettingsError, match="text_pair"):
        explain(predictor, predictor.task.request("ba be"))


def test_words_that_two_texts_have_in_common_make_them_alike() -> None:
    """Of the mean of tokens' own vectors, no layer between: what both have speaks for it, what one has against it."""
    torch.manual_seed(0)
    task = Embedding.from_dict({}, "toy")
    network = task.build(toy_config(num_hidden_layers=1))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if ("layers" in name and weight.ndim > 1) or "positions" in name or "token_types" in name:
                weight.zero_()
    predictor = Predictor(task, network.eval(), toy_tokenizer(), precision="fp32")
    request = task.request(("ba be bi", "ba be du"))
    for explainer in ("integrated_gradients", "occlusion"):
        found = explain(predictor, request, FEW.model_copy(update={"explainer": explainer}))
        scores = {(word.text, word.word): word.score for word in found.words}
        common = [score for (_, word), score in scores.items() if word in ("ba", "be")]
        assert min(common) > 0, scores
        assert min(common) > max(scores["text", "bi"], scores["text_pair", "du"]), scores


def test_a_long_text_is_explained_in_all_windows_or_refused_as_the_model_says() -> None:
    text = " ".join(["ba be bi bo bu"] * 10)
    predictor = classifier(max_length=16, stride=4)
    found = explain(predictor, predictor.task.request(text), FEW)
    assert found.coverage.num_windows == found.coverage.num_explained_windows > 3
    assert found.coverage.num_explained_words == found.coverage.num_words == len(found.words) == 50
    assert found.completeness is not None
    assert found.completeness.holds
    strict = classifier(max_length=16, truncation="error")
    with pytest.raises(DataError, match="max_length 16"):
        explain(strict, strict.task.request(text), FEW)
    cut = classifier(max_length=16, truncation="head")
    assert explain(cut, cut.task.request(text), FEW).coverage.num_cut_tokens == 36


def test_more_tokens_than_fit_into_one_pass_are_refused() -> None:
    predictor = classifier(max_length=16, stride=4)
    settings = FEW.model_copy(update={"max_explained_tokens": 40})
    with pytest.raises(DataError, match="tokens in 5 windows are too many to explain at once, at most 40 are"):
        explain(predictor, predictor.task.request("ba be bi bo bu " * 10), settings)


def test_work_that_nobody_waits_for_ends() -> None:
    class GoneError(Exception):
        pass

    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise GoneError

    predictor = classifier(max_length=16)
    with pytest.raises(GoneError):
        explain(predictor, predictor.task.request("ba be bi"), FEW, check)


def test_of_several_windows_only_the_best_is_explained_where_it_alone_counts() -> None:
    predictor = predictor_for("reranking")
    task = type(predictor.task)(predictor.task.settings.model_copy(update={"max_length": 12, "stride": 2}))
    predictor = Predictor(task, predictor.network, predictor.tokenizer, precision="fp32")
    request = task.request({"query": "ba be", "passages": ["bi bo bu " * 8, "da de"]})
    found = explain(predictor, request, FEW.model_copy(update={"target": "0"}))
    assert found.coverage.num_explained_windows == 1 < found.coverage.num_windows
    assert found.coverage.num_explained_words < found.coverage.num_words


def classifier(**settings: Any) -> Predictor:
    torch.manual_seed(3)
    task = Classification.from_dict({"labels": ["bad", "good"], "pairs": False, **settings}, "toy")
    return Predictor(task, task.build(toy_config()).eval(), toy_tokenizer(), precision="fp32")


def test_log_odds_are_those_of_the_softmax() -> None:
    scores = torch.tensor([1.0, -2.0, 0.5])
    share = scores.softmax(0)[2]
    torch.testing.assert_close(log_odds(scores, 2), (share / (1 - share)).log())


def test_a_place_is_a_number_or_a_name() -> None:
    assert place_of("1", range(3), "word", ["2", "1", "x"]) == 1
    assert place_of("x", range(3), "word", ["2", "1", "x"]) == 2
    with pytest.raises(SettingsError, match="no word '3': expected a number, 0 to 2, or one of 2, 1, x"):
        place_of("3", range(3), "word", ["2", "1", "x"])
