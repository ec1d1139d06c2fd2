"""Documents on the command line: indexed, changed, searched, asked; and what is said of wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toys import toy_config, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.cli.main import main
from bertsmith.errors import SettingsError
from bertsmith.recipes.search import filters_of
from bertsmith.tasks.embedding import Embedding, EmbeddingSettings
from bertsmith.tasks.question_answering import QuestionAnswering, QuestionAnsweringSettings


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of documents and a tokenizer."""
    toy_tokenizer().save(tmp_path / "tokenizer")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Ka\n\nBa be bi.\n")
    (tmp_path / "docs" / "b.csv").write_text("id,text,year\nx,fa fe,2020\ny,fo fu ba,2024\n")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any, str]:
    """Exit code, the JSON that was printed, and what was said."""
    code = main([*map(str, arguments), "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def index(place: Path, *more: object) -> list[object]:
    return ["index", place / "docs", "--output-dir", place / "index", *more]


def test_documents_are_put_in_changed_and_taken_out(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, made, _ = run(capsys, *index(place, "--tokenizer", place / "tokenizer"))
    assert code == 0
    assert (made["num_documents"], made["upserted"]["num_added"]) == (3, 3)
    (place / "docs" / "a.md").write_text("# Ka\n\nBa be bo.\n")
    _, changed, _ = run(capsys, *index(place))
    counts = {"num_added": 0, "num_changed": 1, "num_unchanged": 2, "num_passages": 1, "num_cut_passages": 0}
    assert changed["upserted"] == counts
    _, deleted, _ = run(capsys, "index", "--delete", "x", "--delete", "nobody", "--output-dir", place / "index")
    assert (deleted["num_deleted"], deleted["num_documents"]) == (1, 2)
    assert deleted["warnings"] == ["1 of 2 documents to delete were not there"]


def test_a_file_that_cannot_be_read_stops_all_or_is_left_out(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "docs" / "a.txt").write_bytes("ba".encode("utf-16"))
    code, _, said = run(capsys, *index(place, "--tokenizer", place / "tokenizer"))
    assert (code, "a.txt: expected UTF-8 text, found UTF-16" in said) == (1, True)
    code, made, _ = run(capsys, *index(place, "--tokenizer", place / "tokenizer", "--errors", "skip"))
    assert (code, made["num_documents"]) == (0, 3)
    (warning,) = made["warnings"]
    assert "a.txt" in warning


def test_hits_are_narrowed_by_filters(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *index(place, "--tokenizer", place / "tokenizer"))
    _, found, _ = run(capsys, "search", place / "index", "ba")
    assert {hit["document"] for hit in found["results"][0]["hits"]} == {"a.md", "y"}
    assert found["models"] == {}, "by words alone"
    assert found["truncation"]["num_cut_tokens"] == 0
    assert found["results"][0]["hits"][0].keys() >= {"document", "title", "text", "start", "end", "score", "metadata"}
    _, found, _ = run(capsys, "search", place / "index", "ba", "--filter", "year=2024")
    assert [hit["document"] for hit in found["results"][0]["hits"]] == ["y"]


def test_what_is_left_out_of_a_long_query_is_said_in_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertsmith.search.searcher.MOST_QUERY_PIECES", 1)
    run(capsys, *index(place, "--tokenizer", place / "tokenizer"))
    _, found, said = run(capsys, "search", place / "index", "ba be")
    assert found["truncation"]["num_cut_tokens"] == 1
    assert "warning: 1 of 1 queries are longer than is read: 1 tokens were cut" in said.splitlines()


def test_a_blank_query_and_an_empty_index_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *index(place, "--tokenizer", place / "tokenizer"))
    code, _, said = run(capsys, "search", place / "index", " ")
    assert (code, "query: an empty text" in said) == (1, True)
    told = "no documents are in this index"
    for deleted, is_empty in ((["a.md", "x"], False), (["y"], True)):
        run(capsys, "index", *(f"--delete={id_}" for id_ in deleted), "--output-dir", place / "index")
        code, found, said = run(capsys, "search", place / "index", "xyz")
        assert (code, found["results"][0]["hits"], told in said) == (0, [], is_empty)


def test_a_question_without_a_reader_and_one_with_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *index(place, "--tokenizer", place / "tokenizer"))
    code, _, said = run(capsys, "ask", place / "index", "ba")
    assert code == 2
    assert "--reader" in said
    task = QuestionAnswering(QuestionAnsweringSettings(max_length=32))
    save_artifact(place / "reader", Artifact(task, task.build(toy_config()), toy_tokenizer()))
    code, answered, said = run(capsys, "ask", place / "index", "ba", "--reader", place / "reader")
    assert code == 0
    assert answered["models"].keys() == {"reader"}
    assert answered["answers"][0].keys() >= {"question", "answer", "score", "citation", "candidates", "hits"}
    assert "not fitted" in answered["warnings"][0]
    words = ["ask", place / "index", "ba", "--reader", place / "reader", "--filter", "year=2024", "--mode"]
    _, answered, _ = run(capsys, *words, "bm25")
    assert [hit["document"] for hit in answered["answers"][0]["hits"]] == ["y"]
    code, _, said = run(capsys, *words, "dense")
    assert (code, "dense needs vectors" in said) == (2, True)
    code, _, said = run(capsys, *words, "bm25", "--reranker", place / "reader")
    assert (code, "a model for reranking is expected" in said) == (2, True)


def test_an_index_on_qdrant_is_made_changed_and_searched(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("qdrant_client", reason="extra `qdrant`")
    task = Embedding(EmbeddingSettings(max_length=32))
    save_artifact(place / "model", Artifact(task, task.build(toy_config()), toy_tokenizer()))
    there = ["--qdrant-url", place / "server", "--collection", "docs"]
    code, _, said = run(capsys, "index", place / "docs", *there)
    assert code == 2
    assert "--model" in said
    code, made, _ = run(capsys, "index", place / "docs", *there, "--model", place / "model")
    assert (code, made["num_documents"], made["num_passages"], made["folder"]) == (0, 3, 3, "docs")
    (place / "docs" / "a.md").write_text("# Ka\n\nBa be bo.\n")
    _, changed, _ = run(capsys, "index", place / "docs", *there, "--delete", "x")
    assert (changed["upserted"]["num_changed"], changed["num_deleted"]) == (1, 1)
    query = ["search", "docs", "ba", "--qdrant-url", place / "server", "--filter", "year>=2024"]
    _, found, _ = run(capsys, *query)
    assert [hit["document"] for hit in found["results"][0]["hits"]] == ["y"]
    code, _, said = run(capsys, "search", "another", "ba", "--qdrant-url", place / "server")
    assert code == 1
    assert "no collection 'another'" in said


def test_a_filter_is_cut_at_its_first_sign() -> None:
    assert filters_of(("url=a?b>=c", "year<2020", "year>1999")) == {"url": "a?b>=c", "year": {"lt": 2020, "gt": 1999}}


@pytest.mark.parametrize("texts", [("year>=2020", "year=2021"), ("year=2021", "year>=2020")])
def test_a_value_and_a_border_of_one_name_are_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="'year' is asked for"):
        filters_of(texts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "{place}/docs"], "--output-dir"),
        (["index", "{place}/docs", "--collection", "docs"], "both --qdrant-url and --collection"),
        (["index", "{place}/docs", "--output-dir", "{place}/index"], "--tokenizer"),
        (["index", "{place}/nowhere", "--tokenizer", "{place}/tokenizer", "--output-dir", "{place}/i"], "no such file"),
        (["index", "{place}/docs", "--tokenizer", "{place}/tokenizer", "--output-dir", "{place}/docs"], "not empty"),
        (["index", "--output-dir", "{place}/index"], "needs documents"),
        (["search", "{place}/docs", "ba"], "no index there"),
        (["chat", "{place}/nowhere.toml", "ba"], "no such file"),
    ],
)
def test_what_is_wrong_is_said(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, _, said = run(capsys, *(argument.replace("{place}", str(place)) for argument in arguments))
    assert code in (1, 2)
    assert message in said
    assert not (place / "i" / "index.sqlite").exists()
