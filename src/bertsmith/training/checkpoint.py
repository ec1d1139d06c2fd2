"""Checkpoints of a training run: written whole or not at all, checked before they are believed. Knows no network.

A checkpoint is a folder of safetensors and JSON. Its manifest, written last, holds the size and SHA-256 of every file;
the folder gets its name when all of it is on the disk. They lie beside the run's folder, in `NAME.checkpoints`, since
that folder is replaced as a whole whenever a better model is saved.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from bertsmith.errors import FileFormatError, SettingsError
from bertsmith.files import read_json, reason_of, sync, take_lock, umask
from bertsmith.model.safe_weights import safetensors_parts
from bertsmith.runtime.processes import processes
from bertsmith.training.tensor_files import Copies, Tensors, write_synced

MANIFEST = "manifest.json"
STATE = "state.json"
LOCK = "lock"
JOB = "job"
"""The file with the name of the launcher's job that writes there, which may start its processes many times."""
FORMAT_VERSION = 2
SPARE = ".step-spare"
"""A checkpoint that is no longer kept, whose files the next one is written over."""
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """step: optimizer steps done. state: everything else that is no tensor. tensors: by the name of their file."""

    step: int
    state: Mapping[str, Any]
    tensors: Mapping[str, Tensors]


def checkpoints_folder(output_dir: Path) -> Path:
    """Where the checkpoints of a run into `output_dir` lie."""
    return output_dir.with_name(f"{output_dir.name}.checkpoints")


def is_of_this_job(folder: Path) -> bool:
    """Whether another start of the launcher's job that this process belongs to has begun there."""
    job = processes().job
    try:
        return job is not None and (folder / JOB).read_text(encoding="utf-8") == job
    except OSError:
        return False


def has_checkpoints(folder: Path) -> bool:
    """Whether there are any, whole or not."""
    return bool(_steps_in(folder))


class Checkpoints:
    """Those of one run, in `folder`. A context: within it no other process writes there, and after it all are written.

    Of several processes of one run the first one reads and writes, for all of them.

    identity: what a checkpoint must have been made with to be this run's. limit: how many to keep. note: takes what a
    user should read. Raises `SettingsError` where another run has the folder, or where the processes of this one were
    given different things.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], limit: int, note: Callable[[str], None]):
        self.folder = folder
        self.identity: Mapping[str, Any] = json.loads(json.dumps(identity))
        self.limit = limit
        self.note = note
        self._group = processes()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._lock: int | None = None
        self._is_whole: dict[int, bool] = {}  # by step, of those that were written or read here
        self._copies: dict[str, Copies] = {}

    def __enter__(self) -> Self:
        first, *others = self._group.gather(self.identity)
        for rank, other in enumerate(others, start=1):
            if (found := difference(first, other)) is not None:
                name, theirs, ours = found
                raise SettingsError(
                    f"the processes of this run were given different things: {name} is {theirs!r} for process 0 and "
                    f"{ours!r} for process {rank}; each machine needs the same files and the same command"
                )
        self._group.from_first(self._open)
        return self

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = take_lock(self.folder / LOCK, "training")
        (self.folder / JOB).unlink(missing_ok=True)
        if self._group.job is not None:
            (self.folder / JOB).write_text(self._group.job, encoding="utf-8")
        for left in self.folder.glob(".step-*"):
            shutil.rmtree(left, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait()
        self._writer.shutdown()
        if self._lock is None:  # not the first process
            return
        shutil.rmtree(self.folder / SPARE, ignore_errors=True)
        os.close(self._lock)
        if not _steps_in(self.folder):  # a run too short to have any leaves nothing behind
            (self.folder / LOCK).unlink(missing_ok=True)
            if error is None or getattr(error, "is_common", False):  # else the launcher may start its job again
                (self.folder / JOB).unlink(missing_ok=True)
            _remove_if_empty(self.folder)

    def save(self, step: int, state: Mapping[str, Any], tensors: Mapping[str, Tensors]) -> None:
        """Copy everything now, write it in a second thread. A disk that is full is told, and training goes on."""
        if not self._group.is_first:
            return
        self.wait()
        copies = {name: self._copies.setdefault(name, Copies()).take(named) for name, named in tensors.items()}
        text = json.dumps(state)  # a metric may be NaN, which Python's JSON writes and reads
        self._writing = self._writer.submit(self._write, step, text, copies)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being written."""
        return self._writing is None or self._writing.done()

    def wait(self) -> bool:
        """Until what is being written is written, and whether it was. An error of the disk becomes a note."""
        writing, self._writing = self._writing, None
        if writing is None:
            return True
        try:
            writing.result()
            return True
        except OSError as error:
            self.note(
                f"warning: {self.folder}: no checkpoint could be written: {reason_of(error)}; "
                "training goes on, and earlier checkpoints are as they were"
            )
            return False

    def newest(self) -> Checkpoint | None:
        """The newest that is whole; a damaged one is named and passed over. None where there are none at all.

        Raises `FileFormatError` where there are some and none is whole, `SettingsError` where it is another run's.
        """
        return self._group.from_first(self._newest)

    def _newest(self) -> Checkpoint | None:
        self.wait()
        steps = _steps_in(self.folder)
        for step in reversed(steps):
            self._is_whole[step] = False
            try:
                found = self._read(self.folder / _name(step))
            except FileFormatError as error:
                self.note(f"warning: passed over: {error}")
            else:
                self._is_whole[step] = True
                return found
        if steps:
            raise FileFormatError(
                f"{self.folder}: none of its {len(steps)} checkpoints is whole, and training is not begun anew by "
                "itself: --overwrite-output-dir does that"
            )
        return None

    def read(self, folder: Path) -> Checkpoint:
        """Every file checked. Raises `FileFormatError` for a damaged checkpoint, `SettingsError` for another run's."""
        return self._group.from_first(lambda: self._read(folder))

    def _read(self, folder: Path) -> Checkpoint:
        if not folder.is_dir():
            raise FileFormatError(f"{folder}: no checkpoint there; name its folder, or auto for the newest one")
        contents = _read_whole(folder)
        manifest = json.loads(contents[MANIFEST])
        if (found := difference(manifest["identity"], self.identity)) is not None:
            name, theirs, ours = found
            raise SettingsError(
                f"{folder}: made by another run: {name} was {theirs!r} there and is {ours!r} now; go on with the "
                "settings that it began with, or begin anew with --overwrite-output-dir"
            )
        try:
            state = json.loads(contents[STATE])
            tensors = {
                name.removesuffix(".safetensors"): load_tensors(data)
                for name, data in contents.items()
                if name.endswith(".safetensors")
            }
        except (ValueError, SafetensorError) as error:
            raise FileFormatError(f"{folder}: {error}") from None
        return Checkpoint(int(manifest["step"]), state, tensors)

    def remove(self) -> None:
        """All of them: the run is over and its model saved."""
        if not self._group.is_first:
            return
        self.wait()
        for step in _steps_in(self.folder):
            _delete(self.folder / _name(step))

    def _write(self, step: int, state: str, tensors: Mapping[str, Tensors]) -> None:
        if self._is_whole.get(step):  # the one that the run went on from, asked to stop before another step
            return
        target = self.folder / _name(step)
        temporary = self._folder_for(target)
        try:
            files = {STATE: write_synced(temporary / STATE, [state.encode()])}
            for name, named in tensors.items():
                file = f"{name}.safetensors"
                files[file] = write_synced(temporary / file, safetensors_parts(named))
            manifest = {"format_version": FORMAT_VERSION, "step": step, "identity": self.identity, "files": files}
            sealed = manifest | {"sha256": _seal(manifest)}
            write_synced(temporary / MANIFEST, [json.dumps(sealed, indent=1).encode()])
            temporary.chmod(0o777 & ~umask())
            sync(temporary)
            if target.exists():  # a damaged one that was passed over
                _delete(target)
            temporary.rename(target)
            sync(self.folder)
            self._is_whole[step] = True
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._retire(step)

    def _folder_for(self, target: Path) -> Path:
        """Where a checkpoint is written before it has its name: the spare one, or a new folder."""
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=self.folder))
        with suppress(OSError):  # there is no spare one
            (self.folder / SPARE).rename(temporary)
            # Vouched for no longer; and a file that has a second name, in somebody's copy, is not to be written over.
            (temporary / MANIFEST).unlink(missing_ok=True)
            for file in temporary.iterdir():
                if file.stat().st_nlink > 1:
                    file.unlink()
        return temporary

    def _retire(self, newest: int) -> None:
        """Deletes the oldest beyond the limit, or leaves it as the spare one.

        Damaged ones do not count, and go too once a newer one is whole. Later ones than the newest are of a way that
        was left, for an earlier checkpoint or in a rollback: they go.
        """
        whole = 0
        for step in reversed(_steps_in(self.folder)):
            folder = self.folder / _name(step)
            is_good = step <= newest and self._is_whole.get(step, True) and _looks_whole(folder)
            if is_good and whole < self.limit:
                whole += 1
            elif is_good and not (self.folder / SPARE).exists():
                folder.rename(self.folder / SPARE)
            else:
                _delete(folder)


def _steps_in(folder: Path) -> list[int]:
    """Of the folders that have a checkpoint's name, rising."""
    if not folder.is_dir():
        return []
    found = (_NAME.fullmatch(entry.name) for entry in folder.iterdir())
    return sorted(int(match.group(1)) for match in found if match)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _read_whole(folder: Path) -> dict[str, bytes]:
    """The bytes of every file that the manifest vouches for, and its own."""
    manifest = read_json(folder / MANIFEST)
    if manifest.pop("sha256", None) != _seal(manifest):
        raise FileFormatError(f"{folder / MANIFEST}: damaged: its SHA-256 is not the one that was written down")
    if manifest["format_version"] != FORMAT_VERSION:
        raise FileFormatError(f"{folder}: written by another version of bertsmith")
    files = manifest["files"]
    if _name(manifest["step"]) != folder.name:
        raise FileFormatError(f"{folder}: its manifest is that of step {manifest['step']}")
    contents = {MANIFEST: json.dumps(manifest).encode()}
    for name, facts in files.items():
        file = folder / name
        try:
            data = file.read_bytes()
        except OSError as error:
            raise FileFormatError(f"{file}: {error.strerror or error}") from None
        if len(data) != facts["bytes"]:
            raise FileFormatError(f"{file}: {len(data):,} bytes, written were {facts['bytes']:,}")
        if hashlib.sha256(data).hexdigest() != facts["sha256"]:
            raise FileFormatError(f"{file}: damaged: its SHA-256 is not the one that was written down")
        contents[name] = data
    return contents


def _seal(manifest: Mapping[str, Any]) -> str:
    """The SHA-256 of a manifest's values, however they are laid out."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _looks_whole(folder: Path) -> bool:
    """Whether every file has its size: what retention asks, without reading gigabytes."""
    try:
        files = read_json(folder / MANIFEST)["files"]
        return all((folder / name).stat().st_size == facts["bytes"] for name, facts in files.items())
    except (FileFormatError, OSError, KeyError, TypeError, AttributeError):
        return False


def _delete(folder: Path) -> None:
    """Nameless first: a process that dies within leaves no half of a checkpoint that looks like a damaged one."""
    shutil.rmtree(folder.rename(folder.with_name(f".{folder.name}.gone")), ignore_errors=True)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


def difference(theirs: Any, ours: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """(dotted name, their value, our value) of the first place where two JSON values differ."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted({*theirs, *ours}):
            found = difference(theirs.get(key), ours.get(key), f"{name}.{key}" if name else key)
            if found is not None:
                return found
        return None
    return None if theirs == ours else (name, theirs, ours)
