"""`bertsmith finetune TASK`: a subcommand for every task that learns from examples; a data set names its task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from inspect import getdoc, getmodule
from itertools import pairwise
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from bertsmith.catalog import data_set
from bertsmith.cli.fields import column_options
from bertsmith.cli.options import command
from bertsmith.cli.output import Output
from bertsmith.errors import SettingsError
from bertsmith.recipes.finetune import FinetuneReport, FinetuneSettings, finetune, finetune_settings
from bertsmith.recipes.seeds import finetune_seeds
from bertsmith.tasks import TASKS, task_class

Run = Callable[[FinetuneSettings, Output], dict[str, Any]]


def app_of_tasks(run_of: Callable[[str], Run], *words: str) -> App:
    """A subcommand for every task that learns from examples, with its fine-tuning's options; `words` lead to it."""
    app = App(words[-1], help_format="plaintext")

    @app.default
    def by_data_set(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]) -> None:
        """Fine-tune for a task, or on a public data set, which knows its task: finetune --dataset NAME."""
        _by_data_set(app, words, arguments)

    for name in TASKS:
        if name != "pretraining":
            about = getdoc(getmodule(TASKS[name])) or ""
            keys = column_options([TASKS[name]])
            app.command(
                command(run_of(name), finetune_settings(name), keys=keys), name=name, help=about.splitlines()[0]
            )
    return app


def _by_data_set(app: App, verb: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    names = [after for option, after in pairwise(arguments) if option == "--dataset"]
    names += [argument.partition("=")[2] for argument in arguments if argument.startswith("--dataset=")]
    if names:
        try:
            words = [data_set(names[0]).task, *arguments]
            app(words, exit_on_error=False, print_error=False, result_action="return_none")
        except CycloptsError as error:
            error.command_chain = (*verb, *(error.command_chain or ()))
            raise
    elif arguments and not arguments[0].startswith("-"):
        task_class(arguments[0])
    elif arguments:
        tasks = ", ".join(name for name in TASKS if name != "pretraining")
        raise SettingsError(f"finetune for which task? Say {tasks}, or --dataset with the name of a data set")
    else:
        app.help_print([])


def _run_of(name: str) -> Run:
    """Fine-tuning for one task: its options are its settings, its columns and those of every run."""

    def run(settings: FinetuneSettings, output: Output) -> dict[str, Any]:
        if settings.seeds > 1:
            report = finetune_seeds(name, settings, output.progress)
            for side, metrics in report.metrics.items():
                rows = [[metric, value.value, value.low, value.high] for metric, value in metrics.items()]
                output.table(f"{side}, {len(report.seeds)} seeds", rows, ["metric", "mean", "from", "to (95%)"])
            output.say("intervals: Student's t over the runs, up to the bounds of the metric")
            output.say(f"saved in {report.output_dir}, a folder a seed")
            return asdict(report)
        result = finetune(name, settings, output.progress)
        output.facts(name, _facts(result))
        options = " ".join(f"--{name.replace('_', '-')} '...'" for name in result.fields)
        asked = options if len(result.fields) > 1 else "'A text of yours.'"
        output.say(f"next: bertsmith predict {result.output_dir} {asked}")
        return asdict(result)

    return run


def _facts(report: FinetuneReport) -> dict[str, Any]:
    return {
        "columns": report.columns,
        "training examples": report.num_train_examples,
        "validation examples": report.num_validation_examples,
        "steps": report.training.num_steps,
        "tokens per second": report.training.tokens_per_second,
        "best step": report.training.best_step,
        "validation": report.evaluation.metrics,
        **({} if report.test is None else {"test": report.test.metrics}),
        "spikes in steps": report.training.spikes,
        "cut in training": str(report.training.truncation),
        "cut in validation": report.evaluation.cut,
        **({} if report.test is None else {"cut in test": report.test.cut}),
        "saved in": report.output_dir,
    }


app = app_of_tasks(_run_of, "finetune")
