"""Fine-tuned models of transformers, loaded as they are: the same answers as theirs."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from toys import toy_tokenizer

import bertsmith
from bertsmith.errors import BertsmithError, FileFormatError

TEXTS = ["ba be bi", "bo da de ba"]


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    return pytest.importorskip("transformers")


def saved(transformers: ModuleType, name: str, folder: Path, **config: Any) -> Any:
    """A tiny model with random weights of that class, saved with its tokenizer by transformers."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    tokenizer = toy_tokenizer()
    model = getattr(transformers, name)(
        transformers.BertConfig(vocab_size=tokenizer.vocab_size, initializer_range=0.5, **sizes, **config)
    )
    model.eval().save_pretrained(folder)
    tokenizer.save(folder)
    return model


def logits(transformers: ModuleType, model: Any, folder: Path, *texts: Any) -> torch.Tensor:
    with torch.no_grad():
        given = transformers.AutoTokenizer.from_pretrained(folder)(*texts, return_tensors="pt")
        result: torch.Tensor = model(**given).logits[0]
    return result


@pytest.mark.peers
def test_a_classifier(transformers: ModuleType, tmp_path: Path) -> None:
    model = saved(transformers, "BertForSequenceClassification", tmp_path, id2label={0: "no", 1: "maybe", 2: "yes"})
    found = bertsmith.load(tmp_path, precision="fp32")
    for text, prediction in zip(TEXTS, found.predict(TEXTS), strict=True):
        expected = logits(transformers, model, tmp_path, text).softmax(-1).tolist()
        assert list(prediction.scores) == ["no", "maybe", "yes"]
        assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.peers
def test_a_classifier_of_pairs_with_several_labels(transformers: ModuleType, tmp_path: Path) -> None:
    kind = "multi_label_classification"
    model = saved(transformers, "BertForSequenceClassification", tmp_path, num_labels=3, problem_type=kind)
    (prediction,) = bertsmith.load(tmp_path, precision="fp32").predict([(TEXTS[0], TEXTS[1])])
    expected = logits(transformers, model, tmp_path, *TEXTS).sigmoid().tolist()
    assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.peers
def test_a_regression(transformers: ModuleType, tmp_path: Path) -> None:
    model = saved(transformers, "BertForSequenceClassification", tmp_path, num_labels=1)
    (prediction,) = bertsmith.load(tmp_path, precision="fp32").predict([TEXTS[0]])
    assert prediction.score == pytest.approx(float(logits(transformers, model, tmp_path, TEXTS[0])), abs=1e-4)


@pytest.mark.peers
def test_a_tagger(transformers: ModuleType, tmp_path: Path) -> None:
    names = {0: "NOUN", 1: "VERB", 2: "DET"}
    model = saved(transformers, "BertForTokenClassification", tmp_path, id2label=names)
    found = bertsmith.load(tmp_path, precision="fp32")
    assert found.task.labels() == ("NOUN", "VERB", "DET")
    for text, prediction in zip(TEXTS, found.predict(TEXTS), strict=True):  # a word is a piece here
        given = logits(transformers, model, tmp_path, text)[1:-1].argmax(-1).tolist()
        assert list(prediction.tags) == [names[tag] for tag in given]


@pytest.mark.peers
@pytest.mark.parametrize("labels", [["O", "I-PER", "I-LOC"], ["O", "B-PER", "I-PER", "I-LOC"]])
def test_a_tagger_of_iob1_keeps_its_entities(transformers: ModuleType, tmp_path: Path, labels: list[str]) -> None:
    """There an entity begins with `I-`: tags are theirs, and neighbours of one type are one entity."""
    model = saved(transformers, "BertForTokenClassification", tmp_path, id2label=dict(enumerate(labels)))
    with torch.no_grad():
        model.classifier.bias[labels.index("I-PER")] += 100
    model.save_pretrained(tmp_path)
    (prediction,) = bertsmith.load(tmp_path, precision="fp32").predict([TEXTS[0]])
    assert set(prediction.tags) == {"I-PER"}
    assert [(entity.entity_group, entity.word) for entity in prediction.entities] == [("PER", TEXTS[0])]


@pytest.mark.peers
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_labels": 2, "problem_type": "regression"}, "a regression has one"),
        ({"num_labels": 1, "problem_type": "multi_label_classification"}, "everything else two or more"),
        ({"id2label": {0: "yes", 1: "yes"}}, "labels"),
    ],
)
def test_a_classifier_that_cannot_be_asked_is_refused(
    transformers: ModuleType, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    saved(transformers, "BertForSequenceClassification", tmp_path, **config)
    with pytest.raises(BertsmithError, match=message):
        bertsmith.load(tmp_path)


@pytest.mark.peers
def test_a_reader_of_passages(transformers: ModuleType, tmp_path: Path) -> None:
    model = saved(transformers, "BertForQuestionAnswering", tmp_path)
    question, passage = TEXTS
    with torch.no_grad():
        given = transformers.AutoTokenizer.from_pretrained(tmp_path)(
            question, passage, return_tensors="pt", return_offsets_mapping=True
        )
        offsets = given.pop("offset_mapping")[0].tolist()
        out = model(**given)
    inside = [place for place, kind in enumerate(given["token_type_ids"][0].tolist()) if kind == 1][:-1]
    spans = [(float(out.start_logits[0, i] + out.end_logits[0, j]), i, j) for i in inside for j in inside if i <= j]
    _, first, last = max(spans)
    (prediction,) = bertsmith.load(tmp_path, precision="fp32").predict([{"question": question, "context": passage}])
    assert prediction.answer == passage[offsets[first][0] : offsets[last][1]]


@pytest.mark.peers
def test_a_model_of_choices(transformers: ModuleType, tmp_path: Path) -> None:
    model = saved(transformers, "BertForMultipleChoice", tmp_path)
    choices = ["ba", "de bi", "da"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    given = tokenizer(["bo be"] * 3, choices, return_tensors="pt", padding=True)
    with torch.no_grad():
        expected = model(**{name: values[None] for name, values in given.items()}).logits[0].softmax(-1)
    (prediction,) = bertsmith.load(tmp_path, precision="fp32").predict([{"question": "bo be", "choices": choices}])
    assert prediction.label == int(expected.argmax())
    assert prediction.score == pytest.approx(float(expected.max()), abs=1e-5)


@pytest.mark.peers
def test_labels_that_are_no_sequence_are_refused(transformers: ModuleType, tmp_path: Path) -> None:
    saved(transformers, "BertForSequenceClassification", tmp_path, num_labels=2)
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {"0": "no", "2": "yes"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(FileFormatError, match="id2label: expected a name for each of 0, 1, 2"):
        bertsmith.load(tmp_path)
