"""A disk that is full for some steps, or to the end: training goes on, says so once, and loses as little as can be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from killed_training import bits, write_rows

from bertsmith.artifact import load_artifact, read_record
from bertsmith.training.checkpoint import checkpoints_folder

CHILD = Path(__file__).parents[1] / "support" / "dying_run.py"


def run(data: Path, output: Path, how: str, resume: str = "no") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(CHILD), str(data), str(output), resume, how]
    environment = os.environ | {"SAYS_MORE": "1"}
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, env=environment)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.csv")


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("unbroken") / "run"
    done = run(data, output, "never")
    assert done.returncode == 0, done.stderr
    return output


def test_while_it_is_full_training_goes_on_and_no_line_is_lost(data: Path, unbroken: Path, tmp_path: Path) -> None:
    """The first evaluation falls into it, two checkpoints, and some lines."""
    output = tmp_path / "run"
    done = run(data, output, "full:4:9")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("metrics.jsonl: cannot be written: File too large: free some space; training goes on") == 1
    assert done.stderr.count("step 5: the best model so far could not be saved: File too large: free some space") == 1
    assert done.stderr.count("tensorboard gets no more figures of this run") == 1
    assert bits(output)[0] == bits(unbroken)[0]
    assert read_record(output)["training"]["best_step"] != 5
    load_artifact(output)


def test_full_to_the_end_what_was_saved_stays_and_the_end_can_be_had_later(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    done = run(data, output, "full:4:99")
    assert done.returncode == 1
    assert "File too large" in done.stderr.splitlines()[-1]
    assert "lines found no room" in done.stderr
    assert (checkpoints_folder(output) / "step-00000002").is_dir()
    again = run(data, output, "never", "auto")
    assert again.returncode == 0, again.stderr
    load_artifact(output)
