"""Whole runs through the recipes: text to vocabulary to corpus to pre-trained model to classifier to predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import WORDS, toy_text, toy_tokenizer

from bertsmith.artifact import load_artifact
from bertsmith.errors import BertsmithError, DataError, SettingsError
from bertsmith.inference.predictor import load
from bertsmith.recipes.evaluate import EvaluateSettings, evaluate
from bertsmith.recipes.finetune import FinetuneReport, finetune, finetune_settings
from bertsmith.recipes.predict import PredictSettings, predict
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.recipes.pretrain import PretrainSettings, pretrain
from bertsmith.text.tokenizer import Tokenizer

SHAPE = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
QUICK = {"max_steps": 12, "per_device_train_batch_size": 8, "learning_rate": 2e-3, "precision": "fp32"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    documents = ["\n".join(toy_text(rng, int(rng.integers(3, 9))) for _ in range(8)) for _ in range(60)]
    (folder / "text.txt").write_text("\n\n".join(documents))
    toy_tokenizer().save(folder / "tokenizer")
    values = {"files": [folder / "text.txt"], "tokenizer": folder / "tokenizer", "format": "sentences"}
    prepare(PrepareSettings.of(values | {"output_dir": folder / "prepared"}))
    return folder / "prepared"


@pytest.fixture(scope="module")
def pretrained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "model"
    settings = PretrainSettings.of(
        {
            "corpus": corpus,
            "output_dir": folder,
            "model_size": "tiny",
            "architecture": SHAPE,
            "validation_fraction": 0.2,
            "task": {"max_length": 32},
            "training": QUICK | {"eval_steps": 6},
        }
    )
    report = pretrain(settings)
    assert report.num_validation_passages > 0
    assert {"masked_accuracy", "perplexity", "sentence_accuracy"} <= (report.metrics or {}).keys()
    return folder


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews whose words tell the label: those that begin with b, d, f or g are good."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    rows = [(toy_text(rng, 6, WORDS[:20] if i % 2 else WORDS[20:]), ("bad", "good")[i % 2]) for i in range(120)]
    path.write_text("id,review,sentiment\n" + "".join(f"{i},{text},{label}\n" for i, (text, label) in enumerate(rows)))
    return path


def classify(reviews: Path, pretrained: Path, output_dir: Path, **more: Any) -> FinetuneReport:
    values = {
        "train_file": reviews,
        "model": str(pretrained),
        "output_dir": output_dir,
        "training": QUICK | {"max_steps": 60, "learning_rate": 5e-3, "eval_steps": 20},
    }
    return finetune("classification", finetune_settings("classification").of(values | more))


@pytest.fixture(scope="module")
def classifier(reviews: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "model"
    report = classify(reviews, pretrained, folder)
    assert "review" in report.columns
    assert report.num_train_examples + report.num_validation_examples == 120
    assert report.evaluation.metrics["accuracy"] == 1.0
    assert report.training.best_metrics == report.evaluation.metrics
    return folder


def test_a_file_alone_is_enough_to_learn_and_the_model_answers(classifier: Path) -> None:
    good, bad = load(classifier).predict(["ba de fi ga bo", "ku lo ma ne ki"])
    assert (good.label, bad.label) == ("good", "bad")
    record = load_artifact(classifier).record
    assert record["data"]["columns"] == {"text": "review", "label": "sentiment"}
    assert record["settings"]["training"]["max_steps"] == 60


def test_evaluation_repeats_what_training_reported(classifier: Path, reviews: Path) -> None:
    result = evaluate(EvaluateSettings(folder=classifier, file=reviews))
    assert result.num_examples == 120
    assert result.metrics["accuracy"] > 0.95
    assert result.num_cut_examples == 0


def test_predictions_for_a_file_are_lines_of_json_in_order(classifier: Path, reviews: Path, tmp_path: Path) -> None:
    (tmp_path / "requests.txt").write_text("ba de fi\n\nku lo ma\n")
    report = predict(
        PredictSettings(folder=classifier, file=tmp_path / "requests.txt", output_file=tmp_path / "out.jsonl")
    )
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert report.num_requests == len(lines) == 3
    assert [lines[0]["label"], lines[2]["label"]] == ["good", "bad"]
    table = predict(PredictSettings(folder=classifier, file=reviews))
    assert len(table.predictions) == 120


def test_a_corpus_of_another_tokenizer_and_a_report_are_refused(corpus: Path, pretrained: Path, tmp_path: Path) -> None:
    other = Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS[::-1]])
    other.save(tmp_path / "tokenizer")
    (tmp_path / "text.txt").write_text("ba de.\n\nfi go.\n")
    values = {"files": [tmp_path / "text.txt"], "tokenizer": tmp_path / "tokenizer", "format": "sentences"}
    prepare(PrepareSettings.of(values | {"output_dir": tmp_path / "prepared"}))
    with pytest.raises(DataError, match="prepared with another tokenizer than the model has; prepare it again"):
        evaluate(EvaluateSettings(folder=pretrained, file=tmp_path / "prepared"))
    with pytest.raises(SettingsError, match="pretraining is evaluated without a report"):
        evaluate(EvaluateSettings(folder=pretrained, file=corpus, report_dir=tmp_path / "report"))


def test_pretraining_goes_on_from_a_model_and_is_evaluated_on_a_corpus(
    corpus: Path, pretrained: Path, tmp_path: Path
) -> None:
    before = evaluate(EvaluateSettings(folder=pretrained, file=corpus)).metrics["perplexity"]
    values = {"corpus": corpus, "output_dir": tmp_path / "more", "from_": pretrained, "task": {"max_length": 32}}
    pretrain(PretrainSettings.of(values | {"training": QUICK | {"max_steps": 60}, "validation_fraction": 0}))
    assert evaluate(EvaluateSettings(folder=tmp_path / "more", file=corpus)).metrics["perplexity"] < before
    with pytest.raises(SettingsError, match="keeps its own"):
        pretrain(PretrainSettings.of(values | {"output_dir": tmp_path / "x", "architecture": {"hidden_size": 16}}))


def test_sequence_to_sequence_learns_from_a_file(pretrained: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(
        "".join(json.dumps({"text": word, "target": word}) + "\n" for word in WORDS[:10] for _ in range(4))
    )
    values = {
        "train_file": tmp_path / "pairs.jsonl",
        "validation_file": tmp_path / "pairs.jsonl",
        "model": str(pretrained),
        "output_dir": tmp_path / "copier",
        "dropout": 0,
        "task": {"measure": "exact_match", "label_smoothing": 0.0},
        "training": QUICK | {"max_steps": 150, "learning_rate": 5e-3, "eval_steps": 75},
    }
    report = finetune("seq2seq", finetune_settings("seq2seq").of(values))
    assert report.evaluation.metrics["exact_match"] > 0.8
    assert "40 of 40 validation texts" in report.warnings[0]


def test_a_file_is_enough(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = finetune_settings("classification").of({"train_file": reviews})
    report = finetune("classification", settings)
    assert report.output_dir == Path("runs/classification-reviews")
    assert report.evaluation.metrics["accuracy"] > 0.9
    assert any("new weights" in warning for warning in report.warnings)
    with pytest.raises(SettingsError, match=r"holds a model already.*--overwrite-output-dir"):
        finetune("classification", settings)
    assert load_artifact(report.output_dir).record["settings"]["training"]["learning_rate"] == 5e-4


def test_a_run_that_cannot_begin_leaves_nothing(reviews: Path, pretrained: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], type[BertsmithError], str]] = [
        ({"train_file": tmp_path / "no.csv"}, DataError, "no.csv"),
        ({"text_column": "reviw"}, DataError, "did you mean 'review'"),
        ({"model": str(tmp_path / "nowhere")}, BertsmithError, "nowhere"),
        ({"training": {"learning_rates": 1}}, SettingsError, "did you mean 'learning_rate'"),
        ({"task": {"labels": ("good", "poor")}}, DataError, r"(?s)60 rows have labels.*'bad' in 60 rows"),
    ]
    for changes, error, message in cases:
        with pytest.raises(error, match=message):
            classify(reviews, pretrained, tmp_path / "out", **changes)
        assert not (tmp_path / "out").exists()


def test_two_runs_with_one_seed_give_one_model(reviews: Path, pretrained: Path, tmp_path: Path) -> None:
    quick = {"training": QUICK | {"max_steps": 4}}
    for name in ("one", "two"):
        classify(reviews, pretrained, tmp_path / name, **quick)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
