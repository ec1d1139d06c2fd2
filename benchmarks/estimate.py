"""What `bertsmith estimate` says of a run, and what the run then takes: `python benchmarks/estimate.py [--small]`.

Writes the table of docs/training.md. The text is made up, and so are the labels: what is learned does not matter here.
Each command is run twice, as `estimate` and as itself, in processes of their own; memory is the child's `ru_maxrss`,
disk what lay in its folders at most, looked at ten times a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bertsmith.files import atomic_file
from bertsmith.training.checkpoint import checkpoints_folder

PAGE = Path(__file__).resolve().parent.parent / "docs" / "training.md"
BEGIN, END = "<!-- estimate: begin -->", "<!-- estimate: end -->"


@dataclass(frozen=True)
class Measured:
    """seconds: of the process. memory, disk: bytes at most."""

    seconds: float
    memory: int
    disk: int
    output: dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--small", action="store_true", help="a few steps of the smallest model, and no page is written"
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="estimate-") as name:
        folder = Path(name)
        make_data(folder, num_documents=100 if arguments.small else 600)
        rows = []
        for title, words in commands(folder, small=arguments.small):
            output = folder / title.replace(" ", "-").replace(",", "")
            estimated = run(["estimate", *words], output)
            measured = run(words, output)
            rows.append(row(title, estimated.output, measured))
            print(rows[-1], flush=True)
    if not arguments.small:
        write(arguments.page, rows)


def commands(folder: Path, *, small: bool) -> list[tuple[str, list[str]]]:
    """(title, command line without its folder)."""
    size, steps = ("tiny", "6") if small else ("mini", "60")
    pretrain = ["pretrain", str(folder / "corpus"), "--model-size", size, "--max-length", "128", "--save-steps", "20"]
    finetune = ["finetune", "classification", "--train-file", str(folder / "rows.csv"), "--max-length", "128"]
    found = [
        (f"pre-training, {size}, fp32", [*pretrain, "--max-steps", steps, "--precision", "fp32"]),
        (f"pre-training, {size}, bf16", [*pretrain, "--max-steps", steps, "--precision", "bf16"]),
        (
            f"pre-training, {size}, micro-batches of 2,048",
            [*pretrain, "--max-steps", steps, "--max-tokens-per-micro-batch", "2048"],
        ),
        ("fine-tuning, tiny, new weights", [*finetune, "--epochs", "1" if small else "6"]),
    ]
    if not small:
        found.append(("pre-training, mini, 2 minutes", [*pretrain, "--max-minutes", "2"]))
    return found


def make_data(folder: Path, num_documents: int) -> None:
    """A corpus and a table of made-up words."""
    draw = random.Random(0)
    words = [
        f"{first}{second}{third}" for first in "bdfgklmn" for second in "aeiou" for third in ("rt", "s", "lo", "pi")
    ]

    def sentence() -> str:
        return " ".join(draw.choice(words) for _ in range(draw.randint(5, 30)))

    documents = ["\n".join(sentence() for _ in range(draw.randint(5, 25))) for _ in range(num_documents)]
    (folder / "text.txt").write_text("\n\n".join(documents), encoding="utf-8")
    rows = [f"{sentence()} {sentence()},{draw.choice(('yes', 'no'))}" for _ in range(3 * num_documents)]
    (folder / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    tokenizer, text = str(folder / "tokenizer"), str(folder / "text.txt")
    call(["tokenizer", "train", text, "--vocab-size", "4000", "--output-dir", tokenizer])
    call(["prepare", text, "--tokenizer", tokenizer, "--output-dir", str(folder / "corpus")])


def call(words: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "bertsmith", *words, "--quiet"], check=True)


def run(words: Sequence[str], output: Path) -> Measured:
    command = [sys.executable, "-m", "bertsmith", *words, "--output-dir", str(output), "--json", "--quiet"]
    largest, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            largest[0] = max(largest[0], size(output.parent, output.name))

    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out)
        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        over.set()
        watcher.join()
        assert status == 0, f"{words}: {status}"
        out.seek(0)
        return Measured(seconds, usage.ru_maxrss * 1024, largest[0], json.load(out))


def size(parent: Path, name: str) -> int:
    """Of the run's folder, its checkpoints, and what takes their places."""
    total = 0
    for folder in (parent / name, checkpoints_folder(parent / name), *parent.glob(f".{name}.*")):
        for file in folder.rglob("*"):
            try:
                total += file.stat().st_size
            except FileNotFoundError:  # replaced meanwhile
                continue
    return total


def row(title: str, said: dict[str, Any], found: Measured) -> str:
    seconds = said["seconds"]
    memory, disk = said["memory"]["peak"], said["disk"]["total"]
    return (
        f"| {title} | {seconds['value']:.0f} ({seconds['low']:.0f} to {seconds['high']:.0f}) | {found.seconds:.0f} | "
        f"{memory / 1e6:,.0f} | {found.memory / 1e6:,.0f} | {disk / 1e6:,.0f} | {found.disk / 1e6:,.0f} |"
    )


def write(page: Path, rows: Sequence[str]) -> None:
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    table = [
        BEGIN,
        f"`python benchmarks/estimate.py`, threads: {torch.get_num_threads()}, torch {torch.__version__}; in s and MB.",
        "The time taken is that of the whole process, with what comes before the run itself:",
        "",
        "| run | time said | time taken | memory said | memory taken | disk said | disk taken |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        END,
    ]
    with atomic_file(page) as temporary:
        temporary.write_text(before + "\n".join(table) + after, encoding="utf-8")


if __name__ == "__main__":
    main()
