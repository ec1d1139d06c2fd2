"""Checkpoints: what is read is what was written, and every kind of damage has its named answer."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bertsmith.errors import FileFormatError, SettingsError
from bertsmith.training.checkpoint import SPARE, Checkpoint, Checkpoints, has_checkpoints

IDENTITY = {"task": {"name": "toy"}, "rate": 0.5}
TENSORS = {"model": {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}, "optimizer": {}}


class Kept:
    """Checkpoints in a folder, and what was said."""

    def __init__(self, folder: Path, limit: int = 2):
        self.notes: list[str] = []
        self.checkpoints = Checkpoints(folder, IDENTITY, limit, self.notes.append)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "run.checkpoints")
    with made.checkpoints:
        yield made


def save(kept: Kept, *steps: int) -> None:
    for step in steps:
        kept.checkpoints.save(step, {"value": 0.1 * step}, TENSORS)
    kept.checkpoints.wait()


def names(kept: Kept) -> list[str]:
    """Of what lies there, but for the hidden room of the next checkpoint."""
    return sorted(entry.name for entry in kept.checkpoints.folder.iterdir() if entry.name != SPARE)


def newest(kept: Kept) -> Checkpoint:
    found = kept.checkpoints.newest()
    assert found is not None
    return found


def test_what_is_read_is_what_was_written(kept: Kept) -> None:
    assert kept.checkpoints.newest() is None
    save(kept, 3)
    found = newest(kept)
    assert found.step == 3
    assert found.state == {"value": 0.1 * 3}
    for name, tensor in TENSORS["model"].items():
        assert torch.equal(found.tensors["model"][name], tensor)
        assert found.tensors["model"][name].dtype == tensor.dtype
    folder = kept.checkpoints.folder / "step-00000003"
    mask = os.umask(0)
    os.umask(mask)
    assert {oct(file.stat().st_mode & 0o777) for file in folder.iterdir()} == {oct(0o666 & ~mask)}


def test_a_checkpoint_is_written_over_one_that_is_no_longer_kept(kept: Kept) -> None:
    save(kept, 1, 2, 3)
    spare = kept.checkpoints.folder / SPARE
    place = (spare / "model.safetensors").stat().st_ino
    save(kept, 4)
    assert (kept.checkpoints.folder / "step-00000004" / "model.safetensors").stat().st_ino == place
    assert newest(kept).step == 4
    assert torch.equal(newest(kept).tensors["model"]["a"], TENSORS["model"]["a"])
    assert names(kept) == ["lock", "step-00000003", "step-00000004"]


def test_a_file_with_a_second_name_is_not_written_over(kept: Kept, tmp_path: Path) -> None:
    save(kept, 1)
    copy = tmp_path / "mine.safetensors"
    copy.hardlink_to(kept.checkpoints.folder / "step-00000001" / "model.safetensors")
    before = copy.read_bytes()
    for step in (2, 3, 4):
        kept.checkpoints.save(step, {}, {"model": {"a": torch.full((2, 3), float(step))}, "optimizer": {}})
    kept.checkpoints.wait()
    assert copy.read_bytes() == before
    assert newest(kept).step == 4


def test_no_spare_checkpoint_stays_behind(tmp_path: Path) -> None:
    made = Kept(tmp_path / "run.checkpoints")
    with made.checkpoints:
        save(made, 1, 2, 3)
        assert (made.checkpoints.folder / SPARE).is_dir()
    assert names(made) == ["lock", "step-00000002", "step-00000003"]
    assert not (made.checkpoints.folder / SPARE).exists()
    (made.checkpoints.folder / SPARE).mkdir()  # a run that was killed
    with made.checkpoints:
        assert not (made.checkpoints.folder / SPARE).exists()


def test_values_are_copied_when_they_are_saved(kept: Kept) -> None:
    tensor = torch.zeros(1000)
    kept.checkpoints.save(1, {}, {"model": {"a": tensor}})
    tensor.fill_(7)
    kept.checkpoints.wait()
    assert not newest(kept).tensors["model"]["a"].any()


def test_the_newest_are_kept_and_damaged_ones_do_not_count(kept: Kept) -> None:
    save(kept, 1, 2, 3)
    assert names(kept) == ["lock", "step-00000002", "step-00000003"]
    (kept.checkpoints.folder / "step-00000003" / "model.safetensors").write_bytes(b"")
    save(kept, 4)
    assert names(kept) == ["lock", "step-00000002", "step-00000004"]


def flip(file: Path, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "model.safetensors", "optimizer.safetensors"])
def test_damage_is_named_and_the_checkpoint_before_is_taken(kept: Kept, name: str) -> None:
    """A flipped bit at both ends and in the middle, lengths of 0, 1, half and one less, and no file at all."""
    save(kept, 1, 2)
    file = kept.checkpoints.folder / "step-00000002" / name
    whole = file.read_bytes()
    size = len(whole)
    damages = [lambda bit=bit: flip(file, bit) for bit in (1, size * 4, size * 8 - 7)]
    damages += [lambda length=length: file.write_bytes(whole[:length]) for length in (0, 1, size // 2, size - 1)]
    damages.append(file.unlink)
    for damage in damages:
        damage()
        kept.notes.clear()
        assert newest(kept).step == 1
        assert len(kept.notes) == 1
        assert "passed over" in kept.notes[0]
        assert "step-00000002" in kept.notes[0]
        file.write_bytes(whole)
    assert newest(kept).step == 2


def test_every_bit_of_a_manifest_matters(kept: Kept) -> None:
    """But for white space, whose change leaves the values as they are."""
    save(kept, 1, 2)
    file = kept.checkpoints.folder / "step-00000002" / "manifest.json"
    whole = file.read_bytes()
    for bit in range(0, len(whole) * 8, 11):
        flip(file, bit)
        try:
            same = json.loads(file.read_bytes()) == json.loads(whole)
        except ValueError:
            same = False
        assert newest(kept).step == (2 if same else 1)
        file.write_bytes(whole)


def test_files_of_another_checkpoint_are_seen(kept: Kept) -> None:
    save(kept, 1)
    kept.checkpoints.save(2, {"value": 9}, {"model": {"a": torch.zeros(2, 3)}, "optimizer": {}})
    kept.checkpoints.wait()
    first, second = (kept.checkpoints.folder / f"step-0000000{step}" for step in (1, 2))
    shutil.copy(first / "state.json", second / "state.json")
    assert newest(kept).step == 1
    shutil.copy(first / "manifest.json", second / "manifest.json")
    assert newest(kept).step == 1
    assert "manifest is that of step 1" in kept.notes[-1]


def test_where_none_is_whole_nothing_begins(kept: Kept) -> None:
    save(kept, 1, 2)
    for step in (1, 2):
        (kept.checkpoints.folder / f"step-0000000{step}" / "manifest.json").write_text("{}")
    with pytest.raises(FileFormatError, match="none of its 2 checkpoints is whole"):
        kept.checkpoints.newest()


def test_what_another_run_made_is_refused_by_name(tmp_path: Path, kept: Kept) -> None:
    save(kept, 1)
    other = Checkpoints(kept.checkpoints.folder, {"task": {"name": "toy"}, "rate": 0.25}, 2, print)
    with pytest.raises(SettingsError, match=r"rate was 0\.5 there and is 0\.25 now"):
        other.newest()


def test_two_runs_at_once_are_refused_and_a_dead_one_s_lock_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "run.checkpoints"
    program = (
        "import os, sys; from pathlib import Path; from bertsmith.training.checkpoint import Checkpoints\n"
        "Checkpoints(Path(sys.argv[1]), {}, 2, print).__enter__(); os._exit(0)"
    )
    with Checkpoints(folder, {}, 2, print):
        refused = subprocess.run(
            [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False
        )
        assert f"process {os.getpid()} on" in refused.stderr
        assert "is training there now" in refused.stderr
    assert not folder.exists()
    assert subprocess.run([sys.executable, "-c", program, str(folder)], check=False).returncode == 0
    with Checkpoints(folder, {}, 2, print):
        assert not has_checkpoints(folder)


def test_a_full_disk_is_told_and_earlier_checkpoints_stay(kept: Kept) -> None:
    save(kept, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal_before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        save(kept, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signal_before)
    assert "no checkpoint could be written: File too large" in kept.notes[0]
    assert names(kept) == ["lock", "step-00000001"]
    save(kept, 3)
    assert newest(kept).step == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB in memory, where the rights allow one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("no right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_without_room_is_told_and_training_goes_on_when_there_is_some_again(small_disk: Path) -> None:
    kept = Kept(small_disk / "run.checkpoints")
    with kept.checkpoints:
        save(kept, 1)
        (small_disk / "other").write_bytes(bytes(40 << 10))
        save(kept, 2)
        assert "No space left on device: free some space; training goes on" in kept.notes[0]
        assert newest(kept).step == 1
        (small_disk / "other").unlink()
        save(kept, 3)
        assert newest(kept).step == 3
        assert len(kept.notes) == 1


def test_a_disk_that_became_read_only_is_told(small_disk: Path) -> None:
    kept = Kept(small_disk / "run.checkpoints")
    with kept.checkpoints:
        save(kept, 1)
        # The lock's file is open for writing, as files are when a disk fails; a new mount over it is what can be made.
        subprocess.run(["mount", "--bind", small_disk, small_disk], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", small_disk], check=True)
        try:
            save(kept, 2)
        finally:
            subprocess.run(["umount", "-l", small_disk], check=True)
        assert "no checkpoint could be written: Read-only file system" in kept.notes[0]
        assert newest(kept).step == 1


def test_a_folder_that_was_removed_is_told(kept: Kept) -> None:
    save(kept, 1)
    shutil.rmtree(kept.checkpoints.folder)
    save(kept, 2)
    assert "no checkpoint could be written: No such file or directory" in kept.notes[0]


def test_what_a_dead_process_left_half_is_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "run.checkpoints"
    (folder / ".step-00000004.abcd").mkdir(parents=True)
    with Checkpoints(folder, {}, 2, print):
        assert [entry.name for entry in folder.iterdir()] == ["lock"]


def test_a_deletion_that_was_cut_off_leaves_nothing_that_looks_damaged(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(kept, 1, 2)
    monkeypatch.setattr(shutil, "rmtree", lambda *arguments, **options: None)
    kept.checkpoints.remove()
    monkeypatch.undo()
    assert not has_checkpoints(kept.checkpoints.folder)
    assert kept.checkpoints.newest() is None


def test_a_checkpoint_that_is_whole_is_not_written_again_and_a_damaged_one_is(kept: Kept) -> None:
    """A run that went on and is asked to stop before another step: at no moment is its checkpoint not there."""
    save(kept, 1, 2)
    file = kept.checkpoints.folder / "step-00000002" / "state.json"
    made = file.stat().st_ino
    newest(kept)
    save(kept, 2)
    assert file.stat().st_ino == made
    flip(file, 9)
    assert newest(kept).step == 1
    save(kept, 2)
    assert newest(kept).step == 2


def test_retention_does_not_count_what_was_found_damaged_though_of_full_size(kept: Kept) -> None:
    save(kept, 1, 2)
    flip(kept.checkpoints.folder / "step-00000002" / "model.safetensors", 700)
    assert newest(kept).step == 1
    save(kept, 3)
    assert names(kept) == ["lock", "step-00000001", "step-00000003"]


def test_going_on_from_an_earlier_one_keeps_it_and_drops_the_way_that_was_left(kept: Kept) -> None:
    save(kept, 500, 1000, 1500)
    kept.checkpoints.read(kept.checkpoints.folder / "step-00001000")
    save(kept, 1200)
    assert names(kept) == ["lock", "step-00001000", "step-00001200"]
    assert newest(kept).step == 1200


def test_whether_a_checkpoint_could_be_written_is_said(kept: Kept) -> None:
    assert kept.checkpoints.wait(), "there was nothing to write"
    shutil.rmtree(kept.checkpoints.folder)
    kept.checkpoints.save(1, {}, TENSORS)
    assert not kept.checkpoints.wait()


def test_metrics_that_are_no_number_do_not_stop_a_save(kept: Kept) -> None:
    kept.checkpoints.save(1, {"evaluations": [float("nan")]}, TENSORS)
    kept.checkpoints.wait()
    assert newest(kept).state["evaluations"][0] != newest(kept).state["evaluations"][0]
