from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from threading import Thread

import pytest

from bertsmith.errors import DataError, SettingsError
from bertsmith.serving.uncertain import UncertainFile, is_kept, read_kept
from bertsmith.tasks.classification import Classification, ClassificationSettings, LabelPrediction, TextRequest

TASK = Classification(ClassificationSettings(labels=("bad", "good")))


def offer(file: UncertainFile, text: str, score: float) -> None:
    prediction = LabelPrediction("good", score, {"good": score, "bad": 1 - score})
    file.offer("reviews", "ab12", TASK, [TextRequest(text)], [prediction])


def test_what_the_model_was_unsure_of_is_kept_without_texts(tmp_path: Path) -> None:
    file = UncertainFile(tmp_path / "kept.jsonl", below=0.7)
    offer(file, "a secret", 0.69)
    offer(file, "a sure thing", 0.7)
    file.close()
    assert "secret" not in (tmp_path / "kept.jsonl").read_text()
    (kept,) = read_kept(tmp_path / "kept.jsonl")
    assert (kept.model, kept.task, kept.predicted, kept.confidence, kept.below) == (
        "reviews",
        "classification",
        ("good",),
        0.69,
        0.7,
    )
    assert kept.num_characters == (8,)
    assert kept.request is None
    assert os.stat(tmp_path / "kept.jsonl").st_mode & 0o077 == 0


def test_with_texts_the_file_is_a_table_of_requests(tmp_path: Path) -> None:
    file = UncertainFile(tmp_path / "kept.jsonl", keep_texts=True)
    for text in ("ein Wörtchen", "lone \ud800 surrogate"):
        offer(file, text, 0.5)
    file.close()
    rows = [json.loads(line) for line in (tmp_path / "kept.jsonl").read_bytes().splitlines()]
    assert [row["text"] for row in rows] == ["ein Wörtchen", "lone \ud800 surrogate"]
    assert "label" not in rows[0], "a guess must not be taken for a label"
    assert read_kept(tmp_path / "kept.jsonl")[0].request == {
        "text": "ein Wörtchen",
        "text_pair": None,
    }


def test_a_line_that_a_killed_process_left_half_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    first = UncertainFile(path)
    offer(first, "one", 0.5)
    first.close()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    second = UncertainFile(path)
    assert path.read_bytes() == whole
    offer(second, "two", 0.5)
    second.close()
    assert len(read_kept(path)) == 2
    path.write_bytes(b"half a line and nothing else")
    UncertainFile(path).close()
    assert path.read_bytes() == b""


def test_the_file_is_bounded_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = UncertainFile(tmp_path / "kept.jsonl", max_bytes=1000)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            offer(file, "text", 0.5)
    file.close()
    assert (tmp_path / "kept.jsonl").stat().st_size <= 1000
    assert file.num_kept + file.num_left_out == 20
    assert file.num_kept == len(read_kept(tmp_path / "kept.jsonl")) > 0
    assert len(caplog.records) == 1
    assert "1,000 bytes" in caplog.text


def test_a_disk_without_room_ends_the_keeping_and_no_request(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    file = UncertainFile(tmp_path / "kept.jsonl")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file._file)
    offer(file, "text", 0.5)
    assert (file.num_kept, file.num_left_out) == (0, 1)
    assert "no longer kept" in caplog.text
    os.close(full)
    file.close()


def test_lines_of_several_threads_stay_whole(tmp_path: Path) -> None:
    file = UncertainFile(tmp_path / "kept.jsonl", keep_texts=True)
    threads = [Thread(target=lambda n=n: [offer(file, f"{n} " * 200, 0.5) for _ in range(50)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close()
    kept = read_kept(tmp_path / "kept.jsonl")
    assert len(kept) == 200
    assert all(line.request is not None and len(set(line.request["text"].split())) == 1 for line in kept)


def test_two_processes_do_not_share_a_file(tmp_path: Path) -> None:
    file = UncertainFile(tmp_path / "kept.jsonl")
    with pytest.raises(SettingsError, match=r"keeping requests in kept\.jsonl"):
        UncertainFile(tmp_path / "kept.jsonl")
    file.close()
    UncertainFile(tmp_path / "kept.jsonl").close()


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "a", "label": "b"}\n')
    assert not is_kept(tmp_path / "texts.jsonl")
    assert not is_kept(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match=r"texts\.jsonl, line 1"):
        read_kept(tmp_path / "texts.jsonl")
