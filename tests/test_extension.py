"""One place each: a toy version of whatever can be added, each under 20 lines, run end to end.

If one of these needs more than its own class and one line in a table, the design is wrong, not the test.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from toys import WORDS, toy_config, toy_tokenizer

from bertsmith.catalog import DATA_SETS
from bertsmith.catalog.dataset import DataSet, Files
from bertsmith.explain.explanation import EXPLAINERS, Explainer, ExplainerSettings, explain
from bertsmith.explain.gradients import Attribution
from bertsmith.explain.subject import Subject
from bertsmith.files import write_json
from bertsmith.inference.predictor import Predictor
from bertsmith.model import checkpoints, feedforward, name_tables, positions, safe_weights
from bertsmith.model.encoder import Encoder
from bertsmith.model.networks import TokenNetwork
from bertsmith.model.packed import Packed
from bertsmith.recipes.examples import load_examples
from bertsmith.recipes.finetune import finetune_settings
from bertsmith.settings import Settings
from bertsmith.tasks import TASKS
from bertsmith.tasks.classification import Classification, LabelPrediction
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train


def num_lines(*things: Any) -> int:
    return sum(len([line for line in inspect.getsource(thing).splitlines() if line.strip()]) for thing in things)


# A task: how many words a text has, as a number


@dataclass(frozen=True, slots=True)
class Count:
    number: float
    num_cut_tokens: int = 0


class Counting(Classification):
    name = "counting"
    Prediction = Count  # type: ignore[assignment]
    metrics = {"exact": 1}  # noqa: RUF012

    def fitted(self, examples: Any) -> Any:
        return type(self)(self.settings.model_copy(update={"labels": tuple(map(str, range(1, 6)))}))

    def merge(self, request: Any, parts: Any, num_cut_tokens: int) -> Any:
        return Count(1.0 + max(range(5), key=parts[0].__getitem__), num_cut_tokens)

    def marks(self, examples: Any, predictions: Any) -> Any:
        return np.array([[p.number == int(e.answer)] for e, p in zip(examples, predictions, strict=True)], dtype=float)

    def metrics_of(self, marks: Any) -> dict[str, float]:
        return {"exact": float(marks.mean())}


def test_a_task_is_one_class_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "counting", Counting)
    records = [{"text": " ".join(WORDS[5 * n :][:n]), "label": n} for n in range(1, 6)]
    examples = [Counting().example(record, "row") for record in records]
    task = TASKS["counting"]().fitted(examples)
    torch.manual_seed(0)
    network = task.build(toy_config())
    settings = TrainingSettings(max_steps=60, learning_rate=5e-3, precision="fp32")
    train(task, network, toy_tokenizer(), examples, settings)
    predictions = Predictor(task, network, toy_tokenizer(), precision="fp32").run(examples).predictions
    assert task.score(examples, predictions) == {"exact": 1.0}
    assert not isinstance(predictions[0], LabelPrediction)
    assert num_lines(Count, Counting) < 20


# A position scheme: a fixed slope added to every feature


class SlopePositions(Settings):
    kind: Literal["slope"] = "slope"


class Slope(positions.Positions):
    def added(self, position_ids: torch.Tensor) -> torch.Tensor:
        return position_ids[:, None] / 64.0


def test_a_position_scheme_is_one_class_and_one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    build = positions.build_positions
    scheme = SlopePositions()
    choose = lambda config, **sizes: Slope() if config is scheme else build(config, **sizes)  # noqa: E731
    monkeypatch.setattr("bertsmith.model.encoder.build_positions", choose)
    network = Encoder(toy_config().model_copy(update={"positions": scheme})).eval()
    assert network.positions.num_positions is None
    assert network(Packed.of([[2, 7, 3] * 40])).shape == (120, 32)
    assert num_lines(SlopePositions, Slope) < 20


# A feed-forward sublayer: no hidden layer at all


class Linear(feedforward.Plain):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down(self.up(hidden))
        return out


def test_a_feed_forward_variant_is_one_class_and_one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    build = lambda _, width, inner_width: Linear(width, inner_width, "relu")  # noqa: E731
    monkeypatch.setattr("bertsmith.model.encoder.build_feed_forward", build)
    network = TokenNetwork(toy_config(), 3)
    network(Packed.of([[2, 7, 3]])).sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.ndim > 1)
    assert num_lines(Linear) < 20


# A checkpoint format: a table of names


def test_a_checkpoint_format_is_one_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rows = {ours: theirs.replace("bert.", "trunk.") for ours, theirs in name_tables.HUGGING_FACE.rows.items()}
    monkeypatch.setattr(checkpoints, "HUGGING_FACE", name_tables.NameTable("toy", rows, prefix="trunk."))
    torch.manual_seed(0)
    saved = TokenNetwork(toy_config(), 3)
    checkpoints.save_weights(saved, tmp_path)
    write_json(tmp_path / "config.json", checkpoints.config_to_hugging_face(saved))
    loaded = TokenNetwork(toy_config(), 3)
    checkpoints.load_weights(loaded, tmp_path)
    assert any(name.startswith("trunk.") for name in safe_weights.SafeWeights.of_folder(tmp_path))
    for mine, theirs in zip(loaded.parameters(), saved.parameters(), strict=True):
        assert torch.equal(mine, theirs)


# A verb: one function and one line


def test_a_verb_is_one_function_and_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    from bertsmith.cli import main

    (tmp_path / "toy_verb.py").write_text(
        "from bertsmith.cli.options import verb\n"
        "from bertsmith.settings import Settings\n\n"
        "class RootSettings(Settings):\n"
        "    number: float = 2.0\n\n"
        "@verb()\n"
        "def run(settings: RootSettings, output):\n"
        "    '''The square root of a number.'''\n"
        "    output.say(f'{settings.number ** 0.5:.3f}')\n"
        "    return {'root': settings.number ** 0.5}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(main.VERBS, "root", ("toy_verb:run", "The square root of a number."))
    assert main.main(["root", "--number", "9"]) == 0
    assert capsys.readouterr().out.strip() == f"{math.sqrt(9):.3f}"


# A data set: rows of a headerless file


def colours(values: Any) -> dict[str, Any]:
    return {"text": values["description"], "label": values["colour"]}


COLOURS = DataSet(
    name="colours",
    title="What is of which colour",
    task="classification",
    metric="accuracy",
    licence="CC0",
    source="this file",
    splits={
        "train": Files(("colours/train.tsv",), record=colours),
        "test": Files(("colours/test.tsv",), record=colours),
    },
)


def test_a_data_set_is_one_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(DATA_SETS, "colours", COLOURS)
    (tmp_path / "colours").mkdir()
    for split in ("train", "test"):
        lines = [f"{word} {i}\t{'red' if i % 2 else 'blue'}" for i, word in enumerate(WORDS)]
        (tmp_path / "colours" / f"{split}.tsv").write_text("\n".join(["description\tcolour", *lines]) + "\n")
    settings = finetune_settings("classification").of({"dataset": "colours", "data_dir": tmp_path})
    examples = load_examples(Classification(), settings)
    assert examples.task.labels() == ("blue", "red")
    assert (len(examples.train) + len(examples.validation), len(examples.test)) == (40, 40)
    assert num_lines(colours) + 11 < 20


# An explainer: long words


def by_length(subject: Subject, settings: ExplainerSettings) -> Attribution:
    return Attribution(np.array([float(len(word.word)) for word in subject.words.words]))


def test_an_explainer_is_one_function_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXPLAINERS, "length", Explainer(by_length, "How long each word is."))
    torch.manual_seed(0)
    task = Classification.from_dict({"labels": ["a", "b"]}, "toy")
    predictor = Predictor(task, task.build(toy_config()), toy_tokenizer(), precision="fp32")
    found = explain(predictor, task.request("ba bess"), ExplainerSettings(explainer="length"))
    assert [word.score for word in found.words] == [2, 4]
    assert num_lines(by_length) < 20
