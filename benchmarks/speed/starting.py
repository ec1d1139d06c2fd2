"""Whole commands as processes of their own: import, first prediction, and the memory that each takes at most."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from speed.measure import median

IMPORT = {"bertsmith": "import bertsmith", "transformers": "import transformers"}
FIRST = {
    "bertsmith": "import bertsmith; bertsmith.load({model!r}).predict(['A delight from start to end.'])",
    "transformers": (
        "from transformers import pipeline; "
        "pipeline('text-classification', {model!r}, device='cpu')('A delight from start to end.')"
    ),
}
STARTER = """
import resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def measure_starting(model: Path, rounds: int) -> list[dict[str, Any]]:
    """A row for each piece of work and library: seconds, peak memory."""
    with tempfile.TemporaryDirectory() as name:
        classifier = _classifier(model, Path(name))
        return [
            {"work": title, "library": library} | _timed(code.format(model=str(classifier)), rounds)
            for title, codes in (("import", IMPORT), ("import, load, first prediction", FIRST))
            for library, code in codes.items()
        ]


def _classifier(model: Path, folder: Path) -> Path:
    """A classifier of the checkpoint's size that both libraries load."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(model, num_labels=2).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


def _timed(code: str, rounds: int) -> dict[str, Any]:
    runs = [run_process([sys.executable, "-c", code]) for _ in range(rounds + 1)][1:]
    seconds = median([run["seconds"] for run in runs])
    return {"seconds": seconds.middle, "interval": str(seconds), "megabytes": max(run["megabytes"] for run in runs)}


def run_process(command: Sequence[str]) -> dict[str, float]:
    """Seconds and peak memory of a process; what it printed is shown where it fails.

    A small process starts it, since a process is born with the peak of the one that it was forked from.
    """
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", STARTER, *command], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    seconds, kilobytes = done.stdout.split()
    return {"seconds": float(seconds), "megabytes": float(kilobytes) / 1024}
