"""What a run tells while it goes: means of its figures, steps that are far outside the usual, and notes to people."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bertsmith.runtime.progress import Progress
from bertsmith.training.checkpoint import Checkpoint
from bertsmith.training.judge import Metrics
from bertsmith.training.logs import RunLog
from bertsmith.training.spikes import Spikes


@dataclass
class Reporter:
    """log: None in a process that writes none. samples_of: (epoch, numbers) of a step. every_steps: between two lines.

    window: what happened since the last line. Steps are counted from 0 where they are seen and from 1 where they are
    told.
    """

    log: RunLog | None
    progress: Progress
    samples_of: Callable[[int], tuple[int, Sequence[int]]]
    every_steps: int
    window: list[Metrics] = field(default_factory=list)
    spikes: Spikes = field(default_factory=Spikes)

    def note(self, text: str) -> None:
        self.progress.note(text)

    def write(self, kind: str, step: int, values: Mapping[str, float], **facts: Any) -> None:
        """As `RunLog.write`, where there is one."""
        if self.log is not None:
            self.log.write(kind, step, values, **facts)

    def see(self, step: int, losses: Metrics, norm: float, rate: float) -> bool:
        """The figures of a step that is done; whether it is a spike, which is told with the samples to look at."""
        self.window.append({**losses, "gradient_norm": norm, "learning_rate": rate})
        found = self.spikes.see({"loss": sum(losses.values()), "gradient_norm": norm})
        if not found:
            return False
        epoch, samples = self.samples_of(step)
        self.note(
            f"spike in step {step + 1}: {'; '.join(map(str, found))}; its samples, counted from 0: "
            f"{', '.join(map(str, samples))}"
        )
        values: dict[str, float] = {}
        for spike in found:
            usual = {f"{spike.name}_usual": spike.usual, f"{spike.name}_limit": spike.limit}
            values |= {spike.name: spike.value, **usual}
        self.write("spike", step + 1, values, epoch=epoch, samples=samples)
        return True

    def line(self, step: int, tokens_per_second: float, *, is_last: bool) -> list[tuple[int, Metrics]]:
        """The step with the means since the last line, where one is due; it is written to the log."""
        if not self.window or (step % self.every_steps and not is_last):
            return []
        rows, self.window = self.window, []
        values = {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[-1]}
        values |= {"learning_rate": rows[-1]["learning_rate"], "tokens_per_second": tokens_per_second}
        self.write("train", step, values)
        return [(step, values)]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, as JSON."""
        num_lines = 0 if self.log is None else len(self.log.lines)
        return {"window": self.window, "spikes": self.spikes.recent, "num_log_lines": num_lines}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`; the log is another's affair."""
        self.window = list(state["window"])
        self.spikes = Spikes({name: list(values) for name, values in state["spikes"].items()})

    def go_back(self, checkpoint: Checkpoint) -> None:
        """With the log too: what was written since then is forgotten."""
        if self.log is not None:
            self.log.go_back(checkpoint.step, checkpoint.state["num_log_lines"])
        self.note(f"warning: back to step {checkpoint.step}")
