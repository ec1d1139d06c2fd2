"""What a run starts from, and the folder it may write to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact, load_artifact, save_artifact
from bertsmith.errors import DataError, SettingsError
from bertsmith.files import write_json
from bertsmith.recipes.finetune import finetune, finetune_settings
from bertsmith.recipes.start import NewModelSettings, run_folder, start_from, start_new
from bertsmith.tasks.classification import Classification, ClassificationSettings


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    task = toy_task("classification").task
    torch.manual_seed(0)
    save_artifact(tmp_path / "model", Artifact(task, task.build(toy_config()), toy_tokenizer()))
    return tmp_path / "model"


@pytest.mark.parametrize("data", ["reviews.csv", "a/reviews.jsonl.gz", "reviews"])
def test_the_default_folder_is_named_after_task_and_data(data: str) -> None:
    assert run_folder(None, "classification", Path(data), overwrite=False) == Path("runs/classification-reviews")


@pytest.mark.parametrize("name", ["corpus.json", "config.json", "vocab.txt"])
def test_a_folder_of_something_else_is_not_written_to(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / name, {})
    with pytest.raises(SettingsError, match=name):
        run_folder(tmp_path, "classification", Path("reviews.csv"), overwrite=True)


def test_a_model_is_replaced_only_if_asked(classifier: Path) -> None:
    with pytest.raises(SettingsError, match="holds a model already"):
        run_folder(classifier, "classification", Path("reviews.csv"), overwrite=False)
    assert run_folder(classifier, "classification", Path("reviews.csv"), overwrite=True) == classifier


def test_a_replacing_run_that_cannot_begin_leaves_the_model_and_its_logs(classifier: Path, tmp_path: Path) -> None:
    (classifier / "logs").mkdir()
    (classifier / "logs" / "metrics.jsonl").write_text("{}\n")
    values = {"train_file": tmp_path / "no.csv", "output_dir": classifier, "overwrite_output_dir": True}
    with pytest.raises(DataError, match=r"no\.csv"):
        finetune("classification", finetune_settings("classification").of(values))
    assert (classifier / "logs" / "metrics.jsonl").read_text() == "{}\n"
    assert load_artifact(classifier).task.labels() == ("0", "1", "2")


def test_a_head_is_taken_over_for_the_same_labels_only(classifier: Path) -> None:
    same = start_from(toy_task("classification").task, str(classifier), {})
    assert not any("new weights" in note for note in same.notes)
    others = Classification(ClassificationSettings(labels=("x", "y", "z"), max_length=64))
    assert start_from(others, str(classifier), {}).notes == ("new weights, to be trained: classifier",)


def test_a_crf_over_a_tagger_of_the_same_labels_starts_new_and_says_so(tmp_path: Path) -> None:
    task = toy_task("token_classification").task
    save_artifact(tmp_path / "tagger", Artifact(task, task.build(toy_config()), toy_tokenizer()))
    chained = type(task)(task.settings.model_copy(update={"crf": True}))
    assert start_from(chained, str(tmp_path / "tagger"), {}).notes == ("new weights, to be trained: crf",)


def test_a_model_with_fewer_positions_lowers_the_length_and_says_so(classifier: Path) -> None:
    labels = toy_task("classification").task.settings.labels
    start = start_from(Classification(ClassificationSettings(labels=labels, max_length=512)), str(classifier), {})
    assert start.task.settings.max_length == 64
    assert "64 positions" in start.notes[-1]


def test_a_new_vocabulary_knows_the_training_texts() -> None:
    start = start_new(toy_task("seq2seq").task, ["über quux", "zap zap zap"] * 3, NewModelSettings(), {})
    assert start.tokenizer.unk_id not in start.tokenizer.encode("zap quux").input_ids


def test_one_training_option_does_not_unset_what_new_weights_need(tmp_path: Path) -> None:
    rows = "".join(f"word{i % 2} number {i},{i % 2}\n" for i in range(40))
    (tmp_path / "data.csv").write_text("text,label\n" + rows)
    values = {"train_file": tmp_path / "data.csv", "output_dir": tmp_path / "out", "training": {"seed": 1}}
    report = finetune("classification", finetune_settings("classification").of(values))
    # 36 rows are 2 steps an epoch, and new weights take 10 epochs at a peak of 5e-4.
    assert report.training.num_steps == 20
    assert max(values["learning_rate"] for _, values in report.training.history) <= 5e-4
    assert any("learning_rate 0.0005" in warning for warning in report.warnings)


def test_targets_are_in_a_new_vocabulary_too(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"text": "one", "target": "eins"}\n{"text": "two", "target": "zwei"}\n' * 10)
    values = {
        "train_file": tmp_path / "pairs.jsonl",
        "validation_file": tmp_path / "pairs.jsonl",
        "output_dir": tmp_path / "out",
        "task": {"measure": "exact_match"},
        "training": {"max_steps": 2},
    }
    finetune("seq2seq", finetune_settings("seq2seq").of(values))
    vocabulary = (tmp_path / "out" / "vocab.txt").read_text().splitlines()
    assert {"eins", "zwei"} <= set(vocabulary)
