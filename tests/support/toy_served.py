"""Models of every task, with random weights that always find something, an index, and a server on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.assistant.dialogue import Assistant
from bertsmith.assistant.transcripts import RememberedTranscripts
from bertsmith.inference.predictor import Predictor, load
from bertsmith.search.answer import Answerer, AnswerRule
from bertsmith.search.documents import Document
from bertsmith.search.encoder import TextEncoder
from bertsmith.search.index import Index
from bertsmith.search.searcher import Searcher, open_index
from bertsmith.tasks import TASKS
from bertsmith.tasks.question_answering import QuestionAnswering, QuestionAnsweringSettings

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
    models = {folder.name: Served(folder.name, load(folder, device="cpu", precision="fp32")) for folder in folders}
    try:
        yield create_app(House(models, engine, limits, Measures(), **beside), Access(keys))
    finally:
        engine.close()


NAMES = (*TASKS, "multi_label", "regression")


@contextmanager
def listening(app: Any, **options: Any) -> Iterator[str]:
    """The address of a real server of `app`, in a thread, on a free port of this machine alone; options: uvicorn's."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", **options))
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
class ToyLibrary:
    """An index, a reader of it with random weights that always finds something, and an assistant that asks both."""

    searcher: Searcher
    answerer: Answerer
    assistant: Assistant

    @classmethod
    def create(cls, folder: Path, documents: Sequence[Document], encoder: TextEncoder | None = None) -> Self:
        """Of the documents, in a new index in the folder."""
        with closing(Index.create(folder, toy_tokenizer(), encoder)) as index:
            index.upsert(documents, encoder)
        searcher = open_index(folder, encoder=encoder)
        torch.manual_seed(0)
        task = QuestionAnswering(QuestionAnsweringSettings(max_length=32))
        network = task.build(toy_config(initializer_range=0.5)).eval()
        reader = Predictor(task, network, toy_tokenizer(), "fp32", sha256="the reader's weights")
        answerer = Answerer(searcher, reader, AnswerRule(threshold=0.0))
        return cls(searcher, answerer, Assistant(RememberedTranscripts(), answerer=answerer))

    def beside(self, name: str) -> dict[str, Any]:
        """What `House` holds beside its models, the index under that name."""
        return {"searchers": {name: self.searcher}, "answerers": {name: self.answerer}, "converses": self.assistant}
