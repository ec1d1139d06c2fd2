"""Runs that are cut off go on to the same bits: killed, signalled, in the middle of a save or of an evaluation."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from killed_training import bits, write_rows

from bertsmith.training.checkpoint import checkpoints_folder

CHILD = Path(__file__).parents[1] / "support" / "dying_run.py"


def run(data: Path, output: Path, how: str, resume: str = "no") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(CHILD), str(data), str(output), resume, how]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.csv")


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("unbroken") / "run"
    done = run(data, output, "never")
    assert done.returncode == 0, done.stderr
    lines, weights = bits(output)
    steps = [line["step"] for line in lines if line["kind"] == "train"]
    assert steps == list(range(1, 19))
    assert not checkpoints_folder(output).exists(), "what is done with is deleted"
    return {"bits": (lines, weights), "events": int((output.parent / "run.events").read_text())}


def go_on(data: Path, output: Path) -> None:
    done = run(data, output, "never", "auto")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("share", [0.15, 0.4, 0.55, 0.7, 0.85])
def test_killed_at_an_operation_on_a_file(share: float, data: Path, unbroken: dict[str, Any], tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert run(data, output, f"event:{round(share * unbroken['events'])}").returncode == 9
    go_on(data, output)
    assert bits(output) == unbroken["bits"]


def test_killed_within_a_file_of_the_third_checkpoint(data: Path, unbroken: dict[str, Any], tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert run(data, output, "half:11").returncode == 9
    assert [entry.name for entry in sorted(checkpoints_folder(output).glob("step-*"))] == [
        "step-00000002",
        "step-00000004",
    ]
    go_on(data, output)
    assert bits(output) == unbroken["bits"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_saves_says_how_to_go_on_and_exits_75(
    name: str, data: Path, unbroken: dict[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    stopped = run(data, output, f"signal:{name}:6")
    assert stopped.returncode == 75
    assert f"stopped by {name} after step 7 of 18" in stopped.stderr
    assert "--resume-from-checkpoint auto" in stopped.stderr
    refused = run(data, output, "never")
    assert refused.returncode == 2
    assert "run that was cut off" in refused.stderr
    go_on(data, output)
    assert bits(output) == unbroken["bits"]


def test_other_settings_are_not_gone_on_with(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert run(data, output, "signal:SIGTERM:3").returncode == 75
    other = tmp_path / "other.csv"
    other.write_text(data.read_text() + "apple lamp,no\n", encoding="utf-8")
    refused = run(other, output, "never", "auto")
    assert refused.returncode == 2
    assert "made by another run: data." in refused.stderr


def test_a_changed_length_is_named_by_the_option_that_was_given(tmp_path: Path) -> None:
    """Not by what follows from it, as how often a pre-training run is evaluated."""
    output = tmp_path / "run"
    words = [sys.executable, "-m", "bertsmith"]
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"apple river stone {i}\ncloud winter lamp" for i in range(40)), encoding="utf-8")
    tokenizer, corpus = str(tmp_path / "tokenizer"), str(tmp_path / "corpus")

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*words, *arguments], capture_output=True, text=True, timeout=120, check=False)

    call("tokenizer", "train", str(text), "--vocab-size", "120", "--output-dir", tokenizer)
    call("prepare", str(text), "--tokenizer", tokenizer, "--output-dir", corpus)
    pretrain = ("pretrain", corpus, "--model-size", "tiny", "--output-dir", str(output), "--save-steps", "1")
    running = subprocess.Popen(
        [*words, *pretrain, "--max-steps", "100000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    folder = checkpoints_folder(output)
    deadline = time.monotonic() + 100
    while not list(folder.glob("step-*")) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    running.terminate()
    assert running.wait(60) == 75
    refused = call(*pretrain, "--max-steps", "200000", "--resume-from-checkpoint", "auto")
    assert refused.returncode == 2
    assert "training.max_steps was 100000 there and is 200000 now" in refused.stderr
