"""The notebooks run from their first cell to their last in an empty folder, and find what was planted in their data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CELL_SECONDS = 1200
"""After which a cell is taken to hang; each takes some ten seconds."""


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *expressions: str) -> list[Any]:
    """Execute a notebook in `folder`; the values of the expressions after its last cell, as JSON has them."""
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):  # no profile of whoever runs the tests
        monkeypatch.setenv(variable, str(folder / ".jupyter"))
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    asked = f"import json\nprint(json.dumps([{', '.join(expressions)}]))"
    notebook.cells.append(nbformat.v4.new_code_cell(asked))
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=resources).execute()
    values: list[Any] = json.loads(notebook.cells[-1].outputs[0].text)
    return values


def test_every_notebook_is_run_here() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["explain", "probe_and_robustness", "translate"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_teaches_and_carries_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert text[0].source.startswith("# ")
    assert len(text) >= len(code) / 2


@pytest.mark.slow
def test_translate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact_match, free, led, by_beams, counted = run(
        "translate",
        tmp_path,
        monkeypatch,
        "exact_match.value",
        "[free.text, free.probabilities]",
        "[led.text, led.probabilities]",
        "[by_beams.finished, by_beams.score]",
        "filled['one two three', 10].text",
    )
    assert exact_match > 0.9
    assert free[0] == "neuf cent nonante-sept"
    assert min(free[1]) > 0.8
    assert led[0].startswith("neuf cent quatre")
    assert led[1][:3] == [1, 1, 1]
    assert by_beams[0]
    assert 0 < by_beams[1] < 1
    assert counted == "one two three four five six seven"


@pytest.mark.slow
def test_explain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracy, found_first, first, lowest, beaten, shape = run(
        "explain",
        tmp_path,
        monkeypatch,
        "accuracy",
        "found_first",
        "max(found.words, key=lambda word: word.score).word",
        "[lowest.word, lowest.score]",
        "held.beaten",
        "[*maps.by_head.shape, len(names)]",
    )
    assert accuracy > 0.95
    assert found_first["integrated_gradients"] > 0.9
    assert found_first["occlusion"] > 0.9
    assert first == lowest[0] == "splendid"
    assert lowest[1] < 0
    assert beaten > 0.8
    assert shape[:2] == [2, 2]
    assert shape[2] == shape[3]
    assert "How far to believe it" in (tmp_path / "why.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_probe_and_robustness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, table, preferred, before, after, failed = run(
        "probe_and_robustness",
        tmp_path,
        monkeypatch,
        "[[layer.accuracy.value, layer.selectivity.value] for layer in probed.layers]",
        "probed.baselines['most frequent tag of each word'].value",
        "{model: {name: one.value for name, one in found.items()} for model, found in preferred.items()}",
        "before",
        "after",
        "{folder: [one.num_failed for one in tests.values()] for folder, tests in checked.items()}",
    )
    embeddings, first, _ = layers
    assert embeddings[0] == pytest.approx(table, abs=0.01)  # it knows the word alone
    assert embeddings[0] < first[0] - 0.01
    assert embeddings[1] < 0
    assert preferred["bert"]["beside the verb"] > 0.9
    assert all(0.3 < accuracy < 0.7 for accuracy in preferred["one-step"].values())
    assert before["upper case"] == after["upper case"] == 0
    assert before["mistyped letters"] > after["mistyped letters"]
    assert failed["numbers"][0] == 0
    assert (tmp_path / "report" / "robustness.html").is_file()
