"""Sweeps: trials over a space, the best one kept, failures named; a sweep that is cut off goes on to the same end."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_models import toy_bert, toy_reviews
from toys import toy_text, toy_tokenizer

from bertsmith.artifact import load_artifact
from bertsmith.cli.main import main
from bertsmith.errors import SettingsError
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.recipes.pretrain import PretrainSettings
from bertsmith.recipes.start import LOGS
from bertsmith.recipes.sweep import FACTS, PAGE, StudySettings, SweepError, _plan, sweep, sweep_settings
from bertsmith.recipes.sweep_report import SweepReport
from bertsmith.runtime.interruption import InterruptedRunError
from bertsmith.training.checkpoint import checkpoints_folder
from bertsmith.training.logs import LINES
from bertsmith.training.settings import TrainingSettings

pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    toy_reviews(folder / "train.csv", 60, 0)
    toy_bert(folder / "bert")
    return folder


def run(house: Path, output: Path, space: list[str], num_trials: int, **more: Any) -> SweepReport:
    training = {
        "per_device_train_batch_size": 8,
        "precision": "fp32",
        "device": "cpu",
        "max_steps": 12,
        "eval_steps": 4,
    }
    values = {"train_file": house / "train.csv", "model": str(house / "bert"), "output_dir": output}
    study = {"space": space, "num_trials": num_trials}
    training |= more.pop("training", {})
    return sweep("classification", {**values, "training": training, "study": study, **more})


RATES = ["learning_rate=1e-5..2e-2:log", "warmup_fraction=0,0.3"]


@pytest.fixture(scope="module")
def swept(house: Path) -> SweepReport:
    return run(house, house / "sweep", RATES, 4)


def test_trials_are_run_judged_and_the_best_is_kept(swept: SweepReport) -> None:
    assert [trial.number for trial in swept.trials] == [0, 1, 2, 3]
    assert swept.metric == "accuracy"
    assert all(trial.values.keys() == {"training.learning_rate", "training.warmup_fraction"} for trial in swept.trials)
    assert swept.best.value == max(trial.value or 0 for trial in swept.trials)
    record = load_artifact(swept.best_model).record
    assert record["settings"]["training"]["learning_rate"] == swept.best.values["training.learning_rate"]
    for trial in swept.trials:
        folder = swept.output_dir / f"trial-{trial.number:04d}"
        assert (folder / LOGS / LINES).is_file()
        assert (folder / "model.safetensors").exists() == (trial == swept.best)
    facts = json.loads((swept.output_dir / FACTS).read_text())
    assert facts["best"]["number"] == swept.best.number
    assert len(facts["trials"]) == 4
    page = (swept.output_dir / PAGE).read_text()
    assert page.count("<svg") >= 3
    assert "http" not in page.replace("http://www.w3.org/", "")


def test_a_done_sweep_runs_nothing_again_and_more_trials_go_on(house: Path, swept: SweepReport) -> None:
    assert run(house, swept.output_dir, RATES, 4) == swept
    more = run(house, swept.output_dir, RATES, 5)
    assert more.trials[:4] == swept.trials
    assert len(more.trials) == 5


def test_another_space_or_other_settings_are_refused(house: Path, swept: SweepReport) -> None:
    with pytest.raises(SettingsError, match="holds a sweep with another space"):
        run(house, swept.output_dir, RATES[:1], 6)
    with pytest.raises(SettingsError, match="holds a sweep with another training"):
        run(house, swept.output_dir, RATES, 6, training={"max_steps": 13})


def test_a_failed_trial_is_named_and_the_others_go_on(house: Path, tmp_path: Path) -> None:
    report = run(house, tmp_path / "sweep", ["learning_rate=1e-3,1e30"], 4)
    failed = [trial for trial in report.trials if trial.state == "failed"]
    assert {trial.values["training.learning_rate"] for trial in failed} == {1e30}
    assert all("the loss is" in (trial.error or "") for trial in failed)
    assert report.best.values["training.learning_rate"] == 1e-3
    assert "the loss is" in (tmp_path / "sweep" / PAGE).read_text()
    with pytest.raises(SweepError, match=r"none of 1 trials came to an end; trial 0: .*the loss is"):
        run(house, tmp_path / "hopeless", ["learning_rate=1e30,1e31"], 1)


@pytest.mark.slow
def test_trials_that_fall_behind_are_pruned(house: Path, tmp_path: Path) -> None:
    space, training = ["learning_rate=1e-9,5e-3,6e-3,7e-3"], {"max_steps": 30, "eval_steps": 3}
    report = run(house, tmp_path / "pruned", space, 10, training=training)
    pruned = [trial for trial in report.trials if trial.state == "pruned"]
    assert pruned
    assert all(trial.number >= 5 and trial.num_evaluations < 10 for trial in pruned)
    assert 1e-9 in {trial.values["training.learning_rate"] for trial in pruned}
    assert not list((tmp_path / "pruned").glob("*.checkpoints"))


@pytest.mark.slow
def test_a_sweep_that_is_cut_off_goes_on_to_the_same_end(house: Path, tmp_path: Path) -> None:
    def ask() -> None:
        log = tmp_path / "cut" / "trial-0001" / LOGS / LINES
        while not (log.is_file() and "validation" in log.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    training = {"max_steps": 60, "save_steps": 10}
    whole = run(house, tmp_path / "whole", RATES, 3, training=training)
    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(InterruptedRunError, match="stopped by SIGTERM: 1 of 3 trials are done; go on with the same"):
        run(house, tmp_path / "cut", RATES, 3, training=training)
    asking.join()
    assert checkpoints_folder(tmp_path / "cut" / "trial-0001").is_dir()
    again = run(house, tmp_path / "cut", RATES, 3, training=training)
    assert [(t.state, t.value, t.values, t.num_evaluations) for t in again.trials] == [
        (t.state, t.value, t.values, t.num_evaluations) for t in whole.trials
    ]
    weights = [report.best_model / "model.safetensors" for report in (again, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_pre_training_is_swept_too_and_the_verb_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "text.txt").write_text("".join(f"{toy_text(rng, 6)}\n\n" for _ in range(60)))
    toy_tokenizer().save(tmp_path / "tokenizer")
    prepare(
        PrepareSettings(
            files=(tmp_path / "text.txt",),
            tokenizer=tmp_path / "tokenizer",
            output_dir=tmp_path / "corpus",
            format="lines",
        )
    )
    run = "--model-size tiny --max-length 16 --max-steps 2 --batch-size 4 --validation-fraction 0.3 --device cpu"
    sweep = ["--space", "learning_rate=1e-4..1e-3:log", "--num-trials", "2", "--num-workers", "2", "--json"]
    words = [
        "sweep",
        "pretraining",
        str(tmp_path / "corpus"),
        *run.split(),
        "--output-dir",
        str(tmp_path / "s"),
        *sweep,
    ]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [trial["state"] for trial in facts["trials"]] == ["complete", "complete"]
    assert (Path(facts["best_model"]) / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"seeds": 2}, "seeds: a sweep makes one run a trial"),
        ({"resume_from_checkpoint": "auto"}, "a sweep goes on by itself"),
        ({"training": {"metric_for_best_model": "acuracy"}}, "no metric 'acuracy'; did you mean 'accuracy'"),
    ],
)
def test_what_makes_no_sense_in_a_sweep_is_refused(
    house: Path, tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        run(house, tmp_path / "sweep", RATES, 1, **more)


def test_a_trial_has_the_defaults_that_the_settings_have(tmp_path: Path) -> None:
    """Those of a part that was given as an object are its class's, not those of a pre-training run."""
    settings = sweep_settings("pretraining")(  # type: ignore[call-arg]
        corpus=tmp_path, training=TrainingSettings(max_steps=3), study=StudySettings(space=("seed=0,1",))
    )
    trial = PretrainSettings.of(_plan("pretraining", settings).base)
    assert trial.training == TrainingSettings(max_steps=3)
