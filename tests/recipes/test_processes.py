"""One command under torchrun: the same run as in one process, and faults of a process that end or restart it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from killed_training import bits, write_rows
from safetensors.numpy import load_file

from bertsmith.training.checkpoint import checkpoints_folder

pytestmark = pytest.mark.slow  # whole runs of several processes, killed and started again
CHILD = Path(__file__).parents[1] / "support" / "dying_run.py"


def launch(
    data: Path, output: Path, how: str, *options: str, resume: str = "no", processes: int = 2, restarts: int = 0
) -> subprocess.CompletedProcess[str]:
    words = [sys.executable]
    if processes > 1:
        words += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        words += ["--max-restarts", str(restarts)]
    words += [str(CHILD), str(data), str(output), resume, how, "--dropout", "0", *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)


def assert_near(output: Path, other: Path) -> None:
    """The same lines with the same numbers, and the same weights, up to the order of sums."""
    (lines, _), (others, _) = bits(output), bits(other)
    assert [(line["kind"], line["step"]) for line in lines] == [(line["kind"], line["step"]) for line in others]
    for line, theirs in zip(lines, others, strict=True):
        for name in line.keys() - {"kind"}:
            assert line[name] == pytest.approx(theirs[name], abs=1e-4), (line["step"], name)
    weights, theirs = load_file(output / "model.safetensors"), load_file(other / "model.safetensors")
    assert max(abs(weights[name] - theirs[name]).max() for name in weights) < 1e-3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.csv", num_rows=53)


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("alone") / "run"
    done = launch(data, output, "never", processes=1)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def together(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("together") / "run"
    done = launch(data, output, "never")
    assert done.returncode == 0, done.stderr
    return output


def test_two_processes_learn_what_one_does(alone: Path, together: Path) -> None:
    assert_near(together, alone)
    assert sorted(entry.name for entry in together.iterdir()) == sorted(entry.name for entry in alone.iterdir())


def test_weights_in_pieces_learn_it_too(data: Path, alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    done = launch(data, output, "never", "--set", "training.data_parallel=fsdp")
    assert done.returncode == 0, done.stderr
    assert_near(output, alone)


def test_one_then_two_then_one_process_go_on_from_each_other(data: Path, alone: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert launch(data, output, "signal:SIGTERM:4", processes=1).returncode == 75
    stopped = launch(data, output, "signal:SIGTERM:10:1", "--set", "training.data_parallel=fsdp", resume="auto")
    assert stopped.returncode != 0, "the launcher tells that its processes ended early"
    assert "stopped by SIGTERM after step 11 of 18" in stopped.stderr, "one process was asked, and both stopped"
    assert stopped.stderr.count("go on with the same command") == 1, "one of them tells it"
    done = launch(data, output, "never", resume="auto", processes=1)
    assert done.returncode == 0, done.stderr
    assert_near(output, alone)
    assert not checkpoints_folder(output).exists()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_killed_process_is_started_again_and_goes_on_to_the_same_bits(
    rank: str, data: Path, together: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    done = launch(data, output, f"signal:SIGKILL:7:{rank}", restarts=1)
    assert done.returncode == 0, done.stderr
    assert bits(output) == bits(together)


def test_without_restarts_a_killed_process_ends_the_job_and_what_was_saved_is_gone_on_from(
    data: Path, together: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    done = launch(data, output, "signal:SIGKILL:7:1")
    assert done.returncode != 0
    again = launch(data, output, "never", resume="auto")
    assert again.returncode == 0, again.stderr
    assert bits(output) == bits(together)


def test_a_frozen_process_is_noticed(data: Path, together: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    done = launch(data, output, "signal:SIGSTOP:7:1", "--set", "training.process_timeout_seconds=5", restarts=1)
    assert "did not answer in time" in done.stderr
    assert done.returncode == 0, done.stderr
    assert bits(output) == bits(together)


def test_processes_with_different_data_are_told(data: Path, tmp_path: Path) -> None:
    script = tmp_path / "each.py"
    script.write_text(
        "import os, runpy, sys\n"
        "if os.environ['RANK'] == '1': sys.argv[1] = sys.argv[1].replace('rows', 'other')\n"
        f"sys.argv[0] = {str(CHILD)!r}\n"
        f"sys.path.insert(0, {str(CHILD.parent)!r})\n"
        f"runpy.run_path({str(CHILD)!r}, run_name='__main__')\n"
    )
    rows, other = tmp_path / "rows.csv", tmp_path / "other.csv"
    rows.write_bytes(data.read_bytes())
    other.write_text(data.read_text() + "apple lamp,no\n", encoding="utf-8")
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    words += [str(rows), str(tmp_path / "run"), "no", "never"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode != 0
    assert "the processes of this run were given different things: data." in done.stderr


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_time_becomes_the_same_steps_in_every_process(kind: str, data: Path, tmp_path: Path) -> None:
    runs = []
    for name, options in (("timed", ["--max-minutes", "0.05"]), ("counted", [])):
        options = options or ["--max-steps", str(runs[0][0][-1]["step"])]
        done = launch(data, tmp_path / name, "never", *options, "--set", f"training.data_parallel={kind}")
        assert done.returncode == 0, done.stderr
        runs.append(bits(tmp_path / name))
    assert runs[0] == runs[1]
