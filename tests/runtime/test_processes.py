"""What one process does alone while the others wait: it may take long, and its end or standstill is noticed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

TIMEOUT_SECONDS = 2
CHILD = f"""
import os, signal, sys, time
from bertsmith.errors import BertsmithError, DataError
from bertsmith.runtime.processes import LostProcessError, joined

def work():
    if sys.argv[1] == "long":
        time.sleep({3 * TIMEOUT_SECONDS})
    if sys.argv[1] == "wrong":
        raise DataError("row 3 is at fault")
    if sys.argv[1] == "frozen":
        print("freezing", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"

with joined({TIMEOUT_SECONDS}) as group:
    try:
        print(group.from_first(work), group.from_first(lambda: 2), flush=True)
    except LostProcessError as error:
        print("lost:", error, flush=True)
        os._exit(7)
    except BertsmithError as error:
        print("common:", error, flush=True)
"""


def start(how: str) -> list[subprocess.Popen[str]]:
    """Two processes that do it, the first one first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, how], env=environment | {"RANK": str(rank)}, stdout=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]


def said(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=60)[0].strip()


def test_work_of_the_first_process_may_take_longer_than_a_process_may_be_silent() -> None:
    assert [said(process) for process in start("long")] == ["done 2", "done 2"]


def test_an_error_of_the_first_process_is_raised_by_all() -> None:
    assert [said(process) for process in start("wrong")] == ["common: row 3 is at fault"] * 2


def test_a_first_process_that_freezes_at_work_is_noticed() -> None:
    first, second = start("frozen")
    try:
        assert said(second).startswith("lost: another process of this run ended, or did not answer in time")
        assert second.returncode == 7
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()


def test_a_first_process_that_dies_at_work_is_noticed() -> None:
    first, second = start("killed")
    assert said(second).startswith("lost: another process of this run ended, or did not answer in time")
    assert first.wait(timeout=60) == -signal.SIGKILL
