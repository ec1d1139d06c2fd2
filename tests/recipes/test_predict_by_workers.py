"""Prediction by several workers: the file that one process writes, byte for byte, each row answered once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_models import toy_bert, toy_classifier, toy_reviews

from bertsmith.errors import DataError, SettingsError
from bertsmith.recipes.predict import PredictReport, PredictSettings, predict
from bertsmith.runtime.progress import Progress
from bertsmith.scale.shards import ShardError


class Heard(Progress):
    """Remembers which shards it heard of."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[tuple[int, int | None]] = []

    def __call__(self, phase: str, done: int, total: int | None = None) -> None:
        self.states.append((done, total))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    toy_classifier(
        folder / "run", toy_reviews(folder / "train.csv", 40, 0), model=toy_bert(folder / "bert"), max_steps=4
    )
    return folder / "run"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A table with a quoted newline and a ragged row, JSON lines, and texts; the first two long."""
    folder = tmp_path_factory.mktemp("requests")
    table = toy_reviews(folder / "table.csv", 9000, 1)
    table.write_text(table.read_text() + '"ba\nde",good,north\nragged\nba,bad,south\n')
    words = table.read_text().splitlines()[1:41]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"review": line.split(",")[0]}) for line in words))
    (folder / "texts.txt").write_text("\n\n".join(words))
    return [table, folder / "rows.jsonl", folder / "texts.txt"]


def run(
    classifier: Path, files: list[Path], output: Path, progress: Progress | None = None, **more: object
) -> PredictReport:
    values = {"folder": classifier, "file": files, "output_file": output, "errors": "skip", "precision": "fp32"}
    return predict(PredictSettings.of({**values, "device": "cpu", **more}), progress)


LOCAL = {"scale": {"on": "local", "num_workers": 2}}


def test_workers_write_the_file_of_one_process(classifier: Path, files: list[Path], tmp_path: Path) -> None:
    alone = run(classifier, files, tmp_path / "alone.jsonl")
    together = run(classifier, files, tmp_path / "together.jsonl", **LOCAL)
    assert (tmp_path / "together.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    assert alone.warnings == together.warnings != ()
    assert alone.num_requests == together.num_requests == 9002 + 40 + 79
    lines = [json.loads(line) for line in (tmp_path / "alone.jsonl").read_text().splitlines()]
    assert len({(line["file"], line["row"]) for line in lines}) == len(lines)
    assert lines[9001] | {"file": str(files[0]), "row": 9003} == lines[9001]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.jsonl", "together.jsonl"]


def test_any_cut_gives_the_same_file_where_batches_do_not_matter(
    classifier: Path, files: list[Path], tmp_path: Path
) -> None:
    few = {"batch_invariant": True, "shard_rows": 11, **LOCAL}
    run(classifier, files[1:], tmp_path / "alone.jsonl", batch_invariant=True)
    run(classifier, files[1:], tmp_path / "together.jsonl", **few)
    assert (tmp_path / "together.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


def test_a_bad_row_fails_its_shard_alone_and_a_mended_one_is_all_that_is_answered(
    classifier: Path, files: list[Path], tmp_path: Path
) -> None:
    rows, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    lines = files[1].read_text().splitlines()
    broken = [*lines[:25], lines[25][:-1], *lines[26:]]
    rows.write_text("\n".join(broken))
    few = {"errors": "error", "shard_rows": 10, **LOCAL}
    # The columns are found in the first rows: a bad one among them is told as ever, before any work.
    with pytest.raises(DataError, match=r"rows\.jsonl, line 26: not one JSON object"):
        run(classifier, [rows], output, **few)
    text = tmp_path / "texts.txt"
    text.write_bytes("\n".join(lines[:25]).encode() + b"\n\xff\n" + "\n".join(lines[26:]).encode())
    with pytest.raises(ShardError, match=r"1 of 4 shards failed(.|\n)*lines 21 to 30: .*line 26: invalid UTF-8"):
        run(classifier, [text], output, **few)
    assert not output.exists()
    text.write_text("\n".join(lines))
    heard = Heard()
    assert run(classifier, [text], output, heard, **few).num_requests == 40
    assert heard.states == [(4, 4)]
    assert [json.loads(line)["row"] for line in output.read_text().splitlines()] == list(range(1, 41))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"text": ["ba"], "file": ()}, "workers answer files, into a file"),
        ({"output_file": None}, "what is said of several files is written to one"),
        ({"output_format": "squad"}, "squad is written as a whole"),
    ],
)
def test_what_workers_cannot_do_is_said_at_once(
    classifier: Path, files: list[Path], tmp_path: Path, values: dict[str, object], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        run(classifier, files, tmp_path / "out.jsonl", **{**LOCAL, **values})
