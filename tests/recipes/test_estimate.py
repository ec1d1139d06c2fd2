"""Estimates, checks before the first step, and runs that are fitted to a time; with the same settings as the runs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections import namedtuple
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from toys import Notes

from bertsmith.cli.main import main
from bertsmith.files import sha256
from bertsmith.recipes.finetune import finetune, finetune_settings, finetuning_job
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.recipes.pretrain import PretrainSettings, pretrain, pretraining_job
from bertsmith.runtime import memory
from bertsmith.runtime.interruption import InterruptedRunError
from bertsmith.runtime.progress import Progress
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece
from bertsmith.training import needs
from bertsmith.training.checkpoint import Checkpoint, checkpoints_folder
from bertsmith.training.trainer import _Run
from bertsmith.training.trial import Trial

Usage = namedtuple("Usage", "total used free")
WORDS = ["apple", "river", "stone", "cloud", "winter", "lamp", "paper", "garden"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    draw = random.Random(0)
    documents = ["\n".join(" ".join(draw.choices(WORDS, k=6)) + "." for _ in range(6)) for _ in range(40)]
    (folder / "text.txt").write_text("\n\n".join(documents), encoding="utf-8")
    learn_wordpiece([folder / "text.txt"], WordPieceSettings(vocab_size=120)).tokenizer().save(folder / "tokenizer")
    prepare(PrepareSettings(files=(folder / "text.txt",), tokenizer=folder / "tokenizer", output_dir=folder / "corpus"))
    return folder / "corpus"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    lines = [
        f"{' '.join(WORDS[(i * k) % 8] for k in range(1, 3 + i % 5))},{'yes' if i % 2 else 'no'}" for i in range(50)
    ]
    path.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    return path


def options(corpus: Path, output: Path, **changes: Any) -> list[str]:
    values = {"model-size": "tiny", "max-length": 32, "batch-size": 4, "epochs": 2, "precision": "fp32"}
    values |= {"validation-fraction": 0.2, **changes}
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return ["pretrain", str(corpus), *words, "--output-dir", str(output)]


def settings_of(corpus: Path, output: Path, **training: Any) -> PretrainSettings:
    values = {"per_device_train_batch_size": 4, "precision": "fp32", "device": "cpu", "max_steps": 5, **training}
    return PretrainSettings.of(
        {
            "corpus": corpus,
            "output_dir": output,
            "model_size": "tiny",
            "validation_fraction": 0.2,
            "task": {"max_length": 32},
            "training": values,
        }
    )


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_an_estimate_counts_what_the_run_then_does(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = options(corpus, tmp_path / "out")
    said = ask(capsys, "estimate", *words)
    assert not (tmp_path / "out").exists(), "nothing is written"
    done = ask(capsys, *words)
    assert said["num_parameters"] == said["num_trained"] == done["num_parameters"]
    assert said["num_steps"] == done["training"]["num_steps"]
    assert said["num_evaluations"] == len(done["training"]["evaluations"])
    per_step = done["training"]["num_tokens"] / done["training"]["num_steps"]
    assert said["tokens_per_step"] == pytest.approx(per_step, rel=0.2)
    assert said["flops"] == said["flops_per_step"] * said["num_steps"]
    # Six operations for each weight of the layers and each token; the last layer computes less, where no mask is.
    assert 0.5 < said["flops_per_step"] / (6 * 2 * 12 * 128 * 128 * said["tokens_per_step"]) < 1
    assert said["seconds"]["low"] < said["seconds"]["value"] < said["seconds"]["high"]
    assert said["disk"]["total"] > 2 * 4 * said["num_parameters"]
    assert said["memory"]["peak"] > 16 * said["num_parameters"]
    written = sum(file.stat().st_size for file in (tmp_path / "out").glob("*") if file.is_file())
    assert said["disk"]["artifact"] == pytest.approx(written, rel=0.05)


def test_an_estimate_of_fine_tuning_for_people(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"estimate finetune classification --train-file {rows} --epochs 2 --batch-size 8 --device cpu --output-dir"
    assert main([*words.split(), str(tmp_path / "out")]) == 0
    told = dict(line.split("\t", 1) for line in capsys.readouterr().out.splitlines() if "\t" in line)
    assert told["steps"] == "12"
    assert {
        "parameters",
        "operations a step",
        "tokens per second",
        "time",
        "memory at most",
        "disk free",
    } <= told.keys()
    assert told["share of the rate of matrix products"].endswith("%")
    assert main(["estimate", "finetune", "--dataset", "nonsense"]) == 2
    assert main(["estimate", "finetune", "clasification"]) == 2
    assert "did you mean 'classification'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["estimate"], []])
def test_what_cannot_fit_is_refused_before_the_first_step(
    verb: list[str],
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [*verb, *options(corpus, tmp_path / "out")]
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 12_345))
        assert main([*words, "--quiet"]) == 1
    assert "bytes of disk" in (told := capsys.readouterr().err)
    assert "free are 12,345" in told
    with monkeypatch.context() as patched:
        patched.setattr(needs, "free_bytes", lambda: 100_000_000)
        assert (
            main([*verb, *options(corpus, tmp_path / "out", **{"model-size": "small"}), "--max-steps", "1", "--quiet"])
            == 1
        )
    assert "error: memory: needed are " in (told := capsys.readouterr().err)
    assert "free are 100,000,000" in told
    assert "take a smaller model" in told
    assert not (tmp_path / "out").exists()
    assert not checkpoints_folder(tmp_path / "out").exists()


def test_a_micro_batch_that_fits_is_named_and_runs(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*options(corpus, tmp_path / "out", **{"batch-size": 128}), "--max-steps", "1", "--quiet"]
    job = pretraining_job(settings_of(corpus, tmp_path / "x", per_device_train_batch_size=128), Progress())
    memory_needs, _ = job.needs()
    free = memory_needs.to_come - memory_needs.saving - memory_needs.activations // 2
    monkeypatch.setattr(needs, "free_bytes", lambda: free)
    assert main(words) == 1
    advice = capsys.readouterr().err.partition("--max-tokens-per-micro-batch ")[2].split()[0]
    assert 32 <= int(advice) < memory_needs.tokens
    assert main([*words, "--max-tokens-per-micro-batch", str(int(advice) // 2)]) == 0


def test_a_time_becomes_the_steps_that_fit_and_then_is_the_run_of_that_many(corpus: Path, tmp_path: Path) -> None:
    timed = pretrain(settings_of(corpus, tmp_path / "timed", max_steps=None, max_minutes=0.05))
    num_steps = timed.training.num_steps
    assert len(timed.training.evaluations) >= 1
    counted = pretrain(settings_of(corpus, tmp_path / "counted", max_steps=num_steps))
    assert counted.training.evaluations == timed.training.evaluations
    one, two = (sha256(tmp_path / name / "model.safetensors") for name in ("timed", "counted"))
    assert one == two


def test_evaluations_take_their_share_of_the_time(corpus: Path, tmp_path: Path) -> None:
    settings = settings_of(corpus, tmp_path / "out", max_steps=None, max_minutes=10)
    job = pretraining_job(settings, Progress())
    trial = Trial(step_seconds=(2.0, 4.0), num_tokens=100, flops=1000)
    assert job.fitted(trial, evaluation_seconds=0, seconds=600).max_steps == 200
    recipe = job.fitted(trial, evaluation_seconds=30, seconds=600)
    assert recipe.max_steps is not None
    assert (recipe.max_steps, recipe.eval_steps) == (88, 8), "88 steps of 3 s and 11 evaluations of 30 s take 594 s"
    capped = replace(job, training=job.training.model_copy(update={"max_steps": 7, "eval_steps": 7}))
    assert capped.fitted(trial, evaluation_seconds=30, seconds=600).max_steps == 7
    assert job.fitted(trial, evaluation_seconds=30, seconds=1).max_steps == 1


def test_the_clock_decides_the_number_of_steps(corpus: Path, tmp_path: Path) -> None:
    """A clock of one second a look: a step takes one, and so does an evaluation of what is timed of it."""
    ticks, notes = count(), Notes()
    job = pretraining_job(settings_of(corpus, tmp_path / "out", max_steps=None, max_minutes=10), Progress())
    recipe = job.within_time(None, notes, clock=lambda: next(ticks))
    assert recipe.max_steps is not None
    assert 500 < recipe.max_steps < 600
    assert [text for text in notes.texts if f"--max-minutes 10: {recipe.max_steps:,} steps of 1 s and 1" in text]


def test_a_run_gone_on_with_has_the_steps_that_were_decided(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def values(output: Path, **more: Any) -> dict[str, Any]:
        training = {"max_minutes": 0.03, "per_device_train_batch_size": 8, "save_steps": 2, "precision": "fp32"}
        return {"train_file": rows, "output_dir": output, "training": training, **more}

    real = _Run._step

    def step_and_ask(run: _Run, step: int, *arguments: Any) -> None:
        real(run, step, *arguments)
        if run.reporter.log is not None and step == 3:  # the trial has none
            os.kill(os.getpid(), signal.SIGTERM)

    output = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(_Run, "_step", step_and_ask)
        with pytest.raises(InterruptedRunError, match=r"after step 4 of (\d+)") as stopped:
            finetune("classification", values(output))
    (state,) = [json.loads(path.read_text()) for path in checkpoints_folder(output).glob("step-00000004/state.json")]
    assert f"of {state['num_steps']:,};" in str(stopped.value)
    report = finetune("classification", values(output, resume_from_checkpoint="auto"))
    assert report.training.num_steps == state["num_steps"]
    settings = finetune_settings("classification").of(values(tmp_path / "other"))
    job = finetuning_job("classification", settings, Progress())
    assert job.within_time(Checkpoint(4, {"num_steps": 321}, {}), Progress()).max_steps == 321


def test_few_products_are_kept_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRU_CACHE_CAPACITY", raising=False)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    memory.keep_few_products()
    assert os.environ["LRU_CACHE_CAPACITY"] == str(memory.KEPT_PRODUCTS)
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
