"""Results as small JSON files, one a (system, set, seed): what was measured, by what, and every example's marks."""

from __future__ import annotations

import base64
import json
import platform
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.files import atomic_file, read_json, write_json
from quality.marks import Marks, scores
from quality.rows import Rows
from quality.sets import QualitySet

PACKAGES = ("bertsmith", "torch", "transformers", "tokenizers", "sentence-transformers", "scikit-learn")


@dataclass(frozen=True)
class Result:
    """record: everything of the file but the marks."""

    record: dict[str, Any]
    marks: Marks

    @property
    def seed(self) -> int:
        return int(self.record["seed"])


@dataclass(frozen=True)
class Answered:
    """What a system's run gives back: marks, and what is worth knowing beside them (precision, method, cuts)."""

    marks: Marks
    notes: dict[str, Any]


def path_of(folder: Path, system: str, quality: QualitySet, seed: int) -> Path:
    return folder / system / f"{quality.name}-{seed}.json"


def load_result(folder: Path, system: str, quality: QualitySet, seed: int) -> Result | None:
    """The result, if there is one and it was made as the set's table says now."""
    path = path_of(folder, system, quality, seed)
    if not path.is_file():
        return None
    record = read_json(path)
    if record["hyper_parameters"] != quality.hyper_parameters:
        return None
    stored = record.pop("marks")
    raw = zlib.decompress(base64.b64decode(stored["data"]))
    return Result(record, np.frombuffer(raw, stored["dtype"]).reshape(stored["shape"]).astype(float))


def measure(
    folder: Path, system: str, quality: QualitySet, seed: int, rows: Rows, run: Callable[[], Answered]
) -> dict[str, Any]:
    """Run once, and keep the result; cpu_minutes are those of all threads, which a busy machine does not stretch."""
    started, started_cpu = time.perf_counter(), time.process_time()
    answered = run()
    minutes, cpu_minutes = (time.perf_counter() - started) / 60, (time.process_time() - started_cpu) / 60
    assert len(answered.marks) == len(rows.test), "marks for every test example"
    record = {
        "system": system,
        "set": quality.name,
        "seed": seed,
        "scores": {name: round(value, 3) for name, value in scores(quality, answered.marks).items()},
        "minutes": round(minutes, 2),
        "cpu_minutes": round(cpu_minutes, 2),
        "num_train_examples": len(rows.train),
        "num_test_examples": len(rows.test),
        "hyper_parameters": quality.hyper_parameters,
        **answered.notes,
        "machine": _machine(),
        "versions": {name: _version(name) for name in PACKAGES},
    }
    path = path_of(folder, system, quality, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        write_json(partial, record | {"marks": _packed(answered.marks)})
    return record


def _packed(marks: Marks) -> dict[str, Any]:
    """Whole numbers in two bytes, others in four: far below what an interval can tell."""
    whole = bool(np.all(marks == np.round(marks)))
    small = marks.astype("<i2" if whole else "<f4")
    data = base64.b64encode(zlib.compress(small.tobytes(), 9)).decode()
    return {"shape": list(marks.shape), "dtype": small.dtype.str, "data": data}


def _machine() -> dict[str, Any]:
    import torch

    return {
        "processor": platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def as_line(record: dict[str, Any]) -> str:
    """One line for a log."""
    named = ("system", "set", "seed", "scores", "minutes", "cpu_minutes")
    return json.dumps({name: record[name] for name in named})
