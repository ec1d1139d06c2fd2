"""Documents: every format by worked examples, recognising them, limits, bad input."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.data.documents import Document, DocumentFormat, DocumentRules, find_format, read_documents
from bertsmith.data.lines import Reading
from bertsmith.errors import DataError

SENTENCES = "One is here.\nTwo is there.\n\nA new document.\nIt ends.\n"
LINES = "One is here. Two is there.\nA new document. It ends.\n"
FILES = "One is\nhere. Two is\nthere.\n\nA new\nparagraph without end\n\nIt ends.\n"
WIKI = '<doc id="1" title="A">\nOne is here. Two is there.\n\nThree.\n</doc>\n<doc id="2">\nIt ends.\n</doc>\n'
TABLE = "".join(
    json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(["One is here. Two is there.", "", "It ends."])
)


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def documents(path: Path, rules: DocumentRules | None = None, reading: Reading | None = None) -> list[list[str]]:
    return [document.sentences for document in read_documents([path], reading, rules)]


# File name, content, and the documents found without saying which format it is.
EXAMPLES = {
    "sentences": ("a.txt", SENTENCES, [["One is here.", "Two is there."], ["A new document.", "It ends."]]),
    "lines": ("a.txt", LINES, [["One is here.", "Two is there."], ["A new document.", "It ends."]]),
    "files": ("a.txt", FILES, [["One is here.", "Two is there.", "A new paragraph without end", "It ends."]]),
    "wiki": ("a.txt", WIKI, [["One is here.", "Two is there.", "Three."], ["It ends."]]),
    "table": ("a.jsonl", TABLE, [["One is here.", "Two is there."], ["It ends."]]),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_format_is_recognised_and_read(tmp_path: Path, name: DocumentFormat) -> None:
    file, content, expected = EXAMPLES[name]
    path = write(tmp_path / file, content)
    assert find_format(path).format == name
    assert documents(path) == expected
    assert documents(path, DocumentRules(format=name)) == expected
    assert documents(write(tmp_path / f"{file}.gz", gzip.compress(content.encode()))) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A heading\n\nA paragraph with one sentence.\n\nAnother paragraph.\n\n", "files"),
        ("First Citizen:\nBefore we proceed, hear\nme speak.\n\nAll:\nSpeak, speak.\n", "files"),
        ("今天很好。\n明天呢？\n\n新的文章。\n完了。\n", "sentences"),
        ("今天很好。明天呢？\n新的文章。完了。\n", "lines"),
        ("", "files"),
    ],
)
def test_recognising_less_tidy_files(tmp_path: Path, text: str, name: str) -> None:
    found = find_format(write(tmp_path / "a.txt", text))
    assert found.format == name
    assert found.reason


def test_documents_know_file_and_line(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.txt", "\n" + SENTENCES), write(tmp_path / "b.jsonl", TABLE)]
    heard = []
    found = list(read_documents(paths, on_format=lambda path, found: heard.append((path, found.format))))
    assert found[1] == Document(["A new document.", "It ends."], paths[0], 5)
    assert (found[-1].path, found[-1].line) == (paths[1], 3)
    assert heard == [(paths[0], "sentences"), (paths[1], "table")]


def test_long_documents_and_sentences_are_divided_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one two three four\nshort\nabcdefghijklmnopqrstuvwxyz\n\nnext\n")
    reading = Reading()
    rules = DocumentRules("sentences", max_sentence_characters=10, max_document_sentences=4)
    assert documents(path, rules, reading) == [
        ["one two", "three four", "short", "abcdefghij"],
        ["klmnopqrst", "uvwxyz"],
        ["next"],
    ]
    assert reading.divided == {"sentence": 2, "document": 1}


@given(st.text(st.sampled_from(list("ab ")), max_size=200), st.integers(1, 12), st.integers(1, 4))
def test_limits_hold_and_lose_no_letter(
    tmp_path_factory: pytest.TempPathFactory, text: str, characters: int, sentences: int
) -> None:
    path = write(tmp_path_factory.mktemp("documents") / "a.txt", f"x{text}\n")
    rules = DocumentRules("sentences", None, characters, sentences)
    found = documents(path, rules)
    assert all(1 <= len(document) <= sentences for document in found)
    assert all(1 <= len(sentence) <= characters for document in found for sentence in document)
    assert "".join(sentence for document in found for sentence in document).replace(" ", "") == f"x{text}".replace(
        " ", ""
    )


@pytest.mark.parametrize("data", [b"", b"\n \n\r\n", b"\xef\xbb\xbf\n"])
def test_a_file_without_text_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError, match=r"a\.txt: expected text, found none; read as 'files'"):
        documents(write(tmp_path / "a.txt", data))


def test_an_unknown_format_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown document format 'sentence'; did you mean 'sentences'"):
        documents(write(tmp_path / "a.txt", SENTENCES), DocumentRules(format="sentence"))  # type: ignore[arg-type]


def test_bad_lines_follow_the_policy(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"One is here.\nTwo \xff is there.\nThree is here.\n")
    with pytest.raises(DataError, match=r"a\.txt, line 2: invalid UTF-8"):
        documents(path)
    reading = Reading("skip")
    assert documents(path, None, reading) == [["One is here.", "Three is here."]]
    assert reading.skipped == {"invalid UTF-8": 1}


def test_rows_without_text_follow_the_policy(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "One."}\n{"text": null}\n{"other": "Two."}\n{"text": NaN}\n')
    with pytest.raises(DataError) as caught:
        documents(path)
    assert str(caught.value).count("no text in column 'text'") == 3
    reading = Reading("skip")
    assert documents(path, DocumentRules(text_column="text"), reading) == [["One."]]
    assert reading.skipped == {"no text in column 'text'": 3}


@pytest.mark.parametrize("name", ["sentences", "lines", "files", "wiki"])
def test_memory_is_bounded_by_no_document(tmp_path: Path, name: DocumentFormat) -> None:
    path = tmp_path / "a.txt"
    with path.open("w") as file:
        for _ in range(300):
            file.write("These are words of a document that does not end; " * 1000)
            file.write("\n" if name == "files" else " ")
    assert path.stat().st_size > 14 << 20
    rules = DocumentRules(name, max_document_sentences=100)
    tracemalloc.start()
    try:
        total = sum(len(s) for d in read_documents([path], Reading("replace", 1 << 20), rules) for s in d.sentences)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert total > 14 << 20


@pytest.mark.shared
def test_real_articles(shared: Path) -> None:
    reading = Reading()
    found = read_documents([shared / "text/enwiki2015/enwiki.part00.txt.xz"], reading)
    first = next(found)
    assert first.sentences[0].startswith("Anarchism is a political philosophy")
    assert len(first.sentences) > 100
    assert next(found).line > first.line
