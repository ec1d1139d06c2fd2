"""Probes of toy encoders, where it is known what each layer can know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_models import toy_bert, toy_reviews
from toys import WORDS, toy_config, toy_tokenizer

from bertsmith.cli.main import main
from bertsmith.errors import DataError, SettingsError
from bertsmith.evaluation.probe import Probing, probe
from bertsmith.evaluation.probe_states import Pooling, States, read_states
from bertsmith.inference.predictor import Predictor
from bertsmith.recipes.probe import probe_layers
from bertsmith.tasks.classification import Classification, ClassificationSettings
from bertsmith.tasks.task import Example, Task
from bertsmith.tasks.token_classification import TokenClassification

FIRST = set(WORDS[:20])


def predictor_for(task: Task, max_tokens: int = 8192) -> Predictor:
    torch.manual_seed(0)
    return Predictor(task, task.build(toy_config(hidden_size=64)).eval(), toy_tokenizer(), "fp32", max_tokens)


def tagged(num: int, seed: int, *, by_neighbour: bool = False) -> list[Example]:
    """Sentences whose tags say of which half of the vocabulary a word is, or the word before it."""
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(num):
        words = rng.choice(WORDS, size=8).tolist()
        seen = [words[-1], *words[:-1]] if by_neighbour else words
        record = {"words": words, "tags": ["one" if word in FIRST else "two" for word in seen]}
        examples.append(TokenClassification().example(record, f"row {i}"))
    return examples


def probed(train: list[Example], test: list[Example]) -> Probing:
    task = TokenClassification().fitted(train)
    predictor = predictor_for(task)
    return probe(task, (train, read_states(predictor, train)), (test, read_states(predictor, test)))


def test_what_a_word_alone_tells_the_embeddings_know() -> None:
    found = probed(tagged(60, 0), tagged(40, 1))
    embeddings = found.layers[0]
    assert [layer.name for layer in found.layers] == ["embeddings", "layer 1", "layer 2"]
    assert embeddings.metrics["accuracy"].value == embeddings.accuracy.value > 0.99
    assert found.num_test_decisions == 320
    assert found.majority.value < 0.6


def test_what_another_word_tells_the_embeddings_cannot_know() -> None:
    found = probed(tagged(60, 0, by_neighbour=True), tagged(40, 1, by_neighbour=True))
    assert abs(found.layers[0].accuracy.value - 0.5) < 0.12


def test_the_control_is_as_good_where_a_table_of_words_is_all_that_is_learned() -> None:
    """Forty words in 64 dimensions: any labels of them are as easy as those asked for."""
    layer = probed(tagged(100, 0), tagged(40, 1)).layers[0]
    assert layer.control.value > 0.8
    assert layer.selectivity.value == pytest.approx(layer.accuracy.value - layer.control.value)
    assert layer.selectivity.low <= layer.selectivity.value <= layer.selectivity.high


def test_the_labels_of_the_control_are_as_rare_as_those_asked_for() -> None:
    """From states that tell nothing, only how often a label is drawn can be learned: nine of ten words are of one."""
    rng = np.random.default_rng(0)
    rare = set(WORDS[:4])

    def side(num: int) -> list[Example]:
        rows = [rng.choice(WORDS, size=8).tolist() for _ in range(num)]
        records = [{"words": row, "tags": ["rare" if word in rare else "often" for word in row]} for row in rows]
        return [TokenClassification().example(record, f"row {i}") for i, record in enumerate(records)]

    train, test = side(60), side(40)
    task = TokenClassification().fitted(train)
    known, asked = (read_states(predictor_for(task), examples) for examples in (train, test))
    told_nothing = [
        replace(states, layers=[rng.normal(size=(len(states.labels), 4)).astype(np.float32)])
        for states in (known, asked)
    ]
    layer = probe(task, (train, told_nothing[0]), (test, told_nothing[1]), penalty=1e4).layers[0]
    assert layer.accuracy.value == pytest.approx(0.9, abs=0.05)
    assert layer.control.value > 0.75


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_states_are_those_of_the_encoder(pooling: Pooling) -> None:
    texts = ["ba be", "bi bo bu da", "de"]
    task = Classification(ClassificationSettings(labels=("no", "yes")))
    examples = [task.example({"text": text, "label": "yes"}, text) for text in texts]
    whole, apart = (read_states(predictor_for(task, budget), examples, pooling=pooling) for budget in (8192, 1))
    predictor = predictor_for(task)
    for place, example in enumerate(examples):
        (window,) = predictor.encode(example)
        with torch.inference_mode():
            states = predictor.network.encoder(task.collate([window]).packed)
        expected = states.mean(0) if pooling == "mean" else states[0]
        for read in (whole, apart):
            np.testing.assert_allclose(read.layers[-1][place], expected.numpy(), atol=1e-5)
    assert whole.words == ["ba", "bi", "de"]
    assert whole.examples.tolist() == [0, 1, 2]
    assert whole.labels.tolist() == [1, 1, 1]


def test_the_windows_of_a_long_text_are_learned_apart_and_judged_together() -> None:
    rng = np.random.default_rng(0)
    settings = ClassificationSettings(labels=("no", "yes"), max_length=8, stride=2)
    task = Classification(settings)

    def long(num: int) -> list[Example]:
        halves = (WORDS[:20], WORDS[20:])
        return [
            task.example({"text": " ".join(rng.choice(halves[i % 2], size=15)), "label": ("no", "yes")[i % 2]}, f"{i}")
            for i in range(num)
        ]

    train, test = long(30), long(20)
    predictor = predictor_for(task)
    states = read_states(predictor, test)
    assert len(states.labels) == sum(map(len, states.windows)) > 2 * len(test)
    found = probe(task, (train, read_states(predictor, train)), (test, states))
    assert found.layers[0].metrics["accuracy"].value == 1.0


def test_one_label_alone_is_nothing_to_learn() -> None:
    task = Classification(ClassificationSettings(labels=("no", "yes")))
    examples = [task.example({"text": "ba", "label": "yes"}, "row 1")]
    states: States = read_states(predictor_for(task), examples)
    with pytest.raises(DataError, match=r"two labels in training, found \['yes'\]"):
        probe(task, (examples, states), (examples, states))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    toy_bert(folder / "bert")
    toy_reviews(folder / "train.csv", 120, seed=0)
    return folder


def test_the_verb_writes_a_page_and_prints_json(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["probe", str(house / "bert"), "--train-file", str(house / "train.csv"), "--validation-fraction", "0.3"]
    assert main([*arguments, "--task", "classification", "--report-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "what each layer knows, validation" in out
    assert "\nembeddings\t" in out
    page = (tmp_path / "probe.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "Layer by layer" in page
    facts = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    assert main([*arguments, "--task", "classification", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["layers"] == facts["layers"]
    assert answer["layers"][0]["accuracy"]["value"] > 0.9
    assert "majority" in answer["baselines"]


def test_what_cannot_be_probed_is_said(house: Path) -> None:
    values = {"model": house / "bert", "train_file": house / "train.csv"}
    with pytest.raises(SettingsError, match="--task classification"):
        probe_layers(values)
    with pytest.raises(SettingsError, match="no task 'clasification'"):
        probe_layers({**values, "task": "clasification"})
    with pytest.raises(SettingsError, match="a probe decides on one label"):
        probe_layers({**values, "task": "seq2seq", "columns": {"text": "review", "target": "sentiment"}})
