"""`bertsmith sweep TASK`: a subcommand for every task that is trained, with the options of its run and the sweep's."""

from __future__ import annotations

from typing import Any

from cyclopts import App

from bertsmith.cli.fields import column_options
from bertsmith.cli.options import command
from bertsmith.cli.output import Output
from bertsmith.errors import SettingsError
from bertsmith.recipes.sweep import PAGE, sweep, sweep_settings
from bertsmith.recipes.sweep_report import facts, row
from bertsmith.settings import Settings
from bertsmith.tasks import TASKS, task_class
from bertsmith.tasks.pretraining import Pretraining

app = App("sweep", help_format="plaintext")


@app.default
def for_which_task(*arguments: str) -> None:
    """Try settings of training runs, and keep the best: sweep TASK --space learning_rate=1e-5..1e-4:log ..."""
    if arguments:
        task_class(arguments[0])
        raise SettingsError(f"sweep for which task? Say {', '.join(TASKS)}, and then its options")
    app.help_print([])


def add_task(name: str) -> None:
    """The subcommand of one task."""

    def run(settings: Settings, output: Output) -> dict[str, Any]:
        report = sweep(name, settings, output.progress)
        trials = sorted(report.trials, key=lambda trial: trial.number)
        header = ["trial", report.metric, *(part.name for part in report.space), "evaluations", "time", "state"]
        output.table(f"{len(trials)} trials", [row(report, trial) for trial in trials], header)
        for trial in trials:
            if trial.error:
                output.say(f"trial {trial.number} failed: {trial.error}")
        if report.importances:
            output.facts("what mattered (shares)", report.importances)
        output.say(f"best: trial {report.best.number}, {report.metric} {report.best.value:.4g}: {report.best_model}")
        output.say(f"page: {report.output_dir / PAGE}")
        return facts(report)

    positional = ["corpus"] if name == Pretraining.name else []
    keys = [] if name == Pretraining.name else column_options([TASKS[name]])
    app.command(command(run, sweep_settings(name), positional, keys), name=name, help=f"Sweep over runs for {name}.")


for task_name in TASKS:
    add_task(task_name)
