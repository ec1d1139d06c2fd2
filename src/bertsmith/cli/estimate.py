"""`bertsmith estimate pretrain ...` and `estimate finetune TASK ...`: the same options; what the run would take."""

from __future__ import annotations

from typing import Any

from cyclopts import App

from bertsmith.cli.finetune import Run, app_of_tasks
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.estimate import Estimate, estimate
from bertsmith.recipes.finetune import FinetuneSettings, finetuning_job
from bertsmith.recipes.pretrain import PretrainSettings, pretraining_job
from bertsmith.recipes.resume import ResumeSettings
from bertsmith.runtime.progress import duration

app = App("estimate", help_format="plaintext")


@app.command(name="pretrain")
@verb("corpus")
def run(settings: PretrainSettings, output: Output) -> dict[str, Any]:
    """Say what pre-training with these options would take."""
    found = estimate(pretraining_job(settings, output.progress), output.progress)
    return _told(found, settings, output)


def _run_of(name: str) -> Run:
    def run(settings: FinetuneSettings, output: Output) -> dict[str, Any]:
        found = estimate(finetuning_job(name, settings, output.progress), output.progress)
        if settings.seeds > 1:
            output.say(f"of each of {settings.seeds} runs, one a seed, which are made one after another:")
        return _told(found, settings, output)

    return run


app.command(app_of_tasks(_run_of, "estimate", "finetune"))


def _told(found: Estimate, settings: ResumeSettings, output: Output) -> dict[str, Any]:
    if settings.scale.on is not None:
        output.say("of this process alone: how several share the work is not foretold")
    memory, disk, seconds = found.memory, found.disk, found.seconds
    output.facts(
        "estimate",
        {
            "parameters": found.num_parameters,
            "trained parameters": found.num_trained,
            "steps": found.num_steps,
            "tokens a step": found.tokens_per_step,
            "operations a step": f"{found.flops_per_step:.3g}",
            "operations in all": f"{found.flops:.3g}",
            "tokens per second": found.tokens_per_second,
            "share of the rate of matrix products": f"{found.share_of_limit:.0%}",
            "time": duration(seconds.value),
            "time, from and to": f"{duration(seconds.low)} to {duration(seconds.high)}",
            "evaluations": f"{found.num_evaluations} of {duration(found.evaluation_seconds)}",
            "memory at most": _size(memory.peak),
            "memory by kind": {
                "weights": _size(memory.weights),
                "everything else that is there": _size(memory.process - memory.weights),
                **({"weights in pieces": _size(memory.beside)} if memory.beside else {}),
                "gradients": _size(memory.gradients),
                "optimizer": _size(memory.moments),
                f"activations of {memory.tokens:,} tokens": _size(memory.activations),
                "between blocks, and in libraries": _size(memory.gaps * memory.activations + memory.libraries),
                "copies for checkpoints": _size(memory.saving),
            },
            f"memory in {found.num_timed_steps} timed steps": _size(found.measured_memory),
            "memory free": None if memory.free is None else _size(memory.free + memory.process),
            "disk at most": _size(disk.total),
            "disk by kind": {
                "model, twice": _size(2 * disk.artifact),
                f"{disk.num_checkpoints} checkpoints": _size(disk.num_checkpoints * disk.checkpoint),
            },
            "disk free": _size(disk.free),
        },
    )
    return found.to_dict()


def _size(num_bytes: float) -> str:
    """In megabytes, of a million bytes."""
    return f"{num_bytes / 1e6:,.1f} MB"
