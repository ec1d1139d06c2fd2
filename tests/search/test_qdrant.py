"""The index on Qdrant, in its local mode: the hits of the embedded one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from toy_search import DOCUMENTS

qdrant_client = pytest.importorskip("qdrant_client", reason="extra `qdrant`")

from bertsmith.errors import DataError, SettingsError  # noqa: E402
from bertsmith.search.documents import Document  # noqa: E402
from bertsmith.search.encoder import TextEncoder  # noqa: E402
from bertsmith.search.index import Index, Upserted  # noqa: E402
from bertsmith.search.passages import PassageSettings  # noqa: E402
from bertsmith.search.qdrant import QdrantIndex  # noqa: E402
from bertsmith.search.searcher import Searcher, open_index  # noqa: E402

SMALL = PassageSettings(passage_tokens=8, overlap_sentences=0)


@pytest.fixture
def client() -> Any:
    return qdrant_client.QdrantClient(":memory:")


@pytest.fixture
def index(client: Any, encoder: TextEncoder) -> QdrantIndex:
    made = QdrantIndex(client, "docs", encoder, SMALL)
    made.upsert(DOCUMENTS)
    return made


def searcher(index: QdrantIndex) -> Searcher:
    return Searcher(index, lambda: index.encoder)


def test_hits_by_meaning_are_those_of_the_embedded_index(
    index: QdrantIndex, encoder: TextEncoder, tmp_path: Any
) -> None:
    embedded = Index.create(tmp_path / "index", encoder.predictor.tokenizer, encoder, None, SMALL)
    embedded.upsert(DOCUMENTS, encoder)
    for filters in (None, {"lang": ["x", "y"]}, {"year": {"gte": 2021}}, {"is_new": True}):
        (found,) = searcher(index).search(["da de"], mode="dense", filters=filters)
        (known,) = open_index(embedded.folder, encoder=encoder).search(["da de"], mode="dense", filters=filters)
        assert [replace(hit, score=0.0) for hit in found] == [replace(hit, score=0.0) for hit in known]
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in known], abs=1e-5)


def test_words_are_found_by_the_rarest(index: QdrantIndex) -> None:
    (hits,) = searcher(index).search(["ba ga"], mode="bm25")
    assert {hit.document for hit in hits} == {"one", "three"}
    assert hits[0].document == "three"
    assert searcher(index).search(["xyz"], mode="bm25") == [[]]
    (hits,) = searcher(index).search(["ba ga"])
    assert hits[0].bm25_rank is not None


def test_documents_change_and_go(index: QdrantIndex) -> None:
    assert index.upsert(DOCUMENTS) == Upserted(num_unchanged=3)
    changed = index.upsert([Document("two", "Na ne ni."), Document("four", "La le.")])
    assert (changed.num_added, changed.num_changed) == (1, 1)
    assert index.document("two") == Document("two", "Na ne ni.")
    (hits,) = searcher(index).search(["fa na"], mode="dense", limit=50)
    assert [hit.text for hit in hits if hit.document == "two"] == ["Na ne ni."]
    assert index.delete(["two", "nobody"]) == 1
    assert index.document("two") is None


def test_a_change_that_was_cut_off_is_made_by_the_next_one(index: QdrantIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [Document("one", "Na ne ni. " * 6), Document("two", "Na ne. " * 6), Document("four", "La le. " * 9)]
    send, left = index.client.upsert, [0]

    def failing(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise ConnectionError("gone")
        return send(*arguments, **named)

    monkeypatch.setattr("bertsmith.search.qdrant.BATCH_POINTS", 2)
    left[0] = 1
    with monkeypatch.context() as patched:
        patched.setattr(index.client, "upsert", failing)
        with pytest.raises(SettingsError, match="gone"):
            index.upsert([Document("four", "Ga ge. " * 9)])
    for calls in range(4):  # of 7 for three documents; those that are whole are not sent again
        left[0] = calls
        with monkeypatch.context() as patched:
            patched.setattr(index.client, "upsert", failing)
            with pytest.raises(SettingsError, match="does not answer: gone"):
                index.upsert(changed)
    index.upsert(changed)
    changed[1] = Document("two", "Ga ge.")
    with monkeypatch.context() as patched:  # cut off between writing and taking out
        patched.setattr(index.client, "delete", lambda *_, **__: None)
        index.upsert(changed)
    assert index.upsert(changed).num_changed == 1
    assert index.upsert(changed) == Upserted(num_unchanged=3)
    (hits,) = searcher(index).search(["na"], mode="dense", limit=100)
    by_document = {document.id: document for document in [*changed, DOCUMENTS[2]]}
    assert index.num_passages == len(hits)
    assert all(by_document[hit.document].text[hit.start : hit.end] == hit.text for hit in hits)
    assert index.num_documents == 4


def test_what_does_not_fit_is_refused(index: QdrantIndex, client: Any, encoder: TextEncoder) -> None:
    with pytest.raises(SettingsError, match="another encoder"):
        QdrantIndex(client, "docs", TextEncoder(encoder.predictor, "another"), SMALL)
    with pytest.raises(SettingsError, match="other passages"):
        QdrantIndex(client, "docs", encoder, PassageSettings())
    assert QdrantIndex(client, "docs", encoder).passage_settings == SMALL
    with pytest.raises(DataError, match="borders for numbers alone"):
        searcher(index).search(["ba"], filters={"lang": {"gt": "a"}})
    with pytest.raises(DataError, match="two documents have the id"):
        index.upsert([Document("a", "ba"), Document("a", "be")])


def test_a_fact_that_no_document_has_is_told_of_few_documents(
    index: QdrantIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="filter 'yaer': no document has this fact; did you mean 'year'"):
        searcher(index).search(["ba"], filters={"yaer": 2024})
    assert searcher(index).search(["ba"], filters={"year": 1}) == [[]]
    monkeypatch.setattr("bertsmith.search.qdrant.MOST_LOOKED_AT", 2)
    assert searcher(index).search(["ba"], filters={"yaer": 2024}) == [[]]


def test_a_server_that_does_not_answer_is_named(encoder: TextEncoder) -> None:
    nobody = qdrant_client.QdrantClient(url="http://127.0.0.1:9", timeout=2, check_compatibility=False)
    with pytest.raises(SettingsError, match="Qdrant does not answer"):
        QdrantIndex(nobody, "docs", encoder)
