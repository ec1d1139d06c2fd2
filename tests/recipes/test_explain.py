"""The page of an explanation: nothing from elsewhere, nothing of the text taken for markup, every part there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.recipes.explain import ExplainSettings, explain_prediction
from bertsmith.tasks import TASKS


def saved(folder: Path, name: str) -> Path:
    torch.manual_seed(3)
    task = toy_task(name).task
    save_artifact(folder / name, Artifact(task, task.build(toy_config()), toy_tokenizer()))
    return folder / name


@pytest.mark.parametrize("name", list(TASKS))
def test_a_page_for_every_task(name: str, tmp_path: Path) -> None:
    request = toy_task(name).requests[2]
    fields = {field: getattr(request, field) for field in request.__slots__ if getattr(request, field) is not None}
    settings = ExplainSettings.of(
        {
            "folder": saved(tmp_path, name),
            "request": fields,
            "output_file": tmp_path / "why.html",
            "device": "cpu",
            "how": {"num_random": 2},
        }
    )
    report = explain_prediction(settings)
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    for section in ("In short", "The words", "How far to believe it", "Attention"):
        assert f"<h2>{section}</h2>" in page
    assert report.explanation.target.name.split()[0] in page
    assert not re.search(r"<script|<link|https?://(?!www\.w3\.org)", page)


def test_texts_are_no_markup(tmp_path: Path) -> None:
    text = 'ba <script>alert("be")</script> & bo'
    settings = {"folder": saved(tmp_path, "classification"), "output_file": tmp_path / "why.html", "device": "cpu"}
    explain_prediction(ExplainSettings.of(settings | {"request": {"text": text, "text_pair": "<b>ba</b>"}}))
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>ba" not in page
    assert "&lt;" in page
