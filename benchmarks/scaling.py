"""How fast pre-training is in one process and in two, and what more machines would cost by a model of it.

    python benchmarks/scaling.py [--megabytes 4] [--steps 24] [--rounds 3]

The runs are the commands that docs/scaling.md shows, in turns, one core a process. The model is arithmetic: it says
what the exchange of gradients costs under the assumptions in its table, none of which was measured here. Writes
docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from proof import replace_between

from bertsmith.model.presets import preset
from bertsmith.tasks.pretraining import Pretraining, PretrainingSettings

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "scaling.md"
MEASURED = "<!-- measured: begin -->", "<!-- measured: end -->"
MODEL = "<!-- model: begin -->", "<!-- model: end -->"
TEXT = ROOT / "../shared/data/text/enwiki2015/enwiki.part00.txt.xz"


@dataclass(frozen=True)
class Way:
    """processes x threads, and how the weights are spread."""

    name: str
    processes: int
    threads: int
    options: tuple[str, ...] = ()


WAYS = (
    Way("1 process, 1 thread", 1, 1),
    Way("1 process, 2 threads", 1, 2),
    Way("2 processes, 1 thread each, replicas (ddp)", 2, 1),
    Way("2 processes, 1 thread each, pieces (fsdp)", 2, 1, ("--set", "training.data_parallel=fsdp")),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--megabytes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=24, help="the first third warms up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    replace_between(arguments.page, *MODEL, model_table())
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        corpus = _corpus(Path(name), arguments.text, arguments.megabytes)
        speeds: dict[Way, list[float]] = {way: [] for way in WAYS}
        for number in range(arguments.rounds):
            for way in WAYS:
                speeds[way].append(_run(way, corpus, Path(name, f"{number}"), arguments.steps))
                print(f"{way.name}: {speeds[way][-1]:,.0f} tokens/s", flush=True)
    replace_between(arguments.page, *MEASURED, measured_table(speeds, arguments))
    return 0


def _corpus(folder: Path, text: Path, megabytes: int) -> Path:
    sample = folder / "text.txt"
    with lzma.open(text, "rb") as file:
        sample.write_bytes(file.read(megabytes << 20))
    # The sample may end within a character.
    for bad_bytes, words in (
        (
            "--bad-utf8",
            ["tokenizer", "train", str(sample), "--vocab-size", "8000", "--output-dir", str(folder / "tokenizer")],
        ),
        (
            "--errors",
            ["prepare", str(sample), "--tokenizer", str(folder / "tokenizer"), "--output-dir", str(folder / "corpus")],
        ),
    ):
        subprocess.run([sys.executable, "-m", "bertsmith", *words, "--quiet", bad_bytes, "replace"], check=True)
    return folder / "corpus"


def _run(way: Way, corpus: Path, output: Path, steps: int) -> float:
    """Real tokens a second over the last two thirds of the steps."""
    words = [sys.executable, "-m"]
    if way.processes > 1:
        words += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(way.processes), "-m"]
    words += ["bertsmith", "pretrain", str(corpus), "--model-size", "mini", "--max-steps", str(steps)]
    words += ["--set", "training.logging_steps=1", "--set", "validation_fraction=0", "--output-dir", str(output)]
    words += ["--overwrite-output-dir", "--quiet", *way.options]
    subprocess.run(words, check=True, env=os.environ | {"OMP_NUM_THREADS": str(way.threads)})
    lines = [json.loads(line) for line in (output / "logs/metrics.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["tokens_per_second"] for line in lines if line["kind"] == "train"}
    # tokens_per_second is that of the run so far, and steps have nearly the same number of tokens.
    first = max(1, steps // 3)
    seconds = steps / rates[steps] - first / rates[first]
    return (steps - first) / seconds


def measured_table(speeds: dict[Way, list[float]], arguments: argparse.Namespace) -> list[str]:
    first = speeds[WAYS[0]]
    how = f"--megabytes {arguments.megabytes} --steps {arguments.steps} --rounds {arguments.rounds}"
    where = f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}, gloo over loopback"
    lines = [
        f"`python benchmarks/scaling.py {how}`: BERT mini, 64 pairs of at most 128 tokens a step; {where}.\n",
        "| | tokens/s | times one thread (all rounds) |",
        "| --- | --- | --- |",
    ]
    for way, found in speeds.items():
        ratios = [mine / theirs for mine, theirs in zip(found, first, strict=True)]
        lines.append(
            f"| {way.name} | {statistics.median(found):,.0f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    return lines


@dataclass(frozen=True)
class Assumed:
    """What one GPU does and how fast it is reached; bytes and tokens a second."""

    size: str
    tokens_per_second: float
    step_tokens: int = 1 << 20
    gpus_per_machine: int = 8
    within_bytes_per_second: float = 300e9
    between_bytes_per_second: float = 40e9
    hop_seconds: float = 2e-6


ASSUMED = (Assumed("base", 800_000), Assumed("large", 258_000))
STEPS = (1 << 20, 1 << 22)
GPUS = (8, 64, 512)


def step_seconds(assumed: Assumed, num_parameters: int, num_gpus: int) -> tuple[float, float]:
    """(computing, exchanging) of one step: a ring over all, gradients in fp32, after the backward pass."""
    computing = assumed.step_tokens / num_gpus / assumed.tokens_per_second
    is_one_machine = num_gpus <= assumed.gpus_per_machine
    rate = assumed.within_bytes_per_second if is_one_machine else assumed.between_bytes_per_second
    volume = 2 * (num_gpus - 1) / num_gpus * 4 * num_parameters
    num_buckets = -(-4 * num_parameters // (32 << 20))
    return computing, volume / rate + num_buckets * 2 * (num_gpus - 1) * assumed.hop_seconds


def model_table() -> list[str]:
    columns = ("size", "tokens a step", "GPUs", "computing, ms", "exchange, ms", "computes", "tokens/s")
    lines = [f"| {' | '.join((*columns, 'GPU hours for 130 billion tokens'))} |", f"|{' --- |' * (len(columns) + 1)}"]
    for assumed in ASSUMED:
        network = Pretraining(PretrainingSettings()).build(preset(assumed.size, vocab_size=30_522))
        num_parameters = sum(parameter.numel() for parameter in network.parameters())
        for step_tokens in STEPS:
            wanted = replace(assumed, step_tokens=step_tokens)
            lines += [_model_row(wanted, num_parameters, num_gpus) for num_gpus in GPUS]
    return lines


def _model_row(assumed: Assumed, num_parameters: int, num_gpus: int) -> str:
    computing, exchange = step_seconds(assumed, num_parameters, num_gpus)
    rate = assumed.step_tokens / (computing + exchange)
    cells: Sequence[str] = (
        assumed.size,
        f"{assumed.step_tokens:,}",
        f"{num_gpus}",
        f"{1000 * computing:.1f}",
        f"{1000 * exchange:.1f}",
        f"{computing / (computing + exchange):.0%}",
        f"{rate:,.0f}",
        f"{130e9 / rate * num_gpus / 3600:,.0f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
