"""A small fine-tuning run in a process of its own that dies where it is told to, and the same run unbroken.

    python dying_run.py DATA OUTPUT RESUME HOW [OPTION...]

HOW: `never`; `event:N`, before the N-th time that a file of the run is opened for writing, renamed, made or deleted;
`half:N`, with half of the N-th checkpoint file on the disk; `seconds:X`, by kill -9 wherever it is then;
`signal:NAME:STEP`, which it gets during that step, or `signal:NAME:STEP:RANK`, which that process of several gets in
the first attempt of its launcher; `before:NAME:RECIPE.FUNCTION` and `twice:...`, a signal or two when that file of
recipes calls that function; `full:STEP:STEP`, no file can grow from that step up to the other. The number of events
goes to OUTPUT.events.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

WRITES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}


def main() -> int:
    data, output, resume, how = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4].split(":")
    from bertsmith.cli.main import main as bertsmith
    from bertsmith.training import checkpoint as checkpoint_file
    from bertsmith.training.trainer import _Run

    seen = [0]

    def count(event: str, arguments: tuple[object, ...]) -> None:
        opened = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if not (opened or event in WRITES) or output.name not in str(arguments[0]):
            return
        seen[0] += 1
        if how[0] == "event" and seen[0] == int(how[1]):
            os._exit(9)

    if how[0] == "half":
        real = checkpoint_file.write_synced

        def half(path: Path, parts: Iterable[bytes]) -> dict[str, object]:
            seen[0] += 1
            if seen[0] == int(how[1]):
                content = b"".join(parts)
                path.write_bytes(content[: len(content) // 2])
                os._exit(9)
            return real(path, parts)

        checkpoint_file.write_synced = half
    elif how[0] == "seconds":
        timer = threading.Timer(float(how[1]), lambda: os.kill(os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    elif how[0] == "signal":
        real_step = _Run._step

        rank = how[3] if len(how) > 3 else "0"
        is_meant = os.environ.get("RANK", "0") == rank and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"

        def step_and_ask(run: _Run, step: int, *arguments: Any) -> None:
            if step == int(how[2]) and is_meant:
                os.kill(os.getpid(), getattr(signal, how[1]))
            real_step(run, step, *arguments)

        _Run._step = step_and_ask  # type: ignore[method-assign]
    elif how[0] == "full":
        real_step = _Run._step

        def step_on_a_full_disk(run: _Run, step: int, *arguments: Any) -> None:
            is_full = int(how[1]) <= step < int(how[2])
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (0 if is_full else resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            real_step(run, step, *arguments)

        _Run._step = step_on_a_full_disk  # type: ignore[method-assign]
    elif how[0] in ("before", "twice"):
        module, _, name = how[2].partition(".")
        recipe = import_module(f"bertsmith.recipes.{module}")
        real_function = getattr(recipe, name)

        def ask_and_call(*arguments: Any, **named: Any) -> Any:
            for _ in range(1 + (how[0] == "twice")):
                os.kill(os.getpid(), getattr(signal, how[1]))
            return real_function(*arguments, **named)

        setattr(recipe, name, ask_and_call)
    if how[0] in ("event", "never"):
        sys.addaudithook(count)
    options = [*OPTIONS, *([] if resume == "no" else ["--resume-from-checkpoint", resume]), *sys.argv[5:]]
    code = bertsmith(["finetune", "classification", "--train-file", str(data), "--output-dir", str(output), *options])
    if how[0] == "never":
        output.with_name(f"{output.name}.events").write_text(str(seen[0]), encoding="utf-8")
    return code


OPTIONS = [
    "--epochs",
    "3",
    "--batch-size",
    "8",
    "--save-steps",
    "2",
    "--eval-steps",
    "5",
    "--logging-steps",
    "1",
    "--max-length",
    "16",
    "--max-tokens-per-micro-batch",
    "48",
    "--precision",
    "fp32",
    *([] if os.environ.get("SAYS_MORE") else ["--quiet"]),
]
"""Three epochs of 6 steps, micro-batches of some rows, an evaluation that is no multiple of the saves."""


if __name__ == "__main__":
    sys.exit(main())
