"""Speed on a GPU beside transformers, in one run, taking turns; no data sets are needed, texts and weights are made up.

    python benchmarks/gpu.py [--rounds 7] [--parts minilm,base,pretraining] [--small]

Writes benchmarks/results/gpu.json, a part at a time, and with it docs/performance.md; needs the extra `peers`.
`--small` is a smoke test on whatever device there is, written to runs/gpu-small, no figures to believe.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import torch
from gpu.inference import measure_inference
from gpu.pretraining import measure_pretraining
from speed.measure import machine
from speed.page import found_in, write_page

from bertsmith.files import atomic_file, read_json, write_json
from bertsmith.runtime.products import gemm_rate

HERE = Path(__file__).resolve().parent
SMALL = HERE.parent / "runs/gpu-small"
PARTS: dict[str, Callable[[torch.device, int, bool], Any]] = {
    "minilm": partial(measure_inference, "MiniLM, 6 x 384"),
    "base": partial(measure_inference, "base, 12 x 768"),
    "pretraining": measure_pretraining,
}


def main() -> None:
    arguments = _arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not arguments.small:
        raise SystemExit("no GPU here; --small rehearses on the CPU")
    for part in arguments.parts:
        started = time.perf_counter()
        rate = gemm_rate("bf16", rounds=20) if device.type == "cuda" else gemm_rate("bf16")
        facts = {"date": date.today().isoformat(), "card": _card(device), "rounds": arguments.rounds}
        facts |= machine() | {"gemm_per_second": rate}
        found = PARTS[part](device, arguments.rounds, arguments.small)
        record: dict[str, Any] = read_json(arguments.results) if arguments.results.is_file() else {}
        record[part] = facts | {"rows": found}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(arguments.results) as partial:
            write_json(partial, record)
        speed, load = (HERE / "results" / name for name in ("speed.json", "load.json"))
        write_page(found_in(speed) | found_in(load), arguments.page, record)
        print(f"{part}: {time.perf_counter() - started:.0f} s, {arguments.page}", flush=True)


def _card(device: torch.device) -> str:
    if device.type == "cpu":
        return "no GPU"
    return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="times that each piece of work is timed (%(default)s)")
    parser.add_argument("--parts", type=lambda names: names.split(","), default=list(PARTS), help="all without it")
    parser.add_argument("--small", action="store_true", help="a smoke test")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/gpu.json")
    parser.add_argument("--page", type=Path, help="default: docs/performance.md")
    arguments = parser.parse_args()
    if wrong := set(arguments.parts) - set(PARTS):
        parser.error(f"no part {min(wrong)!r}; there are {', '.join(PARTS)}")
    arguments.results = arguments.results or (SMALL if arguments.small else HERE / "results") / "gpu.json"
    arguments.page = arguments.page or (SMALL if arguments.small else HERE.parent / "docs") / "performance.md"
    return arguments


if __name__ == "__main__":
    main()
