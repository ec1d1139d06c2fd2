"""Where a model is: local places as they are, nothing fetched for what cannot be a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertsmith.errors import FileFormatError
from bertsmith.hub import resolve_folder


def test_a_folder_and_a_google_prefix_are_taken_as_they_are(tmp_path: Path) -> None:
    assert resolve_folder(tmp_path) == tmp_path
    (tmp_path / "bert_model.ckpt.index").write_bytes(b"")
    assert resolve_folder(str(tmp_path / "bert_model.ckpt")) == tmp_path / "bert_model.ckpt"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(FileFormatError, match="a file, expected the folder"):
        resolve_folder(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["/no/such/place", "./model", "a/b/c", "two words"])
def test_what_cannot_be_a_name_is_a_missing_folder(name: str) -> None:
    with pytest.raises(FileFormatError, match="no such folder"):
        resolve_folder(name)


def test_a_name_that_cannot_be_fetched_says_what_to_do() -> None:
    with pytest.raises(FileFormatError, match=r"Hugging Face hub gave no such model.*name a folder that holds"):
        resolve_folder("somebody/some-model-that-is-not-cached")
