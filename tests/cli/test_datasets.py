"""`bertsmith datasets`: the list, one entry, and what lies in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertsmith.cli.main import main


def test_the_list_names_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "data sets"
    assert any(line.split("\t")[:4] == ["sst2", "classification", "accuracy", "train, test"] for line in lines)
    assert any(line.split("\t")[3] == "train, validation, test" for line in lines[2:])


def test_an_entry_with_the_files_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "RTE" / "dev.tsv"
    path.parent.mkdir()
    path.write_text("index\tsentence1\tsentence2\tlabel\n", encoding="utf-8")
    assert main(["datasets", "rte", "--data-dir", str(path.parent), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["task"], facts["files"]) == ("classification", {"test": str(path)})
    assert facts["task_settings"]["labels"] == ["entailment", "not_entailment"]
    assert main(["datasets", "rte"]) == 0
    assert "note: GLUE's test labels are secret" in capsys.readouterr().out


def test_a_name_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "sqad"]) == 2
    assert "no data set 'sqad'; did you mean 'squad'?" in capsys.readouterr().err
