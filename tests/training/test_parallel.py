"""Two processes do the step of one: every task's gradients and losses, with all weights in each or in pieces."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bertsmith.data.order import step_seed
from bertsmith.tasks import TASKS

CHILD = Path(__file__).parents[1] / "support" / "share_of_steps.py"


def test_gradients_over_two_processes_are_those_of_one() -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(CHILD)]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    apart = json.loads(done.stdout)
    assert len(apart) == 2 * len(TASKS) + 3
    refused = {name for name, value in apart.items() if value is None}
    assert refused == {"embedding, fsdp"}, "a loss that compares all rows of a step needs whole weights"
    assert max(value for value in apart.values() if value is not None) < 1e-5, apart


def test_processes_draw_different_dropout_and_the_first_that_of_one_alone() -> None:
    assert step_seed(1, 2) == step_seed(1, 2, 0)
    assert len({step_seed(1, step, rank) for step in range(20) for rank in range(20)}) == 400
