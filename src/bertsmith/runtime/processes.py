"""The processes of one run, as torchrun or another launcher starts them: who this one is, and what all of them hold.

A process alone is a group of one, and every call is answered at once. Objects travel by pickle between the processes of
one run, which trust one another as the threads of a process do. Knows no model and no data.

torch is imported where it is used: the command line asks who it is before it needs to know more.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from bertsmith.errors import BertsmithError, SettingsError

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")

BUCKET_BYTES = 32 << 20
"""Of what is added up in one operation: large enough that its latency does not count, small enough to overlap."""
BEATS_PER_TIMEOUT = 4
"""How often, in the time after which a process counts as lost, one that works alone says that it lives."""


class LostProcessError(BertsmithError):
    """Another process of the run ended or does not answer."""


@dataclass(frozen=True)
class Processes:
    """rank: this one's number, from 0. size: how many there are. was_restarted: the launcher began them again.

    job: a name that the launcher gives to all starts of one job.

    Methods are called by every process of the group, in the same order, or none of them returns.
    """

    rank: int = 0
    size: int = 1
    was_restarted: bool = False
    job: str | None = None
    _control: Any = None
    _alone: Any = None
    _beat_seconds: float = math.inf

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes files and speaks to people."""
        return self.rank == 0

    def gather(self, value: Value) -> list[Value]:
        """What each process holds, by rank."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        with _told():
            dist.all_gather_object(found, value, group=self._control)
        return found

    def from_first(self, work: Callable[[], Value]) -> Value:
        """What `work` returns in the first process, which alone calls it; an error that it raises, all raise.

        It may take any time: what the others wait for is only the next sign of life.
        """
        if self.size == 1:
            return work()
        import torch.distributed as dist

        told: list[Any] = [None, None]
        if self.is_first:
            with self._beating():
                try:
                    told[0] = work()
                except (BertsmithError, OSError) as error:
                    told[1] = error
        with _told():
            while not self.is_first and not self._beat():
                pass
            dist.broadcast_object_list(told, src=0, group=self._alone)
        value, failure = told
        if failure is not None:
            failure.is_common, failure.is_told = True, not self.is_first
            raise failure
        return value  # type: ignore[no-any-return]

    @contextmanager
    def _beating(self) -> Iterator[None]:
        """Signs of life for the length of the block, from a thread, since a frozen process has none; then the last."""
        is_done = Event()

        def beat() -> None:
            with suppress(RuntimeError):  # who is lost is said where the result is sent
                while not is_done.wait(self._beat_seconds):
                    self._beat()

        thread = Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_done.set()
            thread.join()
        with _told():
            self._beat(is_last=True)

    def _beat(self, is_last: bool = False) -> bool:
        """One sign of life, sent by the first process to the others: whether it was the last."""
        import torch
        import torch.distributed as dist

        sign = torch.tensor([is_last], dtype=torch.uint8)
        dist.broadcast(sign, src=0, group=self._alone)
        return bool(sign)

    def send_from_first(self, tensors: Iterable[Tensor]) -> None:
        """The first process's values into the same tensors of the others."""
        if self.size == 1:
            return
        import torch.distributed as dist

        with _told():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes its sum over all processes, the same bits in each of them; of one type and device."""
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        with _told():
            running = []
            for bucket in _buckets(tensors):
                flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
                running.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
            for bucket, flat, work in running:
                work.wait()
                parts = torch.split(flat, [tensor.numel() for tensor in bucket])
                for tensor, part in zip(bucket, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))

    def concatenate(self, rows: Tensor) -> tuple[Tensor, int]:
        """The rows [n, ...] of all processes by rank, and where this one's begin; each may have another n, also 0."""
        if self.size == 1:
            return rows, 0
        import torch
        import torch.distributed as dist

        counts = self.gather(len(rows))
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        with _told():
            dist.all_gather(found, padded.contiguous())
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)]), sum(counts[: self.rank])


ALONE = Processes()
_joined: list[Processes] = []


def speaks() -> bool:
    """Whether this process is the one that speaks to people, by what the launcher's environment says."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> Processes:
    """Those that this one has joined; itself, alone, outside `joined`."""
    return _joined[-1] if _joined else ALONE


@contextmanager
def joined(timeout_seconds: float) -> Iterator[Processes]:
    """The group that the launcher's environment names, for the length of the block; alone without a launcher.

    timeout_seconds: for how long a process may not answer before the others raise `LostProcessError`.
    """
    if _joined:  # whoever called this has joined already
        yield _joined[-1]
        return
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    size = int(os.environ.get("WORLD_SIZE", "1"))
    was_restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    timeout = timedelta(seconds=timeout_seconds)
    is_ours = not dist.is_initialized()
    job = os.environ.get("TORCHELASTIC_RUN_ID")
    job = None if job == "none" else job  # what torchrun calls a job without a name
    group = Processes(was_restarted=was_restarted, job=job)
    if size > 1:
        _take_device()
        with _told():
            if is_ours:
                backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
                store, rank, size = next(rendezvous("env://", timeout=timeout))
                meeting = PrefixStore(_meet(store, rank, size, timeout_seconds), store)
                dist.init_process_group(backend, store=meeting, rank=rank, world_size=size, timeout=timeout)
            control = dist.new_group(backend="gloo", timeout=timeout)
            alone = dist.new_group(backend="gloo", timeout=timeout)
        beat_seconds = timeout_seconds / BEATS_PER_TIMEOUT
        group = Processes(dist.get_rank(), dist.get_world_size(), was_restarted, job, control, alone, beat_seconds)
    _joined.append(group)
    try:
        yield group
    finally:
        _joined.remove(group)
        if size > 1 and is_ours:
            dist.destroy_process_group()


def _meet(store: Any, rank: int, size: int, timeout_seconds: float) -> str:
    """A name that the processes of this start, and no earlier one, have in common.

    A launcher that starts them again keeps its store, and in it the addresses of those that died. Each process shows a
    number of its own and what it has seen of the others'; they have met when all have seen the same.
    """
    store.set(f"bertsmith/number/{rank}", uuid4().hex)
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        numbers = store.multi_get([f"bertsmith/number/{other}" for other in range(size)])
        meeting = hashlib.sha256(b" ".join(numbers)).hexdigest()
        store.set(f"bertsmith/seen/{rank}", meeting)
        if set(store.multi_get([f"bertsmith/seen/{other}" for other in range(size)])) == {meeting.encode()}:
            return meeting
        time.sleep(0.02)
    raise LostProcessError(f"not all of the {size} processes of this run came up within {timeout_seconds:g} seconds")


def _take_device() -> None:
    """The GPU of this process's number on its machine, where there are GPUs."""
    import torch

    if not torch.cuda.is_available():
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        raise SettingsError(
            f"process {local} of this machine has no GPU: there are {torch.cuda.device_count()}; start as many "
            "processes as there are GPUs (torchrun --nproc-per-node gpu)"
        )
    torch.cuda.set_device(local)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        bucket.append(tensor)
        size += tensor.numel() * tensor.element_size()
        if size >= BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the network, in words that say what to do."""
    try:
        yield
    except RuntimeError as error:  # torch.distributed's errors are such
        reason = str(error).strip().partition("\n")[0]
        raise LostProcessError(
            f"another process of this run ended, or did not answer in time ({reason}); what was saved is whole: start "
            "the job again with --resume-from-checkpoint auto (torchrun --max-restarts does it by itself)"
        ) from error
