"""Where the time of a training step goes: what it waits for data, what the optimizer takes, what padding executes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from quality.ours import make_examples, make_task
from quality.rows import read_rows
from quality.sets import SETS

from bertsmith.recipes.start import start_from
from bertsmith.runtime.progress import Progress
from bertsmith.training.optimizer import AdamW
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train

WORK = (("SST-2", "sst2", 32, 1920), ("SST-2", "sst2", 768, 15_360), ("SQuAD 1.1", "squad", 64, 384))
"""Title, set, examples a step, examples in all; 768 sentences are some 10,000 tokens."""


def measure_steps(model: Path, data_dir: Path, fraction: float = 1.0) -> list[dict[str, Any]]:
    """A row for each piece of work."""
    found = []
    for title, name, batch_size, count in WORK:
        quality = replace(SETS[name], num_train=max(2 * batch_size, int(count * fraction)), num_test=1)
        rows = read_rows(quality, data_dir)
        task = make_task(quality, rows)
        examples = make_examples(task, rows.train)
        start = start_from(task.fitted(examples), str(model), {})
        settings = TrainingSettings(num_train_epochs=1, per_device_train_batch_size=batch_size, device="cpu")
        clock = _OptimizerClock()
        with clock:
            result = train(start.task, start.network, start.tokenizer, examples, settings, progress=Progress())
        found.append(
            {
                "work": title,
                "batch_size": batch_size,
                "tokens_per_step": result.num_tokens / result.num_steps,
                "seconds_per_step": result.seconds / result.num_steps,
                "optimizer_share": clock.seconds / result.seconds,
                "stall_share": result.stalled_seconds / (result.seconds + result.stalled_seconds),
            }
        )
    return found


class _OptimizerClock:
    """Within it, counts the seconds in AdamW's clipping and stepping."""

    def __enter__(self) -> None:
        self.seconds = 0.0
        self._own = {name: getattr(AdamW, name) for name in ("clip", "step")}
        for name, method in self._own.items():
            setattr(AdamW, name, self._timed(method))

    def __exit__(self, *_: object) -> None:
        for name, method in self._own.items():
            setattr(AdamW, name, method)

    def _timed(self, method: Any) -> Any:
        def run(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*arguments)
            finally:
                self.seconds += time.perf_counter() - started

        return run
