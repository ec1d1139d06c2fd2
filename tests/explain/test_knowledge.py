"""A model with a knowledge graph: explained by its words, with the facts beside them; its attention is not told."""

from __future__ import annotations

import pytest
import torch
from toys import toy_config, toy_tokenizer

from bertsmith.errors import SettingsError
from bertsmith.explain.explanation import ExplainerSettings, explain
from bertsmith.explain.subject import Subject
from bertsmith.inference.predictor import Predictor
from bertsmith.model.knowledge import KnowledgeGraph
from bertsmith.recipes.explanation_page import page
from bertsmith.tasks.classification import Classification

BA, BE, BI = 5, 6, 7


def informed() -> Predictor:
    graph = KnowledgeGraph.of({"entities": [{"ids": [BA], "branches": [[BE, BI]]}], "continuations": []})
    torch.manual_seed(0)
    task = Classification.from_dict({"labels": ["a", "b"]}, "toy")
    network = task.build(toy_config(knowledge=graph, initializer_range=0.3)).eval()
    return Predictor(task, network, toy_tokenizer(), precision="fp32")


def test_words_without_facts_are_explained_and_attention_is_not() -> None:
    predictor = informed()
    found = explain(predictor, predictor.task.request("do da fi"))
    assert [word.word for word in found.words] == ["do", "da", "fi"]
    assert found.completeness is not None
    assert found.completeness.holds
    assert found.attention is None
    assert found.to_dict(with_attention=True)["attention"] is None
    assert "<h2>Attention</h2>" not in page(found, model="informed").html()


def test_an_entity_is_taken_away_with_its_facts() -> None:
    """What "ba" says is what both say that are read with it: the word, and the fact beside it."""
    predictor = informed()
    found = explain(predictor, predictor.task.request("do ba fi"), ExplainerSettings(explainer="occlusion"))
    whole, without = (Subject.of(predictor, predictor.task.request(text), "a") for text in ("do ba fi", "do [MASK] fi"))
    assert (whole.has_facts, without.has_facts) == (True, False)
    predicted = 1 if found.target.name == "a" else -1
    assert found.words[1].score == pytest.approx(predicted * (whole.score - without.score), abs=1e-5)
    assert abs(found.words[1].score) > 0.01


@pytest.mark.parametrize("explainer", ["integrated_gradients", "gradient_x_input"])
def test_gradients_of_a_text_with_facts_are_refused(explainer: str) -> None:
    predictor = informed()
    with pytest.raises(SettingsError, match="explain it with the explainer occlusion"):
        explain(predictor, predictor.task.request("do ba fi"), ExplainerSettings(explainer=explainer))


def test_explaining_by_its_attention_is_refused() -> None:
    predictor = informed()
    with pytest.raises(SettingsError, match="keeps no attentions"):
        explain(predictor, predictor.task.request("do ba fi"), ExplainerSettings(explainer="rollout"))
