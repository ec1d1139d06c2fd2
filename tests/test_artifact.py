"""Saved models: whole or not there, checked on loading, readable by others, refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import RECORD, Artifact, load_artifact, read_record, save_artifact, start_network
from bertsmith.errors import BertsmithError, FileFormatError, SettingsError
from bertsmith.files import read_json, sha256, write_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    toy = toy_task("classification")
    torch.manual_seed(0)
    record = {"metrics": {"validation": {"accuracy": 0.5}}}
    save_artifact(tmp_path / "a model é", Artifact(toy.task, toy.task.build(toy_config()), toy_tokenizer(), record))
    return tmp_path / "a model é"


def edit(folder: Path, **changes: object) -> None:
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | changes))


def test_the_folder_has_the_hugging_face_layout_and_a_record(folder: Path) -> None:
    names = {file.name for file in folder.iterdir()}
    assert names == {RECORD, "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "bert"
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == {"0": "0", "1": "1", "2": "2"}
    record = read_record(folder)
    assert record["metrics"] == {"validation": {"accuracy": 0.5}}
    assert record["files"] == {name: sha256(folder / name) for name in names - {RECORD}}
    assert {"bertsmith", "torch", "python"} <= record["versions"].keys()


def test_labels_in_another_order_than_the_weights_are_refused(folder: Path) -> None:
    task = read_record(folder)["task"]
    edit(folder, task=task | {"labels": task["labels"][::-1]})
    with pytest.raises(FileFormatError, match=r"labels \['2', '1', '0'\] are not those of config.json"):
        load_artifact(folder)


def test_a_second_save_replaces_the_first_and_leaves_other_files(folder: Path) -> None:
    (folder / "logs").mkdir()
    (folder / "logs" / "metrics.jsonl").write_text("{}\n")
    artifact = load_artifact(folder)
    with torch.no_grad():
        next(artifact.network.parameters()).add_(1.0)
    save_artifact(folder, artifact)
    assert torch.equal(next(load_artifact(folder).network.parameters()), next(artifact.network.parameters()))
    assert (folder / "logs" / "metrics.jsonl").exists()
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


def test_a_save_that_fails_leaves_the_earlier_model(folder: Path) -> None:
    artifact = load_artifact(folder)
    before = {file.name: sha256(file) for file in folder.iterdir()}
    with pytest.raises(ValueError, match="JSON"):
        save_artifact(folder, Artifact(artifact.task, artifact.network, artifact.tokenizer, {"metrics": float("nan")}))
    assert {file.name: sha256(file) for file in folder.iterdir()} == before
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocab.txt"])
def test_a_flipped_bit_is_named(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(FileFormatError, match=f"{name}: does not match its hash"):
        load_artifact(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileFormatError, match=r"model\.safetensors: listed in bertsmith\.json and not there"):
        load_artifact(folder)


def test_a_name_that_leads_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder.parent / "secret").write_text("x")
    files = read_record(folder)["files"] | {"../secret": sha256(folder.parent / "secret")}
    edit(folder, files=files)
    with pytest.raises(FileFormatError, match="secret"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"format_version": 99}, FileFormatError, "format_version is 99"),
        ({"files": []}, FileFormatError, "expected an object under 'files'"),
        ({"files": {}}, FileFormatError, r"no hash for config\.json"),
        ({"task": {"name": ["x"]}}, FileFormatError, "expected the name of a task"),
        ({"task": {"name": "clasification"}}, SettingsError, "did you mean 'classification'"),
        ({"task": {"name": "classification", "label": ["a"]}}, SettingsError, "did you mean 'labels'"),
        ({"task": {"name": "classification", "labels": ["a", "b"]}}, FileFormatError, "are not those of config.json"),
    ],
)
def test_a_record_that_cannot_be_right_is_refused(
    folder: Path, changes: dict[str, object], error: type[BertsmithError], message: str
) -> None:
    edit(folder, **changes)
    with pytest.raises(error, match=message):
        load_artifact(folder)


def test_a_checkpoint_of_no_known_architecture_is_told_from_a_saved_model(folder: Path) -> None:
    (folder / RECORD).unlink()
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"architectures": ["BertForSomethingElse"]})
    with pytest.raises(FileFormatError, match="bare checkpoint: give it to finetune"):
        load_artifact(folder)


def test_a_head_of_other_labels_is_not_taken_over(folder: Path) -> None:
    task = toy_task("classification").task
    torch.manual_seed(1)
    fresh, report = start_network(task, folder, heads="new")
    assert report.missing == ("classifier.weight", "classifier.bias")
    stored = load_artifact(folder).network
    parameters = dict(stored.named_parameters())
    same = {name for name, parameter in fresh.named_parameters() if torch.equal(parameter, parameters[name])}
    assert set(parameters) - same == {"classifier.weight"}  # its bias is 0 in both
