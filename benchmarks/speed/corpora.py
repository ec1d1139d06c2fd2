"""How time and memory grow with the text: 1, 10 and 100 MB through vocabulary, corpus, pre-training and prediction."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bertsmith.files import open_bytes
from speed.starting import run_process

MEGABYTES = (1, 10, 100)
STEPS_PER_MEGABYTE = 10
MAX_CHARACTERS = 120
"""Of a request: never more than the model's 128 tokens."""


def measure_corpora(data_dir: Path, megabytes: tuple[float, ...] = MEGABYTES) -> list[dict[str, Any]]:
    """A row for each size and stage: seconds, peak memory."""
    with tempfile.TemporaryDirectory() as name:
        return [row for size in megabytes for row in _stages(data_dir, size, Path(name) / f"{size}")]


def _stages(data_dir: Path, megabytes: float, folder: Path) -> Iterator[dict[str, Any]]:
    folder.mkdir()
    text, requests = folder / "text.txt", folder / "requests.jsonl"
    _write_text(data_dir, megabytes, text, requests)
    at = {name: str(folder / name) for name in ("vocabulary", "corpus", "model", "answers.jsonl")}
    stages = {
        "tokenizer train": ["tokenizer", "train", str(text), "--vocab-size", "8000", "--output-dir", at["vocabulary"]],
        "prepare": ["prepare", str(text), "--tokenizer", at["vocabulary"], "--output-dir", at["corpus"]],
        "pretrain": [
            *("pretrain", at["corpus"], "--model-size", "tiny", "--output-dir", at["model"], "--max-length", "128"),
            *("--per-device-train-batch-size", "256", "--max-steps", str(max(1, int(STEPS_PER_MEGABYTE * megabytes)))),
        ],
        "predict": [
            *("predict", at["model"], "--file", str(requests), "--output-file", at["answers.jsonl"]),
        ],
    }
    for stage, arguments in stages.items():
        used = run_process([sys.executable, "-m", "bertsmith", *arguments, "--quiet"])
        yield {"megabytes_of_text": megabytes, "stage": stage} | used
    for file in (text, requests):
        file.unlink()


def _write_text(data_dir: Path, megabytes: float, text: Path, requests: Path) -> None:
    """The first articles of Wikipedia, so many megabytes; each line of prose also as a request."""
    parts = sorted((data_dir / "text/enwiki2015").glob("enwiki.part*.txt.xz"))
    written = 0
    with text.open("wb") as out, requests.open("w", encoding="utf-8") as asked:
        for part in parts:
            with open_bytes(part) as lines:
                for line in lines:
                    out.write(line)
                    written += len(line)
                    words = line.decode().split()
                    if len(words) > 5 and not line.startswith(b"<"):
                        words[3] = "[MASK]"
                        asked.write(json.dumps({"text": " ".join(words)[:MAX_CHARACTERS]}) + "\n")
                    if written >= megabytes * 1e6 and line.startswith(b"</doc>"):
                        return
    raise SystemExit(f"{data_dir}/text/enwiki2015 has only {written / 1e6:.0f} MB, {megabytes} were asked for")
