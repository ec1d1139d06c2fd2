"""Pre-training beside transformers in a plain loop: runs `benchmarks/pretraining.py` and keeps what it found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).resolve().parents[1] / "pretraining.py"
WORK = {
    "mini": ("--megabytes", "4", "--steps", "48", "--blocks", "16", "--batch-size", "64"),
    "base": ("--megabytes", "4", "--steps", "25", "--blocks", "25", "--batch-size", "16"),
}
"""Sizes and options; the first block of steps warms up."""


def measure_pretraining(data_dir: Path, work_dir: Path, fraction: float = 1.0) -> list[dict[str, Any]]:
    """A row for each size of model."""
    found = []
    for size, options in WORK.items():
        if fraction < 1 and size == "base":
            continue
        command = [sys.executable, str(SCRIPT), "--work-dir", str(work_dir), "--json"]
        command += ["--text", str(data_dir / "text/enwiki2015/enwiki.part00.txt.xz"), "--model-size", size]
        command += (
            ["--steps", "3", "--blocks", "3", "--batch-size", "4", "--vocab-size", "300"] if fraction < 1 else options
        )
        result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        found.append({"size": size} | {name: result[name] for name in ("tokens_per_second", "ratio", "facts")})
    return found
