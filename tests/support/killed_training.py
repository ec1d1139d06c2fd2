"""A run of many steps in two workers, the same whatever starts them, and the killing of one of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bertsmith.files import sha256
from bertsmith.training.checkpoint import checkpoints_folder

WORDS = ["apple", "river", "stone", "cloud", "winter", "lamp", "paper", "garden"]
OPTIONS = "--epochs 30 --batch-size 8 --save-steps 10 --eval-steps 60 --logging-steps 1 --max-length 16 --num-workers 2"


def write_rows(path: Path, num_rows: int = 50) -> Path:
    """Texts of a few words with one of two labels."""
    texts = [" ".join(WORDS[(i * k) % 8] for k in range(1, 3 + i % 5)) for i in range(num_rows)]
    rows = [f"{text},{'yes' if i % 2 else 'no'}" for i, text in enumerate(texts)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def start(data: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "bertsmith", "finetune", "classification", "--train-file", str(data)]
    words += ["--output-dir", str(output), *OPTIONS.split(), "--precision", "fp32", *options]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def hit(output: Path, find: Callable[[], list[int]], number: int = signal.SIGKILL) -> None:
    """Sends the signal to the last of the workers once the run has written two checkpoints."""
    deadline = time.monotonic() + 150
    while len(list(checkpoints_folder(output).glob("step-*"))) < 2:
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.02)
    os.kill(find()[-1], number)


def children(parent: int) -> list[int]:
    """Its workers: the processes that it has spawned to work, by when they started."""
    found = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def bits(output: Path) -> tuple[list[dict[str, Any]], str]:
    """What was written down, but for times, and the hash of the weights."""
    lines = [json.loads(line) for line in (output / "logs/metrics.jsonl").read_text().splitlines()]
    untimed = [{k: v for k, v in line.items() if k not in ("time", "tokens_per_second")} for line in lines]
    return untimed, sha256(output / "model.safetensors")
