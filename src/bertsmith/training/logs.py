"""What a run writes down while it goes: one JSON line a record, and the same for TensorBoard."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self


class RunLog:
    """`metrics.jsonl` and TensorBoard events in `folder`, begun afresh: what an earlier run wrote is not this run's."""

    def __init__(self, folder: Path):
        from torch.utils.tensorboard.writer import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._lines = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder))

    def write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """`kind` is `train` or `validation`. A value that is not finite is written as its name, so that it is seen."""
        shown = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        record = {"kind": kind, "step": step, "time": round(time.time(), 3), **shown}
        self._lines.write(json.dumps(record, allow_nan=False) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._board.close()
