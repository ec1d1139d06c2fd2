"""Work cut into shards, each made once: committed with its hash, skipped by a later run. Knows no runner's machine.

A shard's folder appears by one rename with all its files and its marker, `done.json`: what made it (the settings, the
source) and the SHA-256 of every file. A marker that does not match in all of that counts for nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from bertsmith.errors import BertsmithError, DataError, FileFormatError
from bertsmith.files import PARTIAL, atomic_folder, read_json, sha256, take_lock, write_json
from bertsmith.runtime.interruption import InterruptedRunError, stoppable
from bertsmith.scale.runner import Outcome, Runner

DONE = "done.json"
LOCK = "lock"
_ERRORS_SHOWN = 5

Heard = Callable[[str, int, int | None], None]

Account = Mapping[str, Any]
"""What a shard's maker tells of it, as JSON."""


class ShardError(BertsmithError):
    """Some shards could not be made; the others are kept, and made no second time."""


@dataclass(frozen=True)
class Shard:
    """part: what its maker is given. source: of which input it is made, as JSON; what: the same for people."""

    part: Any
    source: Mapping[str, Any]
    what: str


@dataclass(frozen=True)
class Work:
    """make: writes the files of a part into a folder and gives the account. settings: what decides them, as JSON."""

    make: Callable[[Any, Path], Account]
    settings: Mapping[str, Any]
    shards: Sequence[Shard]


@dataclass(frozen=True)
class Made:
    """A shard that is done."""

    folder: Path
    account: Account


@dataclass(frozen=True)
class _Order:
    """A shard that is to be in a folder whose marker says `made_from`."""

    folder: Path
    made_from: Mapping[str, Any]
    shard: Shard


def shards_folder(output: Path) -> Path:
    """Where the shards of an output are until it is whole."""
    return output.with_name(f"{output.name}.shards")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within it no other run works in `folder`. Raises `SettingsError` where one does."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = take_lock(folder / LOCK, "working")
    try:
        yield
    finally:
        os.close(lock)


def work_off(work: Work, folder: Path, runner: Runner, progress: Heard | None = None) -> list[Made]:
    """Make the shards that are not in `folder` yet; all of them, in order. To be called within `locked`.

    `progress` hears the shards that are done. Raises `ShardError` that names those that failed, `InterruptedRunError`
    after a signal; what is done stays.
    """
    orders = [_order(work, place, folder) for place in range(len(work.shards))]
    for left in folder.glob(f".*{PARTIAL}*"):
        shutil.rmtree(left, ignore_errors=True)
    missing = [order for order in orders if _done(order) is None]
    for order in missing:
        shutil.rmtree(order.folder, ignore_errors=True)
    errors = _run(partial(_make, work.make), missing, len(orders), runner, progress)
    if errors:
        raise ShardError(_told(errors, len(orders), folder))
    return [Made(order.folder, read_json(order.folder / DONE)["account"]) for order in orders]


def refuse_empty(found: Iterable[tuple[Path, int]], what: str) -> None:
    """A `DataError` for an input that gave nothing in all its shards; found: of each shard its input, and how much."""
    totals: Counter[Path] = Counter()
    for path, number in found:
        totals[path] += number
    for path, total in totals.items():
        if not total:
            raise DataError(f"{path}: expected {what}, found none but what was skipped")


def _run(
    make: Callable[[_Order], None], missing: Sequence[_Order], num_shards: int, runner: Runner, progress: Heard | None
) -> list[tuple[Shard, str]]:
    """Each of the missing shards that failed, and why."""
    errors = []
    num_done = num_shards - len(missing)
    with stoppable(), closing(cast("Generator[Outcome[_Order]]", runner.run(make, missing))) as outcomes:
        try:
            for outcome in outcomes:
                if outcome.error is not None:
                    errors.append((outcome.item.shard, outcome.error))
                else:
                    num_done += 1
                if progress is not None:
                    progress("shards", num_done, num_shards)
        except InterruptedRunError as interrupted:
            raise InterruptedRunError(
                f"{interrupted}: {num_done:,} of {num_shards:,} shards are done; go on with the same command"
            ) from None
    return errors


def _told(errors: Sequence[tuple[Shard, str]], num_shards: int, folder: Path) -> str:
    lines = [f"{shard.what}: {error}" for shard, error in errors[:_ERRORS_SHOWN]]
    more = [f"... and {len(errors) - _ERRORS_SHOWN:,} more"] if len(errors) > _ERRORS_SHOWN else []
    kept = num_shards - len(errors)
    head = f"{len(errors):,} of {num_shards:,} shards failed; the other {kept:,} are kept in {folder}"
    return "\n".join([f"{head}, and the same command goes on with what is missing:", *lines, *more])


def _order(work: Work, place: int, folder: Path) -> _Order:
    """The shard's name holds its place, and what it is made from: the same plan gives the same names."""
    shard = work.shards[place]
    made_from = json.loads(json.dumps({"settings": dict(work.settings), "source": dict(shard.source)}))
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    return _Order(folder.resolve() / f"{place:06d}-{key[:16]}", made_from, shard)


def _make(make: Callable[[Any, Path], Account], order: _Order) -> None:
    """In a worker. Another one may have done it, and died before it could say so."""
    if _done(order) is not None:
        return
    try:
        with atomic_folder(order.folder) as temporary:
            account = make(order.shard.part, temporary)
            files = {file.name: sha256(file) for file in sorted(temporary.iterdir())}
            write_json(temporary / DONE, {**order.made_from, "files": files, "account": dict(account)})
    except OSError:
        if _done(order) is None:  # a worker that was thought dead came first
            raise


def _done(order: _Order) -> Account | None:
    """The account of a shard that is whole and made from the same, else None."""
    try:
        marker = read_json(order.folder / DONE)
        files, account = marker.pop("files"), marker.pop("account")
        is_whole = all(sha256(order.folder / name) == expected for name, expected in files.items())
    except (FileFormatError, OSError, KeyError, AttributeError):
        return None
    return account if is_whole and marker == order.made_from else None
