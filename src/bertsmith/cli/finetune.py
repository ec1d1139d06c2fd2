"""`bertsmith finetune TASK`: a subcommand for every task that learns from a file of examples."""

from __future__ import annotations

from dataclasses import asdict
from inspect import getdoc, getmodule
from typing import Any

from cyclopts import App

from bertsmith.cli.options import command
from bertsmith.cli.output import Output
from bertsmith.recipes.finetune import FinetuneSettings, finetune, finetune_settings
from bertsmith.tasks import TASKS

app = App("finetune", help_format="plaintext")


def add_task(name: str) -> None:
    """The subcommand of one task: its options are its settings, its columns and those of every run."""

    def run(settings: FinetuneSettings, output: Output) -> dict[str, Any]:
        report = finetune(name, settings, output.progress)
        output.facts(
            name,
            {
                "columns": report.columns,
                "warnings": report.warnings,
                "training examples": report.num_train_examples,
                "validation examples": report.num_validation_examples,
                "steps": report.training.num_steps,
                "tokens per second": report.training.tokens_per_second,
                "best step": report.training.best_step,
                "validation": report.evaluation.metrics,
                "cut in training": report.training.cut,
                "cut validation examples": report.evaluation.num_cut_examples,
                "saved in": report.output_dir,
            },
        )
        output.say(f"next: bertsmith predict {report.output_dir} 'A text of yours.'")
        return asdict(report)

    about = getdoc(getmodule(TASKS[name])) or ""
    app.command(command(run, finetune_settings(name)), name=name, help=about.splitlines()[0])


for task_name in TASKS:
    if task_name != "pretraining":
        add_task(task_name)
