"""Signals outside the steps of a run, before its first and after its last: nothing is lost, and all end alike."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from killed_training import bits, write_rows

from bertsmith.recipes import finetune as finetuning
from bertsmith.recipes import kept_model, start
from bertsmith.recipes import pretrain as pretraining
from bertsmith.recipes.finetune import finetune
from bertsmith.recipes.job import Job
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.recipes.pretrain import PretrainSettings, pretrain
from bertsmith.runtime.interruption import InterruptedRunError
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece
from bertsmith.training.checkpoint import checkpoints_folder

CHILD = Path(__file__).parents[1] / "support" / "dying_run.py"
TRAINING = {"max_steps": 4, "per_device_train_batch_size": 8, "precision": "fp32", "logging_steps": 1}
BEFORE = {
    "reading": (finetuning, "load_examples"),
    "learning a vocabulary": (start, "learn_wordpiece"),
    "building": (finetuning, "rate_factors"),
    "asking for room": (Job, "needs"),
    "timing": (Job, "within_time"),
}
AFTER = {"loading the best": (kept_model, "load_artifact"), "measuring": (kept_model, "evaluate")}


def asking(monkeypatch: pytest.MonkeyPatch, place: tuple[Any, str], number: int) -> None:
    """The function at `place` is called, as ever, when the signal has just come."""
    real: Callable[..., Any] = getattr(*place)

    def ask(*arguments: Any, **named: Any) -> Any:
        os.kill(os.getpid(), number)
        return real(*arguments, **named)

    monkeypatch.setattr(*place, ask)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.csv")


def run(rows: Path, output: Path, **more: Any) -> Any:
    return finetune("classification", {"train_file": rows, "output_dir": output, "training": TRAINING, **more})


@pytest.fixture(scope="module")
def unbroken(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("unbroken") / "run"
    run(rows, output)
    return output


@pytest.mark.parametrize("name", BEFORE)
def test_before_the_first_step_it_ends_and_leaves_nothing(
    name: str, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking(monkeypatch, BEFORE[name], signal.SIGTERM)
    with pytest.raises(InterruptedRunError, match="stopped by SIGTERM before the first step; the same command"):
        run(rows, tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", AFTER)
def test_after_the_last_step_it_saves_and_goes_on_to_the_same_end(
    name: str, rows: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    with monkeypatch.context() as patched:
        asking(patched, AFTER[name], signal.SIGUSR1)
        with pytest.raises(InterruptedRunError, match="stopped by SIGUSR1 after step 4 of 4; go on with the same"):
            run(rows, output)
    assert [path.name for path in checkpoints_folder(output).glob("step-*")] == ["step-00000004"]
    report = run(rows, output, resume_from_checkpoint="auto")
    assert report.evaluation.intervals
    assert bits(output) == bits(unbroken)
    assert not checkpoints_folder(output).exists()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    text = folder / "text.txt"
    text.write_text("\n\n".join(f"apple river stone {i}\ncloud winter lamp" for i in range(40)), encoding="utf-8")
    learn_wordpiece([text], WordPieceSettings(vocab_size=60)).tokenizer().save(folder / "tokenizer")
    prepare(PrepareSettings(files=(text,), tokenizer=str(folder / "tokenizer"), output_dir=folder / "prepared"))
    return folder / "prepared"


def test_pre_training_too(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"corpus": corpus, "output_dir": tmp_path / "run", "model_size": "tiny", "validation_fraction": 0}
    settings = PretrainSettings.of(values | {"training": TRAINING})
    with monkeypatch.context() as patched:
        asking(patched, (pretraining, "_network"), signal.SIGINT)
        with pytest.raises(InterruptedRunError, match="stopped by SIGINT before the first step"):
            pretrain(settings)
    assert not list(tmp_path.iterdir())
    asking(monkeypatch, (pretraining, "save_artifact"), signal.SIGINT)  # while the last that is to do is done
    assert pretrain(settings).training.num_steps == 4
    assert not checkpoints_folder(tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("how", "code"), [("before:SIGTERM:finetune.load_examples", 75), ("twice:SIGTERM:kept_model.load_artifact", 143)]
)
def test_the_exit_codes_are_those_of_any_other_moment(how: str, code: int, rows: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(CHILD), str(rows), str(tmp_path / "run"), "no", how]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
