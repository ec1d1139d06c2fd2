"""Files: whole or not at all, of ordinary modes, hashed, and read through any of the usual compressions."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.files import (
    atomic_file,
    atomic_folder,
    bare_suffix,
    open_bytes,
    read_json,
    recover_folder,
    refuse_to_replace,
    sha256,
    write_json,
)


class InterruptedWriteError(Exception):
    """Stands for whatever ends a write early."""


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        ("", lambda data: data),
        (".gz", gzip.compress),
        (".xz", lzma.compress),
        (".zst", lambda data: pyarrow.compress(data, "zstd", asbytes=True)),
    ],
)
def test_compressions_are_transparent(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    text = "Straße\n\n漢字\n".encode() * 1000
    path = tmp_path / f"text.txt{suffix}"
    path.write_bytes(compress(text))
    with open_bytes(path) as file:
        assert file.readline() == "Straße\n".encode()
        assert file.read() == text[len("Straße\n".encode()) :]
    assert bare_suffix(path) == ".txt"


@pytest.mark.parametrize("name", ["absent.txt", "absent.txt.gz", "absent.txt.zst"])
def test_an_absent_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=name):
        open_bytes(tmp_path / name)


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_json_there_and_back(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"名": [1, 2.5, None]})
    assert read_json(tmp_path / "x.json") == {"名": [1, 2.5, None]}
    assert "名" in (tmp_path / "x.json").read_text(encoding="utf-8")


def test_json_holds_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", float("nan"))


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"{", "not valid JSON"), (b"\xff", "not valid JSON"), (b"[1]", "found list"), (b"[" * 100_000, "not valid JSON")],
)
def test_bad_json_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=rf"x\.json.*{told}"):
        read_json(tmp_path / "x.json")


def test_a_file_appears_whole_and_of_ordinary_mode(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "file"
    with atomic_file(target) as temporary:
        temporary.write_text("text", encoding="utf-8")
        assert not target.exists()
    assert target.read_text(encoding="utf-8") == "text"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask


def test_an_interrupted_file_leaves_the_old_one_and_no_trace(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(InterruptedWriteError), atomic_file(target) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise InterruptedWriteError
    assert [(path.name, path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()] == [("file", "old")]


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as temporary:
        (temporary / "config.json").write_text("{}", encoding="utf-8")
        (temporary / "inner").mkdir()
        (temporary / "inner" / "x").write_text("x", encoding="utf-8")
        assert not target.exists()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "model",
        "model/config.json",
        "model/inner",
        "model/inner/x",
    ]


def test_an_existing_folder_keeps_its_other_files(tmp_path: Path) -> None:
    target = tmp_path / "model"
    (target / "inner").mkdir(parents=True)
    (target / "inner" / "old").write_text("old", encoding="utf-8")
    (target / "config.json").write_text("old", encoding="utf-8")
    (target / "log.txt").write_text("log", encoding="utf-8")
    with atomic_folder(target) as temporary:
        (temporary / "config.json").write_text("new", encoding="utf-8")
        (temporary / "inner").mkdir()
        (temporary / "inner" / "new").write_text("new", encoding="utf-8")
    assert (target / "config.json").read_text(encoding="utf-8") == "new"
    assert (target / "log.txt").read_text(encoding="utf-8") == "log"
    assert [path.name for path in (target / "inner").iterdir()] == ["new"]


def test_an_interrupted_folder_leaves_the_old_one_and_no_trace(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text("old", encoding="utf-8")
    with pytest.raises(InterruptedWriteError), atomic_folder(target) as temporary:
        (temporary / "config.json").write_text("half", encoding="utf-8")
        raise InterruptedWriteError
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (target / "config.json").read_text(encoding="utf-8") == "old"


def test_a_folder_that_holds_something_else_is_not_written_to(tmp_path: Path) -> None:
    markers = {"corpus.json": "a corpus"}
    refuse_to_replace(tmp_path / "new", markers)
    refuse_to_replace(tmp_path, markers)
    (tmp_path / "corpus.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"holds a corpus \(corpus\.json\); name another folder"):
        refuse_to_replace(tmp_path, markers)
    with pytest.raises(SettingsError, match=r"corpus\.json: a file is there"):
        refuse_to_replace(tmp_path / "corpus.json", markers)


@pytest.mark.parametrize("moment", ["renamed away", "replaced", "some moved", "before"])
def test_a_folder_whose_replacement_was_cut_off_is_made_whole(tmp_path: Path, moment: str) -> None:
    """At each moment of a replacement: the old model or the new one, with the logs that only the old one had."""
    path, old, fresh = tmp_path / "run", tmp_path / ".run.abcd1234.partial.old", tmp_path / ".run.abcd1234.partial"
    for folder, model in ((path, "old"), (fresh, "new")):
        folder.mkdir()
        (folder / "model").write_text(model)
    for name in ("logs", "notes"):
        (path / name).mkdir()
        (path / name / "lines").write_text(name)
    (tmp_path / ".runner.abcd1234.partial.old").mkdir()  # another folder's
    (tmp_path / ".run.settings").mkdir()  # the user's
    (tmp_path / "..run.abcd1234.partial.efgh5678.partial.old").mkdir()  # of a folder within the new one
    if moment != "before":
        path.rename(old)
    if moment in ("replaced", "some moved"):
        fresh.rename(path)
    if moment == "some moved":
        (old / "notes").rename(path / "notes")
    recover_folder(path)
    assert (path / "model").read_text() == ("old" if moment in ("renamed away", "before") else "new")
    assert [(path / name / "lines").read_text() for name in ("logs", "notes")] == ["logs", "notes"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        ".run.settings",
        ".runner.abcd1234.partial.old",
        "run",
    ]
