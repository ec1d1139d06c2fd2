"""What a checkpoint a minute costs a training run: the steps that wait for it, and those that it slows down.

    python benchmarks/checkpoints.py [--size base] [--rounds 4]

Steps with no checkpoint, and steps of which the first one starts one, in turns, until it is written; the share is what
the second kind take longer, of a minute. The first few, whose files are new, are left out. Prints a line for
docs/reliability.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from bertsmith.data.batch import Window
from bertsmith.model.presets import preset
from bertsmith.tasks.pretraining import Pretraining, PretrainingSettings
from bertsmith.training.checkpoint import Checkpoints
from bertsmith.training.optimizer import OptimizerSettings, build_optimizer
from bertsmith.training.step import backward, make_step

VOCAB_SIZE, LENGTH, BATCH_SIZE = 30_522, 128, 16
WARM_UP = 4
"""Checkpoints until each one is written over another: what a run of many does from then on."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="base")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to write to; None: the temporary one")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    task = Pretraining(PretrainingSettings())
    network = task.build(preset(arguments.size, vocab_size=VOCAB_SIZE)).train()
    optimizer = build_optimizer(network, OptimizerSettings(), 1e-4)
    ids = torch.randint(1000, VOCAB_SIZE, (BATCH_SIZE, LENGTH)).tolist()
    # A seventh of the tokens is asked for, as in masking.
    places = range(1, LENGTH, 7)
    targets = {"places": list(places), "labels": [1000] * len(places), "sentence": 0}
    step = make_step(task, [[Window(row, [0] * LENGTH, targets)] for row in ids], 8192)

    def one_step() -> float:
        started = time.perf_counter()
        optimizer.zero_grad()
        backward(task, network, step, step.facts.counts, "auto")
        optimizer.clip(1.0)
        optimizer.step()
        return time.perf_counter() - started

    one_step()
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as name,
        Checkpoints(Path(name, "run.checkpoints"), {}, 2, print) as checkpoints,
    ):
        extra, blocked, writing = [], [], []
        for number in range(-WARM_UP, arguments.rounds):
            usual = statistics.median(one_step() for _ in range(8))
            started = time.perf_counter()
            tensors = {"model": network.state_dict(), "optimizer": optimizer.tensors_of(network)}
            checkpoints.save(WARM_UP + number + 1, {}, tensors)
            blocked.append(time.perf_counter() - started)
            num_steps = 0
            while not checkpoints.is_idle:
                one_step()
                num_steps += 1
            spent = time.perf_counter() - started
            writing.append(spent)
            extra.append(spent - num_steps * usual)
        newest = checkpoints.folder / f"step-{WARM_UP + arguments.rounds:08d}"
        size = sum(file.stat().st_size for file in newest.glob("*.safetensors"))
    blocked, writing, extra = (times[WARM_UP:] for times in (blocked, writing, extra))
    share = [seconds / 60 for seconds in extra]
    print(
        f"{arguments.size}: {size / 1e6:,.0f} MB a checkpoint, written in {statistics.median(writing):.1f} s; training "
        f"waits {statistics.median(blocked):.2f} s and loses {statistics.median(extra):.2f} s in all "
        f"({min(extra):.2f} to {max(extra):.2f}): {statistics.median(share):.1%} of a minute; "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
