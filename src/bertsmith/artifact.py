"""What a saved model is: a folder in the Hugging Face layout that other tools read as it is, plus `bertsmith.json`.

The record says what the model is for, how it was made and the SHA-256 of every file, its own contents among them.
Nothing in a folder can run code.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from bertsmith.errors import FileFormatError, SettingsError
from bertsmith.files import atomic_folder, read_json, sha256, write_json
from bertsmith.model.checkpoints import (
    CONFIG,
    Heads,
    LoadReport,
    config_to_hugging_face,
    load_weights,
    read_config,
    save_weights,
)
from bertsmith.model.networks import Network
from bertsmith.model.safe_weights import WEIGHTS
from bertsmith.settings import dotted, override
from bertsmith.tasks import TASKS, Task, task_class
from bertsmith.tasks.task import LENGTHS
from bertsmith.text.tokenizer import Tokenizer

RECORD = "bertsmith.json"
SEAL = "record_sha256"
FORMAT_VERSION = 1
VOUCHED_FOR = (CONFIG, WEIGHTS, "tokenizer.json")


@dataclass(frozen=True)
class Artifact:
    """A task, its trained network and its tokenizer. record: what `bertsmith.json` says beside them."""

    task: Task[Any, Any]
    network: Network
    tokenizer: Tokenizer
    record: Mapping[str, Any] = field(default_factory=dict)

    def asked_with(self, task: Mapping[str, Any]) -> Artifact:
        """The same model, with these settings of its task, tables in tables, laid over those that it was saved with.

        Raises `SettingsError` for settings that there are not, and for lengths that it has no positions for.
        """
        if not task:
            return self
        changed = type(self.task).from_dict(override(self.task.to_dict(), dict(dotted(task))), "task")
        limit = self.network.encoder.positions.num_positions
        lengths = {name: getattr(changed.settings, name, 0) for name in LENGTHS}
        if limit is not None and max(lengths.values()) > limit:
            said = ", ".join(f"{name} {length}" for name, length in lengths.items() if length > limit)
            raise SettingsError(f"task: {said}: the model has {limit} positions")
        return replace(self, task=changed)


def save_artifact(folder: Path, artifact: Artifact) -> None:
    """Write the folder as a whole: it is the earlier model or this one, never a mixture."""
    task, network = artifact.task, artifact.network
    with atomic_folder(folder) as temporary:
        write_json(temporary / CONFIG, config_to_hugging_face(network, **task.config_fields()))
        save_weights(network, temporary)
        artifact.tokenizer.save(temporary)
        for name, value in task.companions(network).items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            write_json(temporary / name, value)
        written = sorted(file for file in temporary.rglob("*") if file.is_file())
        record = {
            "format_version": FORMAT_VERSION,
            "task": task.to_dict(),
            **artifact.record,
            "versions": versions(),
            "files": {file.relative_to(temporary).as_posix(): sha256(file) for file in written},
        }
        write_json(temporary / RECORD, record | {SEAL: seal(record)})


def seal(record: Mapping[str, Any]) -> str:
    """The SHA-256 of what a record says beside this, in whatever layout: `verify` tells by it that it was changed.

    Loading does not ask for it: who sets a threshold by hand may.
    """
    said = json.dumps({name: value for name, value in record.items() if name != SEAL}, allow_nan=False)
    return hashlib.sha256(json.dumps(json.loads(said), sort_keys=True).encode()).hexdigest()


def load_artifact(folder: Path) -> Artifact:
    """The saved model in `folder`, every file checked against its hash; or one from elsewhere that a task adopts.

    Such a model has no record: a folder of sentence-transformers, say, or of a pre-trained BERT, whose tokens are then
    averaged; what is supposed of it stands in the record's `notes`. Raises `FileFormatError` for a folder that is
    neither, is damaged, or was written by a later version.
    """
    if not (folder / RECORD).is_file() and (adopted := _adopted(folder)) is not None:
        return adopted
    record = read_record(folder)
    for name, expected in record["files"].items():
        file = folder / name
        if not _is_inside(name) or not file.is_file():
            raise FileFormatError(f"{file}: listed in {RECORD} and not there; copy the whole folder again")
        if sha256(file) != expected:
            raise FileFormatError(
                f"{file}: does not match its hash in {RECORD}; it was changed or damaged after saving"
            )
    task = task_class(record["task"]["name"]).from_dict(record["task"], f"{folder / RECORD}: task")
    _check_labels(task, folder)
    tokenizer = Tokenizer.load(folder, embedding_size=read_config(folder).vocab_size)
    network, _ = start_network(task, folder, heads="load")
    return Artifact(task, network, tokenizer, record)


def _check_labels(task: Task[Any, Any], folder: Path) -> None:
    """The record and `config.json`, which is hashed, name the same labels in the same order."""
    known = read_json(folder / CONFIG).get("id2label")
    expected = task.config_fields().get("id2label")
    if known is not None and expected is not None and list(known.values()) != list(expected.values()):
        raise FileFormatError(
            f"{folder / RECORD}: labels {list(expected.values())} are not those of {CONFIG}, "
            f"{list(known.values())}: one of the two was changed after saving"
        )


def _adopted(folder: Path) -> Artifact | None:
    """The folder's model by the first task that can use it as it is."""
    for task_type in TASKS.values():
        adopted = task_type.adopted(folder)
        if adopted is not None:
            network, _ = start_network(adopted.task, adopted.place, heads="load")
            files = {file.name: sha256(file) for file in (adopted.place / WEIGHTS,) if file.is_file()}
            record = {"format_version": FORMAT_VERSION, "task": adopted.task.to_dict(), "files": files}
            return Artifact(adopted.task, network, adopted.tokenizer, record | {"notes": [adopted.note]})
    return None


def _is_inside(name: str) -> bool:
    """Whether this is the name of a file in the folder, or below it."""
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts and "\\" not in name


def read_record(folder: Path) -> dict[str, Any]:
    """`bertsmith.json` of a folder, its format checked; weights are not read."""
    file = folder / RECORD
    if not file.is_file():
        if folder.is_file():
            raise FileFormatError(f"{folder}: a file, where the folder of a saved model is expected")
        if not folder.is_dir():
            raise FileFormatError(f"{folder}: no such folder")
        hint = " It is a bare checkpoint: give it to finetune as --model." if (folder / CONFIG).is_file() else ""
        runs = sorted(file.parent.name for file in folder.glob(f"seed-*/{RECORD}"))
        hint = f" It holds runs with several seeds: name one, such as {folder / runs[0]}." if runs else hint
        raise FileFormatError(f"{folder}: not a model saved by bertsmith (no {RECORD}).{hint}")
    record = read_json(file)
    if record.get("format_version") != FORMAT_VERSION:
        raise FileFormatError(
            f"{file}: format_version is {record.get('format_version')!r}, this version reads {FORMAT_VERSION}"
        )
    for key in ("task", "files"):
        if not isinstance(record.get(key), dict):
            raise FileFormatError(f"{file}: expected an object under {key!r}")
    if not isinstance(record["task"].get("name"), str):
        raise FileFormatError(f"{file}: expected the name of a task under 'task'")
    for name in VOUCHED_FOR:
        if name not in record["files"]:
            raise FileFormatError(
                f"{file}: has no hash for {name}, so that nobody vouches for it; save the model again"
            )
    return record


def start_network(
    task: Task[Any, Any], place: Path, *, heads: Heads, changes: Mapping[str, Any] | None = None
) -> tuple[Network, LoadReport]:
    """A network for `task` with the weights of the checkpoint at `place`, and what is new in it or was left out.

    heads: `load` wants all of them, `fit` takes those of the right shape, `new` none. changes: laid over the
    checkpoint's config.
    """
    config = read_config(place)
    network = task.build(config.model_copy(update=changes))
    report = load_weights(network, place, heads=heads)
    if heads == "load" and report.missing:
        raise FileFormatError(f"{place}: the weights lack {', '.join(report.missing)}, which a {task.name} model needs")
    network.start_rest(report.missing)
    return network, report


def versions() -> dict[str, str]:
    """Of what decides a result: bertsmith, torch, tokenizers, numpy, Python."""
    packages = {name: version(name) for name in ("bertsmith", "torch", "tokenizers", "numpy")}
    return packages | {"python": platform.python_version()}
