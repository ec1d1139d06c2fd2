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

from bertsmith.files import atomic_file

LINES = "metrics.jsonl"


class RunLog:
    """`metrics.jsonl` and TensorBoard events in `folder`: what another run wrote there is not this run's, and goes.

    last_step: of the checkpoint that a run goes on from; what was written up to it stays, what came later is forgotten.
    """

    def __init__(self, folder: Path, last_step: int = 0):
        from torch.utils.tensorboard.writer import SummaryWriter

        kept = _lines_until(folder / LINES, last_step)
        if not last_step:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(folder / LINES) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")
        self._lines = (folder / LINES).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder), purge_step=last_step + 1 if last_step else None)

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


def _lines_until(path: Path, last_step: int) -> list[str]:
    """Whole lines of steps up to `last_step`; the last line of a killed run may be a half."""
    if not last_step or not path.is_file():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= last_step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    return kept
