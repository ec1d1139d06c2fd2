"""Models of every task, with random weights that always find something, and a server of them on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.files import sha256
from bertsmith.inference.predictor import load
from bertsmith.model.safe_weights import WEIGHTS
from bertsmith.tasks import TASKS

SCRIPT = "<img src=x onerror=document.title='broken'>"
"""A label and a text that a page must show as it is."""

_ROWS: dict[str, list[dict[str, Any]]] = {
    "classification": [{"text": "ba be", "label": label} for label in ("good", SCRIPT)],
    "multi_label": [{"text": "ba be", "label": label} for label in ("red", "red|green")],
    "regression": [{"text": "ba be", "label": label} for label in (0.5, 4.0)],
    "token_classification": [{"words": ["ba", "be", "bi"], "tags": ["B-A", "I-A", "B-B"]}],
    "question_answering": [
        {"question": "ba", "context": "be bi bo", "answers": {"text": ["bi"], "answer_start": [3]}},
    ],
}
"""What is learned of these is which labels there are: no `O`, and an answer to every question."""


def toy_artifact(folder: Path, name: str) -> Path:
    """The artifact of the task `name`, or of one of classification's kinds, in a folder of that name."""
    torch.manual_seed(0)
    kind = "classification" if name in ("multi_label", "regression") else name
    if name in _ROWS:
        task = TASKS[kind].from_dict({"problem_type": name} if kind != name else {}, "toy")
        examples = [task.example(row, f"row {place}") for place, row in enumerate(_ROWS[name])]
        task = task.fitted(examples).within(toy_config().max_position_embeddings)
    else:
        task = toy_task(name).task
    network = task.build(toy_config(initializer_range=0.5))
    save_artifact(folder / name, Artifact(task, network, toy_tokenizer()))
    return folder / name


@contextmanager
def toy_app(folders: list[Path], keys: Sequence[str] = (), **beside: Any) -> Iterator[Any]:
    """The application of the saved models, whose engine stops afterwards; beside: what `House` may hold beside them."""
    from bertsmith.serving.access import Access
    from bertsmith.serving.app import create_app
    from bertsmith.serving.engine import Engine
    from bertsmith.serving.limits import BatchSettings, LimitSettings
    from bertsmith.serving.measures import Measures
    from bertsmith.serving.served import House, Served

    limits = LimitSettings()
    engine = Engine(BatchSettings(), limits.max_queue_seconds)
    models = {
        folder.name: Served(folder.name, load(folder, device="cpu", precision="fp32"), sha256(folder / WEIGHTS))
        for folder in folders
    }
    try:
        yield create_app(House(models, engine, limits, Measures(), **beside), Access(keys))
    finally:
        engine.close()


NAMES = (*TASKS, "multi_label", "regression")


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The address of a real server of `app`, in a thread, on a free port of this machine alone."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass(frozen=True)
class ToyHit:
    document: str
    title: str
    text: str
    start: int
    end: int
    score: float
    metadata: dict[str, Any]
    bm25_rank: int | None = None
    dense_rank: int | None = None


@dataclass(frozen=True)
class ToyCitation:
    document: str
    title: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class ToyAnswer:
    answer: str | None
    score: float
    citation: ToyCitation | None
    hits: tuple[ToyHit, ...]
    candidates: tuple[Any, ...] = ()


@dataclass(frozen=True)
class ToyReply:
    text: str
    kind: str
    score: float | None
    conversation: str
    citation: ToyCitation | None = None


class ToyLibrary:
    """An index, a reader of it and an assistant, each as the routes ask them: by the words that a text shares.

    A question for a word that no document has is not answered, and handed over.
    """

    documents: ClassVar = {
        "hours": ("Hours \U0001f600", "\U0001f600 ba be. \U0001f600 bo bu do.", 2024),
        "fees": (SCRIPT, "da de.", 2020),
    }

    def search(self, queries: Sequence[str], *, limit: int = 10, filters: Any = None, **_: Any) -> list[list[ToyHit]]:
        return [self._hits(query, filters or {})[:limit] for query in queries]

    def ask(self, questions: Sequence[str], filters: Any = None) -> list[ToyAnswer]:
        return [self._answer(question, filters or {}) for question in questions]

    def reply(self, conversation: str | None, text: str) -> ToyReply:
        found = self._answer(text, {})
        kind = "handover" if found.answer is None else "answer"
        said = found.answer or "A colleague will write to you."
        return ToyReply(said, kind, found.score, conversation or "first", found.citation)

    def _hits(self, query: str, filters: dict[str, Any]) -> list[ToyHit]:
        words = set(query.split())
        hits = []
        for document, (title, text, year) in self.documents.items():
            shared = words & set(text.replace(".", "").split())
            if shared and filters.get("year", year) == year:
                hits.append(ToyHit(document, title, text[2:], 2, len(text), len(shared), {"year": year}, len(hits) + 1))
        return hits

    def _answer(self, question: str, filters: dict[str, Any]) -> ToyAnswer:
        hits = self._hits(question, filters)
        if not hits:
            return ToyAnswer(None, 0.2, None, ())
        start = hits[0].start + hits[0].text.rindex(" ") + 1
        word = self.documents[hits[0].document][1][start:-1]
        citation = ToyCitation(hits[0].document, hits[0].title, start, start + len(word), word)
        return ToyAnswer(word, 0.9, citation, tuple(hits))
