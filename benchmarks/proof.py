"""Kills a small fine-tuning run everywhere, goes on, and compares every step's losses and the final weights by bits.

    python benchmarks/proof.py                 all of it: before every operation on a file, within every checkpoint
                                               file, signals in every step, 100 kills at random moments
    python benchmarks/proof.py --every 10 --random 5

Writes the table of docs/reliability.md. The run is tests/support/dying_run.py: three epochs of a tiny BERT with
dropout, steps of several micro-batches, a checkpoint every second step, an evaluation every fifth.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bertsmith.files import atomic_file, sha256
from bertsmith.training.checkpoint import checkpoints_folder, has_checkpoints

ROOT = Path(__file__).resolve().parent.parent
CHILD = ROOT / "tests" / "support" / "dying_run.py"
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- proof: begin -->", "<!-- proof: end -->"
NUM_STEPS = 18
WORDS = ["apple", "river", "stone", "cloud", "winter", "lamp", "paper", "garden"]


@dataclass
class Group:
    """One kind of death: how often it was tried, how often the run went on from a checkpoint, what went wrong."""

    title: str
    tried: int = 0
    resumed: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="try every so many places")
    parser.add_argument("--random", type=int, default=100, help="kills at random moments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="proof-") as name:
        folder = Path(name)
        data = write_data(folder / "rows.csv")
        started = time.perf_counter()
        unbroken = _child(data, folder / "unbroken", "never")
        seconds = time.perf_counter() - started
        assert unbroken.returncode == 0, unbroken.stderr
        expected = outcome_of(folder / "unbroken")
        events = int((folder / "unbroken.events").read_text())
        groups = []
        for title, hows in _deaths(events, seconds, arguments):
            group = Group(title)
            groups.append(group)
            for how in hows:
                _try(group, how, data, folder / f"{how.replace(':', '-')}", expected)
                print(f"{title}: {group.tried} tried, {len(group.failures)} failed", end="\r", file=sys.stderr)
            print(file=sys.stderr)
    _write_page(arguments.page, groups, arguments)
    for group in groups:
        print(f"{group.title}: {group.tried} tried, {group.resumed} from a checkpoint, {len(group.failures)} failed")
        print("".join(f"  {failure}\n" for failure in group.failures), end="")
    return any(group.failures for group in groups)


def _deaths(events: int, seconds: float, arguments: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    every = arguments.every
    yield "before each operation on a file", [f"event:{number}" for number in range(1, events + 1, every)]
    files = 4 * (NUM_STEPS // 2)
    yield "within each file of a checkpoint", [f"half:{number}" for number in range(1, files + 1, every)]
    names = ("SIGTERM", "SIGUSR1", "SIGINT")
    yield (
        "a signal in each step",
        [f"signal:{names[step % 3]}:{step}" for step in range(0, NUM_STEPS, every)],
    )
    moments = random.Random(arguments.seed)
    yield "kill -9 at a random moment", [f"seconds:{moments.uniform(0, seconds):.3f}" for _ in range(arguments.random)]


def _try(group: Group, how: str, data: Path, output: Path, expected: dict[str, Any]) -> None:
    """Die, perhaps go on, and compare."""
    started = time.perf_counter()
    group.tried += 1
    first = _child(data, output, how)
    wanted = {"event": 9, "half": 9, "signal": 75, "seconds": -9}[how.split(":")[0]]
    if first.returncode not in (wanted, 0):
        group.failures.append(f"{how}: exit {first.returncode}: {first.stderr.strip()[-200:]}")
    if first.returncode:
        group.resumed += has_checkpoints(checkpoints_folder(output))
        second = _child(data, output, "never", "auto")
        if second.returncode:
            group.failures.append(f"{how}: going on: exit {second.returncode}: {second.stderr.strip()[-200:]}")
            return
    found = outcome_of(output)
    if found != expected:
        group.failures.append(f"{how}: other {'weights' if found['weights'] != expected['weights'] else 'losses'}")
    group.seconds += time.perf_counter() - started


def _child(data: Path, output: Path, how: str, resume: str = "no") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(CHILD), str(data), str(output), resume, how]
    return subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)


def outcome_of(output: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in (output / "logs" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [{k: v for k, v in line.items() if k not in ("time", "tokens_per_second")} for line in lines]
    return {"losses": losses, "weights": sha256(output / "model.safetensors")}


def write_data(path: Path) -> Path:
    texts = [" ".join(WORDS[(i * k) % 8] for k in range(1, 3 + i % 5)) for i in range(50)]
    rows = [f"{text},{'yes' if i % 2 else 'no'}" for i, text in enumerate(texts)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def _write_page(page: Path, groups: list[Group], arguments: argparse.Namespace) -> None:
    """Replaces the table between the marks."""
    versions = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    how = f"ARGS='--every {arguments.every} --random {arguments.random}'"
    lines = [
        f"`make proof {how}` (seed {arguments.seed}; {versions}):\n",
        "| the process dies | tried | went on from a checkpoint | other losses or weights | seconds a try |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {group.title} | {group.tried} | {group.resumed} | {len(group.failures)} | "
        f"{group.seconds / max(group.tried, 1):.1f} |"
        for group in groups
    ]
    replace_between(page, BEGIN, END, lines)


def replace_between(page: Path, begin: str, end: str, lines: list[str]) -> None:
    """Puts lines between two marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    with atomic_file(page) as temporary:
        temporary.write_text(f"{before}{chr(10).join([begin, *lines, end])}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
