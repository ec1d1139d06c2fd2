"""Documents from folders, pages and tables; pages as their readers see them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.data.lines import Reading
from bertsmith.errors import DataError
from bertsmith.search.documents import Document, read_documents
from bertsmith.search.markup import Page, read_page


@pytest.mark.parametrize(
    ("html", "page"),
    [
        ("<title>Cups &amp; mugs</title><p>A mug\nholds <b>0.3</b>&nbsp;l.", Page("Cups & mugs", "A mug holds 0.3 l.")),
        ("<h1>Our <i>mugs</i></h1><p>One.</p><p>Two.", Page("Our mugs", "Our mugs\n\nOne.\n\nTwo.")),
        ("<head><style>p{}</style><script>if (a<b) x()</script></head>Hi<br/>there", Page("", "Hi\n\nthere")),
        ("<head><meta charset=x><p>No end of the head", Page("", "No end of the head")),
        ("<ul><li>a<li>b</ul><template>no<template>no</template>no</template>c", Page("", "a\n\nb\n\nc")),
        ("<table><tr><td>1</td><td>2</td></tr></table>", Page("", "1\n\n2")),
        ("<svg><title>No title</title></svg>a<!-- no -->b &lt;p&gt; 1 < 2", Page("", "ab <p> 1 < 2")),
        ("<svg path='x'/>a<iframe src=b></iframe>b<script>'<p>'</SCRIPT>c", Page("", "abc")),
        ("<p>今天<b>天气</b>很好。</p>", Page("", "今天天气很好。")),
        ("plain", Page("", "plain")),
        ("", Page("", "")),
    ],
)
def test_a_page_is_what_its_readers_see(html: str, page: Page) -> None:
    assert read_page(html) == page


@given(
    st.lists(st.sampled_from(["<p>", "</p>", "<", ">", "<head>", "</svg>", "<svg>", "a", "&#x;", "<!--", '"', "\n"]))
)
def test_no_page_is_too_broken(parts: list[str]) -> None:
    text = read_page("".join(parts)).text
    assert text == text.strip()


def test_a_folder_is_read_by_name_and_what_is_not_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    files = {
        "b/two.htm": "<title>Two</title>ba",
        "one.md": "# One\n\nba",
        "empty.txt": " \n",
        "photo.jpg": "",
        "notes.xml": "<a/>",
        ".git/hidden.txt": "no",
        ".hidden.txt": "no",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    reading = Reading()
    found = list(read_documents([tmp_path], reading))
    assert found == [Document("b/two.htm", "ba", "Two"), Document("one.md", "# One\n\nba", "One")]
    assert sorted(reading.skipped) == [
        "a file of another kind (.jpg)",
        "a file of another kind (.xml)",
        "a file without a text",
    ]
    assert list(read_documents([tmp_path / "b" / "two.htm"])) == [Document("two.htm", "ba", "Two")]


@pytest.mark.parametrize(("name", "message"), [("a.xml", "not a text"), ("a.docx", "not a text"), ("a", "no such")])
def test_what_is_no_document_is_refused(tmp_path: Path, name: str, message: str) -> None:
    if "." in name:
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match=message):
        list(read_documents([tmp_path / name]))


def test_what_cannot_be_read_stops_all_or_is_left_out_and_named(tmp_path: Path) -> None:
    files = {
        "a.txt": "ba be".encode("utf-16"),
        "b.txt": b"%PDF-1.7\n",
        "c.csv": b"id,words\n1,ba\n2,be\n",
        "d.jsonl": b'{"id": 1, "text": "ba"}\n{"id": 2, "word": "be"}\n',
        "e.txt.gz": b"no gzip",
        "f.parquet": b"no table",
        "g.csv": b"",
        "h.txt": b"Ba.",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "i.pdf").write_bytes(b"%PDF-1.7\n")
    reading = Reading("skip")
    found = list(read_documents([tmp_path, tmp_path / "i.pdf"], reading))
    assert found == [Document("1", "ba"), Document("h.txt", "Ba.")]
    unread = [kind for kind in reading.skipped if kind.startswith("a file that cannot be read")]
    for name, why in {"a.txt": "UTF-16", "b.txt": "a PDF", "e.txt.gz": "damaged", "f.parquet": "no Parquet"}.items():
        assert any(name in kind and why in kind for kind in unread)
    assert len(unread) == 6
    assert reading.skipped["a document without a text"] == 3
    for name in (*files, "i.pdf"):
        if name != "h.txt":
            with pytest.raises(DataError, match=name):
                list(read_documents([tmp_path / name]))
