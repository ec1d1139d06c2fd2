"""Documents into an index, new or there already, as one function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from pydantic import Field

from bertsmith.data.lines import ErrorPolicy, Reading
from bertsmith.errors import SettingsError
from bertsmith.recipes.qdrant import make_collection
from bertsmith.runtime.interruption import stoppable
from bertsmith.runtime.progress import Progress
from bertsmith.search.documents import Document, read_documents
from bertsmith.search.encoder import TextEncoder
from bertsmith.search.graph import GraphSettings
from bertsmith.search.index import Index, Upserted
from bertsmith.search.passages import PassageSettings
from bertsmith.settings import Settings
from bertsmith.text.tokenizer import Tokenizer


class IndexSettings(Settings):
    """One change of an index."""

    documents: tuple[Path, ...] = Field(
        (), description="folders of .txt, .md and .html, or tables (.csv .tsv .jsonl .parquet) with a column text"
    )
    output_dir: Path | None = Field(
        None, description="folder of the index: a new one, or one that documents are put into"
    )
    qdrant_url: str | None = Field(
        None, description="Qdrant server that the index lies on instead, as http://localhost:6333, or a client's folder"
    )
    collection: str | None = Field(None, description="name of the index on the Qdrant server")
    model: Path | None = Field(
        None, description="model for embedding, of a new index or where it moved; None: a new index of words alone"
    )
    tokenizer: Path | None = Field(
        None, description="folder of the tokenizer that words are cut with; None: the model's"
    )
    delete: tuple[str, ...] = Field((), description="ids of documents to take out")
    build_graph: bool = Field(False, description="make the graph anew, however small the index is")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    errors: ErrorPolicy = Field("error", description="what to do with text that cannot be read: error, replace or skip")
    passages: PassageSettings = PassageSettings()
    graph: GraphSettings = GraphSettings()


@dataclass(frozen=True)
class IndexReport:
    """What was done, and what is there now. folder: or the collection's name on a Qdrant server."""

    folder: Path | str
    upserted: Upserted
    num_deleted: int
    num_documents: int
    num_passages: int
    has_graph: bool
    warnings: tuple[str, ...]


def index(settings: IndexSettings, progress: Progress | None = None) -> IndexReport:
    """Put documents into the index, those that changed in the place of their former selves.

    Cut off anywhere, the same call goes on; what is written is whole. Raises `SettingsError` for a model that is not
    the index's, `DataError` for documents that cannot be read.
    """
    progress = progress or Progress()
    if not (settings.documents or settings.delete or settings.build_graph):
        raise SettingsError("index needs documents, ids to --delete, or --build-graph")
    reading = Reading(settings.errors)
    documents = read_documents(settings.documents, reading)
    if settings.qdrant_url is not None or settings.collection is not None:
        return _on_qdrant(settings, documents, reading, progress)
    if settings.output_dir is None:
        raise SettingsError("index needs an --output-dir, or a --qdrant-url with a --collection")
    if Index.is_there(settings.output_dir):
        opened, encoder = _there(settings, settings.output_dir)
    else:
        # The first one is read before anything is made: a wrong path leaves no empty index behind.
        first = list(islice(documents, 1))
        documents = chain(first, documents)
        opened, encoder = _new(settings, settings.output_dir)
    with stoppable():
        num_deleted = opened.delete(settings.delete)
        upserted = opened.upsert(documents, encoder, progress)
    has_graph = _wants_graph(opened, settings)
    if has_graph:
        progress.note(f"making the graph of {opened.store.num_passages:,} passages")
        opened.build_graph()
    warnings = (*reading.notices(), *opened.notes, *_missing(settings.delete, num_deleted))
    report = IndexReport(
        settings.output_dir,
        upserted,
        num_deleted,
        opened.store.num_documents,
        opened.store.num_passages,
        has_graph,
        warnings,
    )
    opened.close()
    return report


def _on_qdrant(
    settings: IndexSettings, documents: Iterator[Document], reading: Reading, progress: Progress
) -> IndexReport:
    url, name = settings.qdrant_url, settings.collection
    if url is None or name is None:
        raise SettingsError("an index on a Qdrant server needs both --qdrant-url and --collection")
    for unused in ("output_dir", "tokenizer", "build_graph", "graph"):
        if unused in settings.model_fields_set:
            raise SettingsError(
                f"{unused}: not of an index on a Qdrant server, which has the model's pieces and its own graph"
            )
    passages = settings.passages if "passages" in settings.model_fields_set else None
    first = list(islice(documents, 1))
    opened = make_collection(url, name, settings.model, settings.device, passages)
    with stoppable():
        num_deleted = opened.delete(settings.delete)
        upserted = opened.upsert(chain(first, documents), progress)
    warnings = (*reading.notices(), *_missing(settings.delete, num_deleted))
    return IndexReport(name, upserted, num_deleted, opened.num_documents, opened.num_passages, True, warnings)


def _there(settings: IndexSettings, folder: Path) -> tuple[Index, TextEncoder | None]:
    opened = Index.open(folder)
    for name in ("passages", "graph"):
        asked, kept = (
            getattr(settings, name),
            getattr(opened, "passage_settings" if name == "passages" else "graph_settings"),
        )
        if name in settings.model_fields_set and asked != kept:
            raise SettingsError(f"{name}: of an index that is there they stay as they were made; make another index")
    if (
        settings.tokenizer is not None
        and Tokenizer.load(settings.tokenizer).fingerprint != opened.tokenizer.fingerprint
    ):
        raise SettingsError(f"tokenizer: {settings.tokenizer} is not the one that {folder} was made with")
    if not opened.has_vectors:
        if settings.model is not None:
            raise SettingsError(f"{folder}: made without a model; with one make another index")
        return opened, None
    if not settings.documents:
        return opened, None
    encoder = opened.load_encoder(settings.model)
    if settings.model is not None:
        opened.store.set_fact("encoder_folder", str(settings.model.resolve()))
    return opened, encoder


def _new(settings: IndexSettings, folder: Path) -> tuple[Index, TextEncoder | None]:
    if not settings.documents:
        raise SettingsError(f"{folder}: no index there; a new one needs documents")
    encoder = None if settings.model is None else TextEncoder.load(settings.model, device=settings.device)
    if settings.tokenizer is not None:
        tokenizer = Tokenizer.load(settings.tokenizer)
    elif encoder is not None:
        tokenizer = encoder.predictor.tokenizer
    else:
        raise SettingsError("a new index needs a --model for vectors, or a --tokenizer to search by words alone")
    made = Index.create(folder, tokenizer, encoder, settings.model, settings.passages, settings.graph)
    return made, encoder


def _wants_graph(opened: Index, settings: IndexSettings) -> bool:
    is_large = opened.store.num_passages >= opened.graph_settings.graph_from_passages
    return opened.has_vectors and (settings.build_graph or is_large)


def _missing(asked: Sequence[str], num_deleted: int) -> tuple[str, ...]:
    missing = len(set(asked)) - num_deleted
    return (f"{missing} of {len(set(asked))} documents to delete were not there",) if missing else ()
