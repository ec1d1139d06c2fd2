"""Facts in training and prediction: what only the graph can tell is learned; models keep their facts; bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import Notes, toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import load_artifact
from bertsmith.cli.main import main
from bertsmith.data.triples import KnowledgeSettings
from bertsmith.errors import DataError, FileFormatError
from bertsmith.hf import BertForSequenceClassification
from bertsmith.inference.predictor import load
from bertsmith.recipes.finetune import finetune
from bertsmith.recipes.knowledge import inform
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.recipes.pretrain import PretrainSettings, pretrain
from bertsmith.text.tokenizer import Tokenizer

FIRST = tuple(first + second for first in "bdfg" for second in "aeiou")
LAST = tuple(first + second for first in "klmr" for second in "aeiou")
PERSONS = [f"{first} {last}" for first in FIRST for last in LAST]
np.random.default_rng(0).shuffle(PERSONS)
PLACES = ("north", "south")
HOMES = [PLACES[place % 2] for place in range(len(PERSONS))]
STEPS = 200
TRAINED, OTHERS = slice(0, 300), slice(300, None)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts that name a person, labelled by where the person lives, which the facts alone say.

    Persons of the validation file are none of the training file, though first and last names are the same.
    """
    tmp_path = tmp_path_factory.mktemp("facts")
    for side, part in {"train": TRAINED, "test": OTHERS}.items():
        rows = [f"{person} came,{home}" for person, home in zip(PERSONS[part], HOMES[part], strict=True)]
        (tmp_path / f"{side}.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    facts = [f"{person}\tlives\t{home}" for person, home in zip(PERSONS, HOMES, strict=True)]
    (tmp_path / "facts.tsv").write_text("\n".join(facts) + "\n", encoding="utf-8")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    Tokenizer.from_vocab([*special, *FIRST, *LAST, *PLACES, "lives", "came"]).save(tmp_path / "tokenizer")
    return tmp_path


def corpus(house: Path) -> Path:
    (house / "text.txt").write_text("".join(f"{person} came\n\n" for person in PERSONS), encoding="utf-8")
    files = {"files": [house / "text.txt"], "tokenizer": house / "tokenizer", "output_dir": house / "corpus"}
    prepare(PrepareSettings.of({**files, "format": "sentences"}))
    return house / "corpus"


@pytest.fixture(scope="module")
def model(house: Path) -> Path:
    """Pre-trained for a step, without facts."""
    return pretrained(house, "bert")


def pretrained(house: Path, name: str, **settings: Any) -> Path:
    values = {
        "corpus": corpus(house),
        "output_dir": house / name,
        "model_size": "tiny",
        "architecture": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        "task": {"max_length": 16},
        "validation_fraction": 0,
        "training": {"max_steps": 1, "report_to": "none", "device": "cpu", "precision": "fp32"},
    }
    return pretrain(PretrainSettings.of({**values, **settings})).output_dir


def tuned(house: Path, model: Path, name: str, steps: int, notes: Notes | None = None, **knowledge: Any) -> Any:
    values = {
        "train_file": house / "train.csv",
        "validation_file": house / "test.csv",
        "model": str(model),
        "output_dir": house / name,
        "knowledge": knowledge,
        "task": {"max_length": 16},
        "training": {
            "max_steps": steps,
            "learning_rate": 1e-3,
            "eval_steps": steps,
            "report_to": "none",
            "device": "cpu",
            "precision": "fp32",
        },
    }
    return finetune("classification", values, notes)


def test_what_only_the_facts_tell_is_learned_and_kept(house: Path, model: Path) -> None:
    notes = Notes()
    facts = {"knowledge_file": house / "facts.tsv", "unused_triples": "keep"}
    informed = tuned(house, model, "informed", STEPS, notes, **facts)
    assert "knowledge: 400 facts of 400 entities, 300 of which occur, in 300 of 300 inputs" in notes.texts
    # Persons that training never named, with facts of words that it did: nothing else tells their homes.
    assert informed.evaluation.metrics["accuracy"] > 0.9
    predictor = load(house / "informed", device="cpu", precision="fp32")
    answers = predictor.predict([f"{person} came" for person in PERSONS[OTHERS]])
    assert sum(answer.label == home for answer, home in zip(answers, HOMES[OTHERS], strict=True)) > 90
    artifact = load_artifact(house / "informed")
    assert artifact.network.config.knowledge is not None
    assert artifact.record["data"]["knowledge"]["num_entities_met"] == 300
    with pytest.raises(FileFormatError, match="model_type"):
        BertForSequenceClassification.from_pretrained(house / "informed")


def test_without_facts_it_cannot_be_told(house: Path, model: Path) -> None:
    uninformed = tuned(house, model, "uninformed", STEPS)
    assert uninformed.evaluation.metrics["accuracy"] < 0.8


def test_an_entity_that_never_occurs_is_told(house: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"facts\.tsv, line 301: .* occurs in no training text\n(?s:.*)and 90 more"):
        tuned(house, model, "refused", 1, knowledge_file=house / "facts.tsv")
    more = tmp_path / "more.tsv"
    more.write_text((house / "facts.tsv").read_text(encoding="utf-8") + "zeus\tlives\tnorth\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"line 401: the entity 'zeus' is \[UNK\], in whole or in part"):
        tuned(house, model, "refused", 1, knowledge_file=more)


def test_facts_that_the_tokenizer_does_not_know_are_counted(tmp_path: Path) -> None:
    (tmp_path / "facts.tsv").write_text("ba\tbe\tzeus\nba\tzeus\tzeus\nbi\tbe\tbo\n", encoding="utf-8")
    notes, network = Notes(), toy_task("classification").task.build(toy_config())
    settings = KnowledgeSettings(knowledge_file=tmp_path / "facts.tsv", unused_triples="keep")
    informed = inform(network, toy_tokenizer(), settings, [], notes)
    assert informed is not None
    assert informed.record["num_facts_with_unknown"] == 2
    assert notes.texts[0].endswith("inputs; 2 facts have [UNK] in them, which the tokenizer does not know")


def test_pre_training_with_facts_and_what_goes_on_from_it(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = pretrained(house, "informed-bert", knowledge={"knowledge_file": house / "facts.tsv"})
    assert main(["info", str(model), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["knowledge"] == {"num_entities": 400, "num_facts": 400}
    assert "knowledge" not in facts["encoder"]
    assert main(["fill-mask", str(model), f"{PERSONS[0]} [MASK]", "--json", "--device", "cpu"]) == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"][0]["fills"][0]) == 5
    # A model that has facts keeps them, unless others are given.
    tuned(house, model, "kept", 1)
    assert load_artifact(house / "kept").network.config.knowledge is not None
