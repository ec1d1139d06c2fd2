"""Adapters saved apart from a run, and adapters, ours or PEFT's, merged into their base: a folder that any tool reads.

An adapter of ours has a record beside the two files of PEFT: its task, and over which model it was trained.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.artifact import Artifact, save_artifact, versions
from bertsmith.errors import FileFormatError
from bertsmith.files import atomic_file, atomic_folder, read_json, sha256, write_json
from bertsmith.hub import resolve_folder
from bertsmith.model.adapters import (
    ADAPTER_CONFIG,
    Adapter,
    adapted_network,
    base_fingerprint,
    load_adapter,
    open_adapter,
    save_adapter,
)
from bertsmith.model.checkpoints import CONFIG, config_to_hugging_face, load_weights, read_config, save_weights
from bertsmith.model.lora import lora_layers, merged
from bertsmith.model.networks import BareNetwork, Network
from bertsmith.recipes.start import ModelName, run_folder
from bertsmith.settings import Settings
from bertsmith.tasks import Task, task_class
from bertsmith.text.tokenizer import Tokenizer

ADAPTER = "adapter"
"""A folder of its own in a run's: where transformers finds an adapter's config it looks at nothing else."""

ADAPTER_RECORD = "bertsmith_adapter.json"
FORMAT_VERSION = 1


class MergeSettings(Settings):
    """One merge."""

    base: ModelName = Field(description="folder of the model that the adapter was trained over, or its name on the hub")
    adapter: ModelName = Field(description="folder of the adapter, or of the run that made it")
    output_dir: Path = Field(description="folder for the merged model")
    overwrite_output_dir: bool = Field(False, description="replace a model that is in the folder already")


@dataclass(frozen=True)
class MergeReport:
    """What came out. task: what the merged model is for, None where nobody recorded it.

    left_out: tensors of the base that the merged model has no use for, its other heads.
    """

    output_dir: Path
    task: str | None
    num_adapted_layers: int
    left_out: tuple[str, ...]


def save_run_adapter(folder: Path, artifact: Artifact, *, base: str) -> None:
    """Write the adapters of `artifact.network` to `folder/adapter`; without any, remove what an earlier run left there.

    base: the model that was fine-tuned, as the user named it.
    """
    place = folder / ADAPTER
    if not any(lora_layers(artifact.network)):
        shutil.rmtree(place, ignore_errors=True)
        return
    with atomic_folder(place) as temporary:
        save_adapter(artifact.network, temporary, base=base)
        record = {
            "format_version": FORMAT_VERSION,
            "task": artifact.task.to_dict(),
            "base": {
                "name": base,
                "encoder_sha256": base_fingerprint(artifact.network),
                "tokenizer": artifact.tokenizer.fingerprint,
            },
            "record": dict(artifact.record),
            "versions": versions(),
            "files": {file.name: sha256(file) for file in sorted(temporary.iterdir())},
        }
        write_json(temporary / ADAPTER_RECORD, record)


def update_run_adapter(folder: Path, artifact: Artifact) -> None:
    """Let the record of the adapter in `folder`, if there is one, say what is known of the model by now.

    Thresholds and metrics come after training; the adapter itself stays as it was kept.
    """
    file = folder / ADAPTER / ADAPTER_RECORD
    if file.is_file():
        record = read_json(file) | {"task": artifact.task.to_dict(), "record": dict(artifact.record)}
        with atomic_file(file) as temporary:
            write_json(temporary, record)


def merge(settings: MergeSettings) -> MergeReport:
    """Merge an adapter into its base as `settings` say.

    Raises `FileFormatError` for an adapter that is damaged, of another base or of another kind, and `SettingsError`
    for an output folder that is taken.
    """
    output = run_folder(settings.output_dir, "merge", settings.output_dir, overwrite=settings.overwrite_output_dir)
    base = resolve_folder(settings.base)
    place = resolve_folder(settings.adapter)
    if not (place / ADAPTER_CONFIG).is_file() and (place / ADAPTER).is_dir():
        place = place / ADAPTER
    record = _read_record(place)
    adapter = open_adapter(place)
    task = None if record is None else _task(record, place)
    network, left_out = _network(base, adapter, task)
    tokenizer = Tokenizer.load(base, embedding_size=network.config.vocab_size)
    if record is not None:
        _refuse_another_base(record, place, base, network, tokenizer)
    if task is None or record is None:
        _save_bare(output, merged(network), tokenizer)
    else:
        save_artifact(output, Artifact(task, merged(network), tokenizer, record["record"]))
    return MergeReport(output, None if task is None else task.name, len(list(lora_layers(network))), left_out)


def _read_record(place: Path) -> dict[str, Any] | None:
    """The checked record of an adapter of ours, every file against its hash; None for one of PEFT's."""
    file = place / ADAPTER_RECORD
    if not file.is_file():
        return None
    record = read_json(file)
    if record.get("format_version") != FORMAT_VERSION:
        raise FileFormatError(
            f"{file}: format_version is {record.get('format_version')!r}, this version reads {FORMAT_VERSION}"
        )
    match record:
        case {"task": {"name": str()}, "base": dict(), "record": dict(), "files": dict(files)}:
            pass
        case _:
            raise FileFormatError(f"{file}: expected objects under 'task', 'base', 'record' and 'files'")
    for name, expected in files.items():
        if Path(name).name != name or not (place / name).is_file() or sha256(place / name) != expected:
            raise FileFormatError(f"{place / name}: does not match its hash in {ADAPTER_RECORD}; copy the folder again")
    return record


def _task(record: dict[str, Any], place: Path) -> Task[Any, Any]:
    values = record["task"]
    return task_class(values["name"]).from_dict(values, f"{place / ADAPTER_RECORD}: task")


def _network(base: Path, adapter: Adapter, task: Task[Any, Any] | None) -> tuple[Network, tuple[str, ...]]:
    """Base and adapter in one network, and what of the base has no use in it."""
    config = read_config(base)
    network = adapted_network(adapter, config) if task is None else task.build(config)
    report = load_weights(network, base, heads="fit")
    missing = set(report.missing) - set(load_adapter(network, adapter))
    if task is None and isinstance(network, BareNetwork) and any(name.startswith("pooler.") for name in missing):
        network.pooler = None
    elif missing:
        raise FileFormatError(
            f"{adapter.folder}: neither the adapter nor {base} holds {', '.join(sorted(missing))}: name the base that "
            "the adapter was trained over"
        )
    return network, report.unused


def _refuse_another_base(
    record: dict[str, Any], place: Path, base: Path, network: Network, tokenizer: Tokenizer
) -> None:
    known = record["base"]
    if known.get("encoder_sha256") != base_fingerprint(network):
        raise FileFormatError(
            f"{place}: the adapter was trained over {known.get('name')!r}, whose weights are not those of {base}"
        )
    if known.get("tokenizer") != tokenizer.fingerprint:
        raise FileFormatError(f"{base}: has another tokenizer than the model that the adapter was trained over")


def _save_bare(folder: Path, network: Network, tokenizer: Tokenizer) -> None:
    with atomic_folder(folder) as temporary:
        write_json(temporary / CONFIG, config_to_hugging_face(network))
        save_weights(network, temporary)
        tokenizer.save(temporary)
