"""Preparation by several workers: the corpus of one process, byte for byte, and nothing done twice."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toys import toy_text, toy_tokenizer

from bertsmith.data.corpus import Corpus
from bertsmith.errors import DataError
from bertsmith.recipes.prepare import PrepareReport, PrepareSettings, prepare
from bertsmith.scale.shards import ShardError


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A file of each format, some with what is skipped or divided."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    texts = [toy_text(rng, int(rng.integers(2, 9))).capitalize() + "." for _ in range(60)]
    files = {
        "sentences.txt": "\n".join(text + "\n" * (i % 4 == 0) for i, text in enumerate(texts)).encode(),
        "lines.txt": "\n".join(f"{text} {text}" for text in texts).encode() + b"\nbad \xff line. Ba be.\n",
        "wiki.txt": "".join(f'<doc id="{i}">\n{text}\n</doc>\n' for i, text in enumerate(texts)).encode(),
        "table.csv": ("review,n\n" + "".join(f'"{text}\n{text}",{i}\n' for i, text in enumerate(texts))).encode(),
        "rows.jsonl": "".join(f'{{"text": "{text}"}}\n' for text in texts).encode() + b'{"text": "\xe2\x80\x8b"}\n',
        "prose.txt": "\n\n".join("\n".join(texts[i : i + 5]) for i in range(0, 60, 5)).encode(),
        "packed.txt.gz": gzip.compress("\n".join(texts).encode(), mtime=0),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    toy_tokenizer().save(folder / "tokenizer")
    return [folder / name for name in files]


def run(
    texts: list[Path], output: Path, heard: Callable[[tuple[str, int, int | None]], None] | None = None, **more: object
) -> PrepareReport:
    values = {"files": texts, "tokenizer": texts[0].parent / "tokenizer", "output_dir": output, "errors": "skip"}
    settings = PrepareSettings.of({**values, "max_document_sentences": 3, **more})
    return prepare(settings, None if heard is None else lambda *state: heard(state))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def by_workers(**more: object) -> dict[str, object]:
    return {"scale": {"on": "local", "num_workers": 2}, "shard_bytes": 700, **more}


def test_workers_make_the_corpus_of_one_process(texts: list[Path], tmp_path: Path) -> None:
    alone, together = run(texts, tmp_path / "alone"), run(texts, tmp_path / "together", **by_workers())
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")
    assert alone.skipped == {"invalid UTF-8": 1, "sentence without tokens": 1}
    assert alone.divided
    for name in PrepareReport.__dataclass_fields__:
        assert getattr(alone, name) == getattr(together, name) or name == "seconds"
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["alone", "together"]


def test_a_bad_shard_is_named_and_once_mended_it_is_all_that_is_made(texts: list[Path], tmp_path: Path) -> None:
    bad, output = tmp_path / "lines.txt", tmp_path / "corpus"
    bad.write_bytes(texts[1].read_bytes())
    files = [texts[0], bad, *texts[2:]]
    with pytest.raises(ShardError, match=r"lines\.txt, lines \d+ to 61: .*lines\.txt, line 61: invalid UTF-8"):
        run(files, output, **by_workers(errors="error"))
    assert not output.exists()
    bad.write_bytes(bad.read_bytes().replace(b"\xff", b"ba"))
    heard: list[tuple[str, int, int | None]] = []
    run(files, output, heard.append, **by_workers(errors="error"))
    assert len(heard) == 1
    assert heard[0][1] == heard[0][2]
    run(files, tmp_path / "alone", errors="error")
    assert contents(output) == contents(tmp_path / "alone")


def test_text_that_is_all_skipped_is_refused_as_ever(tmp_path: Path, texts: list[Path]) -> None:
    path, tokenizer = tmp_path / "bad.txt", texts[0].parent / "tokenizer"
    path.write_bytes(b"\xff.\n\n" * 40)
    with pytest.raises(DataError, match=r"bad\.txt: expected text, found none"):
        run([path], tmp_path / "corpus", tokenizer=tokenizer, format="sentences", **by_workers(shard_bytes=20))
    assert not (tmp_path / "corpus").exists()


def test_an_earlier_corpus_is_replaced(texts: list[Path], tmp_path: Path) -> None:
    run(texts[:1], tmp_path / "corpus", **by_workers())
    run(texts[1:3], tmp_path / "corpus", **by_workers())
    assert [source["name"] for source in Corpus.open(tmp_path / "corpus").manifest.preparation["sources"]] == [
        "lines.txt",
        "wiki.txt",
    ]
