"""Searching: both ways and their fusion, filters, another encoder, changes while somebody searches."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_search import DOCUMENTS
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.data.batch import Truncation
from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.search.documents import Document, read_documents
from bertsmith.search.encoder import TextEncoder
from bertsmith.search.filters import conditions_of
from bertsmith.search.graph import GRAPH, RECORD, GraphSettings
from bertsmith.search.index import BATCH_DOCUMENTS, Index, Upserted, batches
from bertsmith.search.passages import PassageSettings
from bertsmith.search.provenance import Provenance
from bertsmith.search.searcher import Mode, fused, open_index
from bertsmith.tasks.embedding import Embedding, EmbeddingSettings
from bertsmith.text.tokenizer import Tokenizer

SMALL = PassageSettings(passage_tokens=8, overlap_sentences=0)


@pytest.fixture
def index(tmp_path: Path, encoder: TextEncoder) -> Iterator[Index]:
    made = Index.create(tmp_path / "index", toy_tokenizer(), encoder, None, SMALL)
    made.upsert(DOCUMENTS, encoder)
    yield made
    made.close()


def test_ranks_are_fused_as_by_hand() -> None:
    # 3 is first and second: 1/61 + 1/62 = 0.03252; 7 second and first, the same, and a higher number; 9 is third: 1/63.
    ranked = fused([[(3, 9.0), (7, 8.0), (9, 7.0)], [(7, 0.3), (3, 0.2)]])
    assert [number for number, _ in ranked] == [3, 7, 9]
    assert [score for _, score in ranked] == pytest.approx([1 / 61 + 1 / 62, 1 / 61 + 1 / 62, 1 / 63])


def test_a_hit_is_a_place_in_its_document(index: Index, encoder: TextEncoder) -> None:
    searcher = open_index(index.folder, encoder=encoder)
    texts = {document.id: document.text for document in DOCUMENTS}
    for mode in ("bm25", "dense", "hybrid"):
        (hits,) = searcher.search(["ba be"], mode=mode)
        assert hits
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(texts[hit.document][hit.start : hit.end] == hit.text for hit in hits)
    assert hits[0].bm25_rank is not None


def test_exact_search_is_the_product_of_all_vectors(index: Index, encoder: TextEncoder) -> None:
    (hits,) = open_index(index.folder, encoder=encoder).search(["da de di"], mode="dense")
    texts = [f"ka {hit.text}" if hit.title else hit.text for hit in hits]
    cosines = encoder.vectors(texts) @ encoder.vectors(["da de di"])[0]
    np.testing.assert_allclose([hit.score for hit in hits], cosines, atol=1e-5)
    assert len(hits) == index.store.num_passages


def test_filters_hold_for_every_way(index: Index, encoder: TextEncoder) -> None:
    searcher = open_index(index.folder, encoder=encoder)
    for mode in ("bm25", "dense", "hybrid"):
        (hits,) = searcher.search(["ba fa"], mode=mode, filters={"year": {"gte": 2020}, "lang": ["x", "y"]})
        assert {hit.document for hit in hits} == {"two", "three"}
    assert searcher.search(["ba"], filters={"lang": "nobody"}) == [[]]


def test_a_fact_that_no_document_has_is_told_where_it_finds_nothing(
    tmp_path: Path, index: Index, encoder: TextEncoder
) -> None:
    searcher = open_index(index.folder, encoder=encoder)
    for filters in ({"lnag": "x"}, {"year": 2024, "lnag": {"gt": 3}}):
        with pytest.raises(DataError, match="filter 'lnag': no document has this fact; did you mean 'lang'"):
            searcher.search(["ba", "be"], filters=filters)
    assert searcher.search(["ba"], filters={"lang": "x", "year": 2020}) == [[]], "no such document, but such facts"
    assert searcher.search(["xyz"], filters={"lang": "x"}, mode="bm25") == [[]]
    other = Index.create(tmp_path / "other", toy_tokenizer())
    searcher = open_index(other.folder)
    assert searcher.search(["ba"], filters={"lang": "x"}) == [[]], "documents may come"
    other.upsert([Document("a", "ba")])
    with pytest.raises(DataError, match="no document has this fact; they have none"):
        searcher.search(["ba"], filters={"lang": "x"})


def test_the_models_that_took_part_and_what_they_did_not_read_are_told(tmp_path: Path, encoder: TextEncoder) -> None:
    task = Embedding(EmbeddingSettings(max_length=16, truncation="head"))
    encoder = replace(encoder, predictor=replace(encoder.predictor, task=task))
    index = Index.create(tmp_path / "index", toy_tokenizer(), encoder)
    index.upsert(DOCUMENTS, encoder)
    toy = toy_task("reranking").task
    reranker = Predictor(toy, toy.build(toy_config()).eval(), toy_tokenizer(), "fp32", sha256="the reranker's")
    searcher = open_index(index.folder, encoder=encoder, reranker=reranker)

    def told(mode: Mode, **asked: Any) -> Provenance:
        found = Provenance()
        searcher.search(["ba", "ba " * 20], mode=mode, provenance=found, **asked)
        return found

    # Of 20 pieces and 2 special tokens, 16 are read.
    assert told("dense", rerank=False) == Provenance({"encoder": "its weights"}, Truncation(2, 1, 6))
    assert told("hybrid").models == {"encoder": "its weights", "reranker": "the reranker's"}
    assert told("dense", rerank=False, per_document=1).truncation == Truncation(2, 1, 6), "though asked again"
    assert told("bm25", rerank=False) == Provenance()
    with pytest.warns(UserWarning, match="1 of 2 queries are longer than is read: 6 tokens were cut"):
        searcher.search(["ba", "ba " * 20], mode="dense")


def test_of_a_long_query_the_first_pieces_are_searched_by_and_the_others_told(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertsmith.search.searcher.MOST_QUERY_PIECES", 3)
    searcher, told = open_index(index.folder), Provenance()
    long, short = searcher.search(["ba ba be \N{SNOWMAN} bo da de", "ba be bo"], mode="bm25", provenance=told)
    assert long == short
    assert long
    assert told.truncation == Truncation(2, 1, 2), "da and de; ba counts once, and what no vocabulary knows not at all"


def test_no_more_of_a_document_than_wanted(index: Index, encoder: TextEncoder) -> None:
    (hits,) = open_index(index.folder, encoder=encoder).search(["ba be bo da"], per_document=1)
    assert len({hit.document for hit in hits}) == len(hits) == 3


def test_a_document_of_many_passages_hides_no_other(tmp_path: Path, encoder: TextEncoder) -> None:
    index = Index.create(tmp_path / "index", toy_tokenizer(), encoder, None, SMALL)
    others = [Document("short", "Ba de di do du da de di."), Document("another", "Ba na ne ni.")]
    index.upsert([Document("long", "Ba be. " * 1200), *others], encoder)
    searcher = open_index(index.folder, encoder=encoder)
    for mode in ("bm25", "dense", "hybrid"):
        (hits,) = searcher.search(["ba be"], mode=mode, limit=3, per_document=1)
        assert {hit.document for hit in hits} == {"long", "short", "another"}


def test_what_is_there_already_is_not_written_again(index: Index, encoder: TextEncoder) -> None:
    revision = index.store.revision
    assert index.upsert(DOCUMENTS, encoder) == Upserted(num_unchanged=3)
    assert index.store.revision == revision
    changed = [Document("two", "Fa fe fi fo.", "", {"year": 2024, "lang": "x"}), Document("four", "Na ne ni.")]
    assert index.upsert([*DOCUMENTS[:1], *changed], encoder) == Upserted(1, 1, 1, 2)


def test_a_searcher_that_is_open_sees_changes(index: Index, encoder: TextEncoder) -> None:
    searcher = open_index(index.folder, encoder=encoder)
    assert {hit.document for hit in searcher.search(["na"], limit=50)[0]} == {"one", "two", "three"}
    index.upsert([Document("four", "Na ne ni.")], encoder)
    index.delete(["one"])
    for mode in ("dense", "hybrid"):
        assert {hit.document for hit in searcher.search(["na"], limit=50, mode=mode)[0]} == {"two", "three", "four"}
    assert searcher.search(["na"], mode="bm25")[0][0].document == "four"


def test_another_encoder_is_refused(index: Index, encoder: TextEncoder) -> None:
    other = TextEncoder(encoder.predictor, "another")
    with pytest.raises(SettingsError, match="made with another model"):
        open_index(index.folder, encoder=other)
    with pytest.raises(SettingsError, match="made with another model"):
        index.upsert(DOCUMENTS, other)


def test_chinese_is_found_by_its_characters(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"今天气很好明下雨。"])
    index = Index.create(tmp_path / "index", tokenizer)
    index.upsert([Document("晴", "今天天气很好。"), Document("雨", "明天下雨。"), Document("空", "很好。")])
    searcher = open_index(tmp_path / "index")
    assert searcher.search(["下雨"])[0][0].document == "雨"
    assert searcher.search(["气"])[0][0].document == "晴"
    with pytest.raises(SettingsError, match="made without a model; bm25 is there"):
        searcher.search(["下雨"], mode="dense")


def test_what_cannot_be_asked_is_said(index: Index, encoder: TextEncoder, tmp_path: Path) -> None:
    searcher = open_index(index.folder, encoder=encoder)
    with pytest.raises(SettingsError, match="did you mean 'dense'"):
        searcher.search(["ba"], mode="dens")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="no reranker"):
        searcher.search(["ba"], rerank=True)
    with pytest.raises(DataError, match="a list of queries"):
        searcher.search("ba")
    with pytest.raises(FileFormatError, match="no index there"):
        open_index(tmp_path)
    for query in ("", " \n"):
        with pytest.raises(DataError, match="query: an empty text"):
            searcher.search(["ba", query], mode="bm25")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (Document("", "ba"), "an id has"),
        (Document("a", " \n"), "its text is empty"),
        (Document("a", "ba \ud800"), "lone surrogate"),
        (Document("a", "ba", "", {"x": float("nan")}), "metadata 'x'"),
    ],
)
def test_documents_that_cannot_be_kept_are_refused(
    index: Index, encoder: TextEncoder, document: Document, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        index.upsert([document], encoder)
    assert index.store.num_documents == 3


def test_an_id_names_one_document(index: Index, encoder: TextEncoder) -> None:
    with pytest.raises(DataError, match="two documents have the id 'same'"):
        index.upsert([Document("same", "ba"), Document("same", "be")], encoder)
    assert index.store.num_documents == 3
    with pytest.raises(DataError, match="two documents have the id '0'"):
        index.upsert([Document(str(number % BATCH_DOCUMENTS), "ba") for number in range(BATCH_DOCUMENTS + 1)], encoder)
    assert index.store.num_documents == 3 + BATCH_DOCUMENTS, "the batches before it are written"


def test_both_places_of_an_id_are_told(tmp_path: Path, index: Index, encoder: TextEncoder) -> None:
    (tmp_path / "a.csv").write_text("id,text\none,ba\nb.txt,be\n")
    (tmp_path / "b.txt").write_text("bi")
    (tmp_path / "c.csv").write_text(f"id,text\n{'c' * 2_000},ba\n")
    where = re.escape(f"'b.txt': {tmp_path / 'a.csv'}, row 2 (line 3) and {tmp_path / 'b.txt'}; an id")
    with pytest.raises(DataError, match=where):
        index.upsert(read_documents([tmp_path / "a.csv", tmp_path / "b.txt"]), encoder)
    with pytest.raises(DataError, match=r"c\.csv, row 1 \(line 2\): document 'ccc"):
        index.upsert(read_documents([tmp_path / "c.csv"]), encoder)


def test_passages_that_the_encoder_cuts_are_told_once(
    tmp_path: Path, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Embedding(EmbeddingSettings(max_length=16, truncation="head"))
    encoder = replace(encoder, predictor=replace(encoder.predictor, task=task))
    monkeypatch.setattr("bertsmith.search.index.BATCH_DOCUMENTS", 2)
    index = Index.create(tmp_path / "index", toy_tokenizer(), encoder)
    documents = [Document(str(number), "ba " * (90 if number % 2 else 3)) for number in range(6)]
    with pytest.warns(UserWarning, match="3 of 6 passages were cut to the model's max_length") as told:
        done = index.upsert(documents, encoder)
    assert len(told) == 1
    assert done.num_cut_passages == 3


def many(number: int) -> list[Document]:
    rng = np.random.default_rng(number)
    words = toy_tokenizer().vocab[5:45]
    return [Document(f"{number}-{i}", " ".join(rng.choice(words, 6)), "", {"number": i}) for i in range(40)]


def test_the_graph_finds_what_exact_search_finds_also_what_came_later(tmp_path: Path, encoder: TextEncoder) -> None:
    pytest.importorskip("usearch")
    graph = GraphSettings(graph_from_passages=10)
    index = Index.create(tmp_path / "index", toy_tokenizer(), encoder, None, SMALL, graph)
    index.upsert(many(0), encoder)
    index.build_graph()
    index.upsert(many(1), encoder)
    index.delete(["0-3", "0-4"])
    exact = Index.create(tmp_path / "exact", toy_tokenizer(), encoder, None, SMALL)
    exact.upsert([*many(0)[:3], *many(0)[5:], *many(1)], encoder)
    with_graph, without = (open_index(folder.folder, encoder=encoder) for folder in (index, exact))
    for filters in (None, {"number": 99}):
        one, other = (s.search(["ba be bi", "na ne"], mode="dense", filters=filters) for s in (with_graph, without))
        assert [[hit.document for hit in hits] for hits in one] == [[hit.document for hit in hits] for hits in other]
    assert with_graph.index.memory.now().graph is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize("harm", ["flip", "cut", "gone", "record"])
def test_a_graph_that_is_damaged_is_told_and_passed_by(tmp_path: Path, encoder: TextEncoder, harm: str) -> None:
    pytest.importorskip("usearch")
    made = Index.create(
        tmp_path / "index", toy_tokenizer(), encoder, None, SMALL, GraphSettings(graph_from_passages=10)
    )
    made.upsert(many(0), encoder)
    expected = open_index(made.folder, encoder=encoder).search(["ba be"], mode="dense")
    made.build_graph()
    data = bytearray((made.folder / GRAPH).read_bytes())
    data[len(data) // 2] ^= 1
    match harm:
        case "flip":
            (made.folder / GRAPH).write_bytes(data)
        case "cut":
            (made.folder / GRAPH).write_bytes(data[: len(data) // 2])
        case "gone":
            (made.folder / GRAPH).unlink()
        case "record":
            (made.folder / RECORD).write_text("{")
    index = Index.open(made.folder)
    searcher = open_index(made.folder, encoder=encoder)
    assert searcher.search(["ba be"], mode="dense") == expected
    index.by_vectors(encoder.vectors(["ba"]), 3, [])
    assert (len(index.notes) == 1) == (harm != "gone")
    index.build_graph()
    assert (
        open_index(made.folder, encoder=encoder).search(["ba be"], mode="dense")[0][0].document
        == expected[0][0].document
    )


def test_searches_go_on_while_documents_and_graph_change(tmp_path: Path, encoder: TextEncoder) -> None:
    pytest.importorskip("usearch")
    graph = GraphSettings(graph_from_passages=10)
    index = Index.create(tmp_path / "index", toy_tokenizer(), encoder, None, SMALL, graph)
    index.upsert(many(0), encoder)
    searcher, seen, failures, is_over = open_index(index.folder, encoder=encoder), [0], [], threading.Event()

    def look() -> None:
        while not is_over.is_set():
            try:
                hits = searcher.search(["ba be"], limit=20)[0]
                assert len(hits) == 20
                seen[0] += 1
            except Exception as error:  # said below, in the thread that is watched
                failures.append(error)
                return

    thread = threading.Thread(target=look)
    thread.start()
    for number in range(1, 5):
        index.upsert(many(number), encoder)
        index.build_graph()
        index.delete([f"{number - 1}-{i}" for i in range(40)])
    while not seen[0]:
        assert thread.is_alive()
    is_over.set()
    thread.join()
    assert failures == []


def test_what_was_read_of_one_moment_stays_whatever_changes(index: Index, encoder: TextEncoder) -> None:
    query = encoder.vectors(["ba be"])
    with index.store.reading():
        held, chosen = index.memory.now(), index.store.numbers(conditions_of({"lang": "x"}))
    before = held.nearest(query, 3, chosen)
    index.delete(["two"])
    index.upsert([Document("four", "Na ne ni.")], encoder)
    assert {number for number, _ in index.by_vectors(query, 50, [])[0]}.isdisjoint(chosen.tolist())
    assert held.nearest(query, 3, chosen) == before


def test_a_searcher_that_is_open_takes_up_a_graph_that_is_made_later(tmp_path: Path, encoder: TextEncoder) -> None:
    pytest.importorskip("usearch")
    graph = GraphSettings(graph_from_passages=10)
    writer = Index.create(tmp_path / "index", toy_tokenizer(), encoder, None, SMALL, graph)
    writer.upsert(many(0), encoder)
    reader = Index.open(tmp_path / "index")
    [known] = reader.by_vectors(encoder.vectors(["ba be"]), 5, [])
    assert reader.memory.now().graph is None
    writer.build_graph()
    [found] = reader.by_vectors(encoder.vectors(["ba be"]), 5, [])
    assert [number for number, _ in found] == [number for number, _ in known]
    # The graph's scores come from products in another order than those of the whole matrix.
    assert [score for _, score in found] == pytest.approx([score for _, score in known], abs=1e-6)
    assert reader.memory.now().graph is not None
    assert reader.notes == []


def test_long_documents_are_written_few_at_a_time() -> None:
    documents = [Document(str(number), "x" * size) for number, size in enumerate([3, 5_000_000, 1, *[1] * 64])]
    assert [len(batch) for batch in batches(documents)] == [1, 1, 64, 1]
