"""Real text in five scripts through three published vocabularies: equal to `transformers` and to plain Python."""

from __future__ import annotations

import csv
import functools
import io
import json
import lzma
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from reference_tokenizer import ReferenceTokenizer

from bertsmith.text.tokenizer import Tokenizer

VOCABULARIES = ["bert-base-uncased", "bert-base-cased", "bert-base-chinese"]
NUM_LINES = 20_000


def lines(path: Path) -> Iterator[str]:
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
        yield from (line.rstrip("\n") for line in file if line.strip())


def articles_and_questions(path: Path) -> Iterator[str]:
    for article in json.loads(lzma.decompress(path.read_bytes()))["data"]:
        for paragraph in article["paragraphs"]:
            yield paragraph["context"]
            yield from (entry["question"] for entry in paragraph["qas"])


def reviews(path: Path) -> Iterator[str]:
    text = lzma.decompress(path.read_bytes()).decode("utf-8")
    yield from (row["review"] for row in csv.DictReader(io.StringIO(text)))


@functools.cache
def real_text(data: Path) -> list[str]:
    """20,000 lines: English, Chinese, and every paragraph and question of XQuAD in Arabic, Hindi and Russian."""
    xquad = [
        text for code in ("ar", "hi", "ru") for text in articles_and_questions(data / f"qa/xquad/xquad.{code}.json.xz")
    ]
    chinese = list(islice(reviews(data / "zh_cls/waimai_10k.csv.xz"), 6_000))
    wiki = list(islice(lines(data / "text/wikitext-2/test.txt.xz"), 2_500))
    encyclopedia = lines(data / "text/enwiki2015/enwiki.part00.txt.xz")
    texts = xquad + chinese + wiki
    return texts + list(islice(encyclopedia, NUM_LINES - len(texts)))


def check(data: Path, vocabulary: str, texts: list[str], folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    lowercase = vocabulary != "bert-base-cased"
    (file,) = (data / "vocab").rglob(f"{vocabulary}-vocab.txt")
    (folder / "vocab.txt").write_bytes(file.read_bytes())
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase}))
    ours, theirs = Tokenizer.load(folder), transformers.BertTokenizer.from_pretrained(str(folder))
    reference = ReferenceTokenizer(ours.vocab, lowercase)
    options = {"return_offsets_mapping": True, "truncation": "longest_first", "max_length": 256}
    num_cut = 0
    for start in range(0, len(texts), 1000):
        batch = texts[start : start + 1000]
        pairs = [*batch[1:], batch[0]]
        for encodings, expected in (
            (ours.encode_batch(batch), theirs(batch, return_offsets_mapping=True)),
            (ours.encode_batch(batch[:300], pairs[:300], max_length=256), theirs(batch[:300], pairs[:300], **options)),
        ):
            assert [encoding.input_ids.tolist() for encoding in encodings] == expected["input_ids"]
            assert [encoding.token_type_ids.tolist() for encoding in encodings] == expected["token_type_ids"]
            offsets = [[tuple(span) for span in encoding.offsets.tolist()] for encoding in encodings]
            assert offsets == expected["offset_mapping"]
            num_cut += sum(encoding.num_cut_tokens for encoding in encodings)
        for text, ids in zip(batch, ours.pieces_batch(batch), strict=True):
            assert ids.tolist() == reference.encode(text), text
    assert num_cut > 0


@pytest.mark.shared
@pytest.mark.peers
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_some_real_text(shared: Path, tmp_path: Path, vocabulary: str) -> None:
    check(shared, vocabulary, real_text(shared)[::100], tmp_path)


@pytest.mark.shared
@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_twenty_thousand_lines_of_real_text(shared: Path, tmp_path: Path, vocabulary: str) -> None:
    texts = real_text(shared)
    assert len(texts) == NUM_LINES
    check(shared, vocabulary, texts, tmp_path)
