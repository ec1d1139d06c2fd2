"""Faults of processes and networks in a run of two processes, and what it comes to: bits, or losses up to rounding.

    python benchmarks/proof_processes.py [--every 3]

Writes the second table of docs/reliability.md. Two hosts are two network namespaces of this machine, for which it needs
root and iproute2; without them those rows say so. The run is that of proof.py, without dropout where the number of
processes changes.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from proof import CHILD, NUM_STEPS, PAGE, outcome_of, replace_between, write_data

from bertsmith.training.checkpoint import checkpoints_folder

BEGIN, END = "<!-- proof of processes: begin -->", "<!-- proof of processes: end -->"
LAUNCH = [sys.executable, "-m", "torch.distributed.run"]
TIMEOUT_SECONDS = 5
LONG = [
    "--set",
    "training.num_train_epochs=400",
    "--set",
    "training.save_steps=100",
    "--set",
    "training.eval_steps=800",
]
"""400 epochs of 6 steps: long enough to cut a network in."""


@dataclass
class Row:
    """A kind of fault. apart: the largest difference of a loss from the unbroken run's; None: bits are compared."""

    title: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    apart: float | None = None
    seconds: float = 0.0
    remark: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="try every so many steps")
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="proof-") as name:
        proof = _Proof(Path(name), arguments.every)
        rows = []
        for part in (proof.killed, proof.asked, proof.frozen, proof.sizes, proof.cut, proof.left):
            row = part()
            rows.append(row)
            print(f"{row.title}: {row.tried} tried, {len(row.failures)} failed {row.failures}", flush=True)
    _write_page(arguments.page, rows, arguments.every)
    return any(row.failures for row in rows)


class _Proof:
    def __init__(self, folder: Path, every: int):
        self.folder = folder
        self.data = write_data(folder / "rows.csv")
        self.steps = range(0, NUM_STEPS, every)

    def killed(self) -> Row:
        row = Row("kill -9 to one of two processes, in each step")
        expected = self._unbroken("two")
        for step in self.steps:
            how = f"signal:SIGKILL:{step}:{step % 2}"
            self._try(row, how, expected, lambda out, how=how: [self._launch(out, how, restarts=1)])
        return row

    def asked(self) -> Row:
        row = Row("SIGTERM to one of two processes, in each step; gone on by hand")
        expected = self._unbroken("two")
        for step in self.steps:
            how = f"signal:SIGTERM:{step}:{step % 2}"
            self._try(
                row,
                how,
                expected,
                lambda out, how=how: [self._launch(out, how), self._launch(out, "never", resume="auto")][1:],
            )
        return row

    def frozen(self) -> Row:
        row = Row("one of two processes frozen (SIGSTOP)")
        expected = self._unbroken("two")
        patience = ["--set", f"training.process_timeout_seconds={TIMEOUT_SECONDS}"]
        for rank in (0, 1):
            how = f"signal:SIGSTOP:7:{rank}"
            self._try(row, how, expected, lambda out, how=how: [self._launch(out, how, *patience, restarts=1)])
        row.remark = f"noticed after {TIMEOUT_SECONDS} s; the launcher gives a frozen process 30 s more"
        return row

    def sizes(self) -> Row:
        row = Row("1, then 2, then 1 process, replicas and pieces; each stopped by SIGTERM", apart=0.0)
        plain = ["--dropout", "0"]
        expected = self._unbroken("alone", *plain, processes=1)
        for kind in ("ddp", "fsdp"):
            spread = ["--set", f"training.data_parallel={kind}"]
            self._try(
                row,
                kind,
                expected,
                lambda out, spread=spread: [
                    self._launch(out, "signal:SIGTERM:4", *plain, processes=1),
                    self._launch(out, "signal:SIGTERM:10:1", *plain, *spread, resume="auto"),
                    self._launch(out, "never", *plain, processes=1, resume="auto"),
                ][2:],
            )
        return row

    def cut(self) -> Row:
        row = Row("the network between two hosts cut for 9 s", remark=f"noticed after {TIMEOUT_SECONDS} s")
        return self._on_two_hosts(row, "2", _cut)

    def left(self) -> Row:
        row = Row("one of two hosts killed, and back after 50 s (`--nnodes 1:2`)", apart=0.0)
        return self._on_two_hosts(row, "1:2", _leave)

    def _on_two_hosts(self, row: Row, nodes: str, fault: Callable[[_Hosts, Path], None]) -> Row:
        if os.geteuid() or shutil.which("ip") is None:
            row.remark = "not tried: needs root and iproute2"
            return row
        plain = ["--dropout", "0", *LONG, "--set", f"training.process_timeout_seconds={TIMEOUT_SECONDS}"]
        expected = self._unbroken("long", *plain)

        def run(output: Path) -> list[subprocess.CompletedProcess[str]]:
            with _hosts(nodes, [str(CHILD), str(self.data)], [str(output), "no", "never", *plain]) as hosts:
                _wait_for(lambda: len(list(checkpoints_folder(output).glob("step-*"))) > 1, 120)
                fault(hosts, output)
                return [hosts.finish()]

        self._try(row, fault.__name__, expected, run)
        return row

    def _unbroken(self, name: str, *options: str, processes: int = 2) -> dict[str, Any]:
        output = self.folder / f"unbroken-{name}"
        if not output.exists():
            done = self._launch(output, "never", *options, processes=processes)
            assert done.returncode == 0, done.stderr
        return outcome_of(output)

    def _launch(
        self, output: Path, how: str, *options: str, processes: int = 2, restarts: int = 0, resume: str = "no"
    ) -> subprocess.CompletedProcess[str]:
        launch = [*LAUNCH, "--standalone", "--nproc-per-node", str(processes), "--max-restarts", str(restarts)]
        words = [*launch, str(CHILD), str(self.data), str(output), resume, how, *options]
        return subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)

    def _try(
        self,
        row: Row,
        how: str,
        expected: dict[str, Any],
        run: Callable[[Path], list[subprocess.CompletedProcess[str]]],
    ) -> None:
        """Run, all of whose returned calls are to end well, and compare what came out."""
        row.tried += 1
        output = self.folder / f"{row.title[:6]}-{how}".replace(":", "-").replace(" ", "-")
        started = time.perf_counter()
        for done in run(output):
            if done.returncode:
                row.failures.append(f"{how}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
                return
        row.seconds += time.perf_counter() - started
        found = outcome_of(output)
        if row.apart is None:
            if found != expected:
                row.failures.append(
                    f"{how}: other {'weights' if found['weights'] != expected['weights'] else 'losses'}"
                )
            return
        apart = _apart(found["losses"], expected["losses"])
        row.apart = max(row.apart, apart)
        if apart > 1e-3:
            row.failures.append(f"{how}: losses {apart:.1e} apart")


def _apart(losses: list[dict[str, Any]], expected: list[dict[str, Any]]) -> float:
    if [(line["kind"], line["step"]) for line in losses] != [(line["kind"], line["step"]) for line in expected]:
        return float("inf")
    lines = zip(losses, expected, strict=True)
    return max(abs(a["classification"] - b["classification"]) for a, b in lines if a["kind"] == "train")


class _Hosts:
    """Two launchers in two network namespaces with a cable between them."""

    def __init__(self, nodes: str, script: list[str], arguments: list[str]):
        self.nodes, self.script, self.arguments = nodes, script, arguments
        self.folder = Path(tempfile.mkdtemp(prefix="hosts-"))
        self.running = {name: self.start(name) for name in ("a", "b")}

    def start(self, name: str) -> subprocess.Popen[str]:
        address = {"a": "10.77.0.1", "b": "10.77.0.2"}[name]
        words = ["ip", "netns", "exec", f"proof-{name}", *LAUNCH, "--nnodes", self.nodes, "--nproc-per-node", "1"]
        words += ["--max-restarts", "5", "--rdzv-backend", "c10d", "--rdzv-endpoint", "10.77.0.1:29400"]
        words += ["--rdzv-id", "proof", "--rdzv-conf", f"is_host={int(name == 'a')}", "--local-addr", address]
        # Each host has a folder of its own: only the first process writes.
        output, *rest = self.arguments
        words += [*self.script, output if name == "a" else f"{output}-other", *rest]
        settings = {"GLOO_SOCKET_IFNAME": f"proof-v{name}", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        log = (self.folder / f"{name}.log").open("a", encoding="utf-8")
        return subprocess.Popen(
            words, env=os.environ | settings, stdout=log, stderr=log, text=True, start_new_session=True
        )

    def finish(self) -> subprocess.CompletedProcess[str]:
        codes = [process.wait(600) for process in self.running.values()]
        said = "".join(path.read_text(encoding="utf-8")[-1000:] for path in sorted(self.folder.glob("*.log")))
        return subprocess.CompletedProcess(self.script, max(map(abs, codes)), "", said)


@contextmanager
def _hosts(nodes: str, script: list[str], arguments: list[str]) -> Iterator[_Hosts]:
    for command in (
        "netns add proof-a",
        "netns add proof-b",
        "link add proof-va type veth peer name proof-vb",
        "link set proof-va netns proof-a",
        "link set proof-vb netns proof-b",
        "-n proof-a addr add 10.77.0.1/24 dev proof-va",
        "-n proof-b addr add 10.77.0.2/24 dev proof-vb",
        "-n proof-a link set proof-va up",
        "-n proof-b link set proof-vb up",
        "-n proof-a link set lo up",
        "-n proof-b link set lo up",
    ):
        _ip(command)
    hosts = None
    try:
        hosts = _Hosts(nodes, script, arguments)
        yield hosts
    finally:
        for name in ("a", "b"):
            _kill_all(name)
            _ip(f"netns del proof-{name}")
        if hosts is not None:
            shutil.rmtree(hosts.folder)


def _cut(hosts: _Hosts, output: Path) -> None:
    """The cable is out for a while."""
    _ip("-n proof-b link set proof-vb down")
    time.sleep(9)
    _ip("-n proof-b link set proof-vb up")


def _leave(hosts: _Hosts, output: Path) -> None:
    """The second host dies with all its processes, and comes back."""
    _kill_all("b")
    hosts.running["b"].wait()
    time.sleep(50)
    hosts.running["b"] = hosts.start("b")


def _kill_all(name: str) -> None:
    found = subprocess.run(["ip", "netns", "pids", f"proof-{name}"], capture_output=True, text=True, check=False)
    for pid in found.stdout.split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def _wait_for(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "the run did not come that far"
        time.sleep(0.2)


def _write_page(page: Path, rows: list[Row], every: int) -> None:
    versions = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, gloo"
    lines = [
        f"`python benchmarks/proof_processes.py --every {every}` ({versions}):\n",
        "| what happens | tried | came to | failed | seconds a try | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        came = "the same bits" if row.apart is None else f"losses at most {row.apart:.0e} apart"
        seconds = row.seconds / max(row.tried, 1)
        lines.append(f"| {row.title} | {row.tried} | {came} | {len(row.failures)} | {seconds:.0f} | {row.remark} |")
    replace_between(page, BEGIN, END, lines)


if __name__ == "__main__":
    sys.exit(main())
