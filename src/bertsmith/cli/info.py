"""`bertsmith info`: what a folder is, by the file that marks it; without a folder, what this machine can do."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.errors import DataError, SettingsError
from bertsmith.settings import Settings

Facts = dict[str, Any]


class InfoSettings(Settings):
    folder: Path | None = Field(None, description="a model, checkpoint, corpus or tokenizer; without: this machine")
    engine: bool = Field(False, description="what computes here, in which precision, and why")


@verb("folder")
def run(settings: InfoSettings, output: Output) -> Facts:
    """What a folder is, or what this machine can do."""
    if settings.engine and settings.folder is not None:
        raise SettingsError("--engine is about this machine: leave the folder out")
    if settings.engine:
        title, facts = "engine", _engine()
    elif settings.folder is None:
        title, facts = "this machine", _machine()
    else:
        title, facts = str(settings.folder), _folder(settings.folder)
    output.facts(title, facts)
    return facts


def _folder(folder: Path) -> Facts:
    for marker, describe in KINDS.items():
        if (folder / marker).is_file():
            return describe(folder)
    if not folder.exists():
        raise DataError(f"{folder}: no such folder")
    raise DataError(f"{folder}: neither a model nor a corpus nor a tokenizer; expected one of {', '.join(KINDS)} in it")


def _model(folder: Path) -> Facts:
    from bertsmith.artifact import read_record

    record = read_record(folder)
    kept: Facts = {name: record[name] for name in ("task", "metrics", "data", "training", "versions") if name in record}
    figures = {each["split"]: each["metrics"] for each in record.get("evaluations", ())}
    return {
        **_checkpoint(folder),
        "kind": "model saved by bertsmith",
        **kept,
        **({"figures": figures} if figures else {}),
    }


def _checkpoint(folder: Path) -> Facts:
    from bertsmith.model.checkpoints import open_checkpoint
    from bertsmith.model.safe_weights import SafeWeights

    checkpoint = open_checkpoint(folder)
    facts: Facts = {
        "kind": "checkpoint",
        "format": checkpoint.table.format,
        "encoder": checkpoint.encoder.model_dump(mode="json", exclude={"knowledge"}),
    }
    if (graph := checkpoint.encoder.knowledge) is not None:
        num_facts = sum(len(entity.branches) for entity in graph.entities)
        facts["knowledge"] = {"num_entities": len(graph.entities), "num_facts": num_facts}
    if isinstance(checkpoint.weights, SafeWeights):
        headers = checkpoint.weights.headers.values()
        facts["num_parameters"] = sum(math.prod(header.shape) for header in headers)
        facts["weights_bytes"] = sum(header.end - header.start for header in headers)
    return facts


def _corpus(folder: Path) -> Facts:
    from bertsmith.data.corpus import Corpus

    corpus = Corpus.open(folder)
    return {
        "kind": "corpus for pre-training",
        **corpus.manifest.model_dump(
            mode="json", include={"num_documents", "num_sentences", "num_tokens", "vocab_size"}
        ),
        "num_bytes": sum(entry.num_bytes for entry in corpus.manifest.files.values()),
        "fingerprint": corpus.fingerprint,
        "preparation": corpus.manifest.preparation,
    }


def _tokenizer(folder: Path) -> Facts:
    from bertsmith.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder)
    return {
        "kind": "tokenizer",
        "vocab_size": tokenizer.vocab_size,
        "lowercase": tokenizer.lowercase,
        "fingerprint": tokenizer.fingerprint,
    }


KINDS: Mapping[str, Callable[[Path], Facts]] = {
    "bertsmith.json": _model,
    "corpus.json": _corpus,
    "config.json": _checkpoint,
    "bert_config.json": _checkpoint,
    "tokenizer.json": _tokenizer,
    "vocab.txt": _tokenizer,
}
"""What each file says of the folder that it lies in; the first one found decides."""


def _machine() -> Facts:
    import torch

    from bertsmith.runtime.device import has_bf16, pick_device

    device = pick_device()
    packages = ("bertsmith", "torch", "tokenizers", "numpy", "scikit-learn", "pyarrow")
    facts: Facts = {
        "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
        "processor": {
            "name": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "amx": bool(torch.cpu._is_amx_tile_supported()),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        },
        "device": str(device),
        "bf16": has_bf16(device),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["gpu"] = {"name": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
    return facts


def _engine() -> Facts:
    import torch

    from bertsmith.kernels.library import engine
    from bertsmith.runtime.device import pick_device, pick_precision

    device = pick_device()
    precision = pick_precision("auto", device)
    kernels = engine()
    by_kernel = kernels.library is not None and device.type == "cpu"
    in_bf16 = "compiled kernel" if by_kernel and precision == "bf16" else "PyTorch"
    has_amx = kernels.tiles if kernels.library is not None else bool(torch.cpu._is_amx_tile_supported())
    products = in_bf16
    if device.type == "cpu" and in_bf16 == "PyTorch":
        by_tiles = has_amx and precision == "bf16"
        products = f"PyTorch, {'AMX' if by_tiles else torch.backends.cpu.get_cpu_capability()}"
    return {
        "device": str(device),
        "precision": precision,
        **dict.fromkeys(("attention", "residual_norm", "gelu"), in_bf16),
        "adamw": "compiled kernel" if by_kernel else "PyTorch",
        "matrix_products": products,
        "int8": "compiled kernel" if by_kernel else "not here",
        "amx": has_amx,
        "kernels": kernels.reason,
        "threads": torch.get_num_threads(),
    }
