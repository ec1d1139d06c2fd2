"""A run that is over is not begun again by the command that goes on with it, alone or among several seeds."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from killed_training import bits, write_rows

from bertsmith.errors import SettingsError
from bertsmith.recipes import train_job
from bertsmith.recipes.finetune import FinetuneReport, finetune
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.recipes.pretrain import PretrainSettings, pretrain
from bertsmith.recipes.seeds import SUMMARY, SeedsReport, finetune_seeds
from bertsmith.runtime.interruption import InterruptedRunError
from bertsmith.runtime.progress import Progress
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece
from bertsmith.training.checkpoint import Checkpoints, checkpoints_folder
from bertsmith.training.trainer import _Run

TRAINING = {"max_steps": 6, "per_device_train_batch_size": 8, "precision": "fp32", "eval_steps": 2}


class Notes(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def no_training(*arguments: Any, **named: Any) -> None:
    pytest.fail("nothing is to be trained")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.csv")


def run(rows: Path, output: Path, progress: Progress | None = None, **more: Any) -> FinetuneReport:
    values = {"train_file": rows, "output_dir": output, "training": TRAINING, **more}
    return finetune("classification", values, progress)


@pytest.fixture(scope="module")
def over(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> FinetuneReport:
    return run(rows, tmp_path_factory.mktemp("over") / "run")


def test_it_is_told_and_its_figures_are_read(rows: Path, over: FinetuneReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_job, "train", no_training)
    notes, before = Notes(), bits(over.output_dir)
    again = run(rows, over.output_dir, notes, resume_from_checkpoint="auto")
    assert again == over
    assert bits(over.output_dir) == before
    assert any("this run is over, after step 6: nothing is left to train" in text for text in notes.texts)
    assert not checkpoints_folder(over.output_dir).exists()


def test_checkpoints_that_were_left_over_go(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead after the last word on the model was written, and before they were deleted."""
    output = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "remove", lambda self: None)
        run(rows, output, training=TRAINING | {"save_steps": 2})
    assert list(checkpoints_folder(output).glob("step-*"))
    monkeypatch.setattr(train_job, "train", no_training)
    run(rows, output, training=TRAINING | {"save_steps": 2}, resume_from_checkpoint="auto")
    assert not checkpoints_folder(output).exists()


def test_another_run_s_folder_is_refused_and_names_what_differs(rows: Path, over: FinetuneReport) -> None:
    with pytest.raises(SettingsError, match=r"made by another run: training.max_steps was 6 there and is 7 now"):
        run(rows, over.output_dir, training=TRAINING | {"max_steps": 7}, resume_from_checkpoint="auto")
    with pytest.raises(SettingsError, match="holds a model already"):
        run(rows, over.output_dir)


def test_one_that_died_before_its_first_checkpoint_begins_anew(
    rows: Path, over: FinetuneReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, real = tmp_path / "run", _Run._step

    def die(run: _Run, step: int, *arguments: Any) -> None:
        if step == 3:
            raise KeyboardInterrupt
        real(run, step, *arguments)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_Run, "_step", die)
        run(rows, output)
    assert (output / "bertsmith.json").is_file(), "the best so far is there"
    assert run(rows, output, resume_from_checkpoint="auto").evaluation == over.evaluation
    assert bits(output) == bits(over.output_dir)


def test_pre_training_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"apple river stone {i}\ncloud winter lamp" for i in range(40)), encoding="utf-8")
    learn_wordpiece([text], WordPieceSettings(vocab_size=60)).tokenizer().save(tmp_path / "tokenizer")
    prepare(PrepareSettings(files=(text,), tokenizer=str(tmp_path / "tokenizer"), output_dir=tmp_path / "corpus"))
    values = {"corpus": tmp_path / "corpus", "output_dir": tmp_path / "run", "model_size": "tiny", "training": TRAINING}
    report = pretrain(PretrainSettings.of(values))
    monkeypatch.setattr(train_job, "train", no_training)
    assert pretrain(PretrainSettings.of(values | {"resume_from_checkpoint": "auto"})) == report


def seeds(rows: Path, output: Path, **more: Any) -> SeedsReport:
    values = {"train_file": rows, "output_dir": output, "training": TRAINING, "seeds": 2, **more}
    return finetune_seeds("classification", values)


def test_several_seeds_go_on_with_the_one_that_was_cut_off(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, cut = tmp_path / "unbroken", tmp_path / "cut"
    expected = seeds(rows, unbroken)
    real, steps = _Run._step, list[tuple[int, int]]()

    def step_and_ask(run: _Run, step: int, *arguments: Any) -> None:
        real(run, step, *arguments)
        steps.append((run.settings.seed, step))
        if steps[-1] == (1, 2) and len(steps) < 10:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(_Run, "_step", step_and_ask)
    with pytest.raises(InterruptedRunError, match=r"seed 1: stopped by SIGTERM after step 3 of 6; .*no seed is lost"):
        seeds(rows, cut)
    steps.clear()
    found = seeds(rows, cut, resume_from_checkpoint="auto")
    assert steps == [(1, 3), (1, 4), (1, 5)]
    assert found.metrics == expected.metrics
    for name in ("seed-0", "seed-1"):
        assert bits(cut / name) == bits(unbroken / name)
    assert (cut / SUMMARY).read_bytes() == (unbroken / SUMMARY).read_bytes()
    with pytest.raises(SettingsError, match="auto goes on with several seeds"):
        seeds(rows, cut, resume_from_checkpoint=str(cut))
