"""The endpoints: a function each, and the table of all of them. A new task needs none.

A function takes the house, the body and what hangs on the request, and returns the answer as JSON bytes.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from bertsmith.data.batch import Truncation
from bertsmith.explain.explanation import EXPLAINERS, ExplainerSettings
from bertsmith.explain.explanation import explain as explained
from bertsmith.inference.predictor import Predictor
from bertsmith.inference.together import with_settings
from bertsmith.search.provenance import Provenance
from bertsmith.search.vectors import normalized
from bertsmith.serving.bodies import (
    check_names,
    check_texts,
    flag_of,
    list_of,
    number_of,
    shown,
    text_of,
    texts_of,
)
from bertsmith.serving.errors import invalid, too_large, too_late
from bertsmith.serving.served import House, Outcome, Served, unless_long

Body: TypeAlias = Mapping[str, Any]
MOST_FILLS = 100
MOST_HITS = 1_000
LONGEST_ID = 200
MOST_STEPS, MOST_RANDOM, SHOWN_WORDS = 256, 20, 32
"""Of an explanation: gradients, random orders to compare with, and words whose attention is told."""


@dataclass(frozen=True)
class Asked:
    """One request as a route sees it. started: by the monotonic clock. model: what the path names, if it names one."""

    house: House
    body: Body
    started: float
    model: str | None = None

    @property
    def deadline(self) -> float:
        """Of the server, or an earlier one that the client asked for."""
        most = self.house.limits.deadline_seconds
        wanted = number_of(self.body, "deadline_ms", round(1000 * most), 1, max(1, round(1000 * most)))
        return self.started + wanted / 1000

    def timing(self, outcome: Outcome | None = None) -> dict[str, float]:
        parts = (
            {} if outcome is None else {"queue_ms": outcome.queue_seconds, "inference_ms": outcome.inference_seconds}
        )
        parts["total_ms"] = time.monotonic() - self.started
        return {name: round(1000 * seconds, 3) for name, seconds in parts.items()}


Endpoint: TypeAlias = Callable[[Asked], Awaitable[bytes]]


async def models(asked: Asked) -> bytes:
    house = asked.house
    return _json(
        {
            "models": [served.description() for served in house.models.values()],
            "indexes": [{"name": name, "answers": name in house.answerers} for name in house.searchers],
            "assistant": house.converses is not None,
            "explainers": [{"name": name, "does": explainer.does} for name, explainer in EXPLAINERS.items()],
        }
    )


async def predict(asked: Asked) -> bytes:
    served = asked.house.model(asked.model)
    check_names(asked.body, ("inputs", "deadline_ms"))
    inputs = list_of(asked.body, "inputs", asked.house.limits)
    outcome = await asked.house.answer(served, asked.house.requests(served, inputs), asked.deadline)
    predictions = served.answer.dump_json(outcome.predictions)
    return b'{"predictions":' + predictions + b"," + _json(_facts(asked, served, outcome))[1:]


async def explain(asked: Asked) -> bytes:
    """Which words made a model's answer to one input, and how far that can be believed."""
    house, body = asked.house, asked.body
    served = house.model(asked.model)
    check_names(body, ("input", "explainer", "target", "max_steps", "num_random", "deadline_ms"))
    if "input" not in body:
        raise invalid("input: expected what predict takes as one of its inputs, found nothing")
    check_texts([body.get("explainer"), body.get("target")], house.limits)
    names = {name: text_of(body, name) for name in ("explainer", "target") if body.get(name) is not None}
    numbers = {
        "max_steps": number_of(body, "max_steps", MOST_STEPS, 1, MOST_STEPS),
        "num_random": number_of(body, "num_random", 5, 0, MOST_RANDOM),
    }
    (request,) = house.requests(served, [body["input"]])
    (windows,) = await house.encoded(served, [request])
    num_tokens, most = sum(window.num_tokens for window in windows), house.limits.max_explained_tokens
    if num_tokens > most:
        raise too_large(f"{num_tokens:,} tokens, at most {most:,} are explained at once")
    settings = ExplainerSettings(**names, **numbers)
    deadline = asked.deadline

    def in_time() -> None:
        """Long work ends when nobody waits for it any more: others do."""
        if time.monotonic() > deadline:
            raise too_late()

    found = await house.done(
        lambda: explained(served.explained_by, request, settings, in_time), deadline, "explanation"
    )
    facts = {"model": served.identity, "usage": {"num_tokens": num_tokens}, "timing": asked.timing()}
    attention = found.strongest_attention(SHOWN_WORDS)
    return _json({**found.to_dict(), "attention": attention and attention.to_dict(), **facts})


async def embeddings(asked: Asked) -> bytes:
    """As OpenAI's, https://platform.openai.com/docs/api-reference/embeddings."""
    check_names(asked.body, ("input", "model", "encoding_format", "dimensions", "user", "deadline_ms"))
    house, body = asked.house, asked.body
    served = house.model(body.get("model"), "embedding")
    kind = body.get("encoding_format") or "float"
    if kind not in ("float", "base64"):
        raise invalid(f"encoding_format: expected float or base64, found {shown(kind)}")
    if body.get("dimensions") is not None:
        raise invalid("dimensions: this model's vectors are not shortened; leave it out")
    body = {**body, "input": [body["input"]]} if isinstance(body.get("input"), str) else body
    vectors, outcome = await _vectors(asked, served, texts_of(body, "input", house.limits))
    data = [
        {"object": "embedding", "index": place, "embedding": _base64(row) if kind == "base64" else row}
        for place, row in enumerate(vectors)
    ]
    usage = {"prompt_tokens": outcome.num_tokens, "total_tokens": outcome.num_tokens}
    facts = {**_facts(asked, served, outcome), "model": served.name, "sha256": served.predictor.sha256, "usage": usage}
    return _json({"object": "list", "data": data, **facts})


async def similarity(asked: Asked) -> bytes:
    """The cosine of one text and each of several."""
    check_names(asked.body, ("source", "texts", "model", "deadline_ms"))
    served = asked.house.model(asked.body.get("model"), "embedding")
    texts = [text_of(asked.body, "source"), *texts_of(asked.body, "texts", asked.house.limits)]
    vectors, outcome = await _vectors(asked, served, texts)
    rows = normalized(np.array(vectors, dtype=np.float32))
    similarities = (rows[1:] @ rows[0]).tolist()
    return _json({"similarities": similarities, **_facts(asked, served, outcome)})


async def rerank(asked: Asked) -> bytes:
    """A query's documents, the most relevant first."""
    check_names(asked.body, ("query", "documents", "top_n", "return_documents", "model", "deadline_ms"))
    house, body = asked.house, asked.body
    served = house.model(body.get("model"), "reranking")
    documents = texts_of(body, "documents", house.limits)
    top = number_of(body, "top_n", len(documents), 1, house.limits.max_items)
    record = {"query": text_of(body, "query"), "passages": documents}
    outcome = await house.answer(served, house.requests(served, [record]), asked.deadline)
    found = outcome.predictions[0]
    results: list[dict[str, Any]] = [
        {"index": place, "relevance_score": found.scores[place]} for place in found.ranking[:top]
    ]
    if flag_of(body, "return_documents"):
        results = [{**result, "document": {"text": documents[result["index"]]}} for result in results]
    return _json({"results": results, **_facts(asked, served, outcome)})


async def tokenize(asked: Asked) -> bytes:
    """The pieces of texts, as the model reads them, with their places in the text."""
    check_names(asked.body, ("texts", "model"))
    served = asked.house.model(asked.body.get("model"))
    texts = texts_of(asked.body, "texts", asked.house.limits)
    for place, text in enumerate(texts):
        check_texts(text, asked.house.limits, place)
    tokenizer, most = served.predictor.tokenizer, asked.house.limits.max_tokens_per_request

    def tokens() -> bytes:
        encodings = tokenizer.encode_batch(texts)
        if (num_tokens := sum(map(len, encodings))) > most:
            raise too_large(f"{num_tokens:,} tokens, at most {most:,} are taken at once")
        return to_json(
            [
                [
                    {"id": int(id_), "text": tokenizer.vocab[int(id_)], "start": int(start), "end": int(end)}
                    for id_, (start, end) in zip(encoding.input_ids, encoding.offsets, strict=True)
                ]
                for encoding in encodings
            ]
        )

    found = await unless_long(sum(map(len, texts)), tokens)
    return b'{"tokens":' + found + b"," + _json({"model": served.identity, "timing": asked.timing()})[1:]


async def fill_mask(asked: Asked) -> bytes:
    """What a pre-trained model would write for each [MASK]."""
    check_names(asked.body, ("texts", "top_k", "model", "deadline_ms"))
    house = asked.house
    served = house.model(asked.body.get("model"), "pretraining")
    texts = texts_of(asked.body, "texts", house.limits)
    num_fills = number_of(asked.body, "top_k", 5, 1, MOST_FILLS)
    served = Served(served.name, _filler(served.predictor, num_fills))
    outcome = await house.answer(served, house.requests(served, texts), asked.deadline)
    predictions = [{"fills": [list(map(asdict, fills)) for fills in found.fills]} for found in outcome.predictions]
    return _json({"predictions": predictions, **_facts(asked, served, outcome)})


async def search(asked: Asked) -> bytes:
    check_names(asked.body, ("query", "limit", "mode", "filters", "rerank", "index", "deadline_ms"))
    body = asked.body
    name, searcher = asked.house.beside("index to search in", asked.house.searchers, body.get("index"))
    query, limit = _query(asked, "query"), number_of(body, "limit", 10, 1, MOST_HITS)
    mode, filters, rerank_hits = body.get("mode"), _filters(asked), flag_of(body, "rerank")
    provenance = Provenance()
    asking = {"limit": limit, "mode": mode, "filters": filters, "rerank": rerank_hits, "provenance": provenance}
    (hits,) = await asked.house.done(lambda: searcher.search([query], **asking), asked.deadline)
    return _json({"hits": [asdict(hit) for hit in hits], "index": name, **_origin(asked, provenance)})


async def ask(asked: Asked) -> bytes:
    check_names(asked.body, ("question", "filters", "index", "deadline_ms"))
    name, answerer = asked.house.beside("index with a reader to ask", asked.house.answerers, asked.body.get("index"))
    question, filters = _query(asked, "question"), _filters(asked)
    provenance = Provenance()
    (answered,) = await asked.house.done(lambda: answerer.ask([question], filters, provenance), asked.deadline)
    return _json({**asdict(answered), "index": name, **_origin(asked, provenance)})


async def chat(asked: Asked) -> bytes:
    check_names(asked.body, ("text", "conversation", "deadline_ms"))
    _, converses = asked.house.beside("assistant", _named(asked.house.converses), None)
    text, conversation = _query(asked, "text"), asked.body.get("conversation")
    check_texts(conversation, asked.house.limits)
    if conversation is not None and not (isinstance(conversation, str) and 0 < len(conversation) <= LONGEST_ID):
        raise invalid(f"conversation: expected the one of an earlier answer, found {shown(conversation)}")
    provenance = Provenance()
    reply = await asked.house.done(lambda: converses.reply(conversation, text, provenance), asked.deadline)
    return _json({**asdict(reply), **_origin(asked, provenance)})


@dataclass(frozen=True)
class Route:
    """path: after the server's address. summary: a sentence for the description of the API."""

    path: str
    endpoint: Endpoint
    summary: str
    method: str = "POST"


ROUTES = (
    Route("/v1/models", models, "The models that are served, what they are asked and what they may answer.", "GET"),
    Route("/v1/models/{name}/predict", predict, "What a model says of each input."),
    Route("/v1/models/{name}/explain", explain, "Which words made an answer, and how far to believe that."),
    Route("/v1/embeddings", embeddings, "Texts as vectors, in OpenAI's shape."),
    Route("/similarity", similarity, "How alike a text and others are: the cosine of their vectors."),
    Route("/rerank", rerank, "Documents in the order of their relevance to a query."),
    Route("/tokenize", tokenize, "The pieces that a model reads of a text."),
    Route("/fill-mask", fill_mask, "Tokens for each [MASK] of a text."),
    Route("/search", search, "Passages of an index that suit a query."),
    Route("/ask", ask, "An answer from the documents of an index, with where it stands, or none."),
    Route("/chat", chat, "The assistant's reply to the next message of a conversation."),
)


def _facts(asked: Asked, served: Served, outcome: Outcome) -> dict[str, Any]:
    """What every answer of a model says beside its predictions."""
    return {
        "model": served.identity,
        "truncation": _truncation(outcome.truncation),
        "usage": {"num_tokens": outcome.num_tokens},
        "timing": asked.timing(outcome),
    }


def _origin(asked: Asked, provenance: Provenance) -> dict[str, Any]:
    """What every answer of an index or the assistant says beside it."""
    cut = _truncation(provenance.truncation)
    return {"models": provenance.models, "truncation": cut, "timing": asked.timing()}


def _truncation(cut: Truncation) -> dict[str, int]:
    return {
        "num_cut_requests": cut.num_cut_examples,
        "num_cut_tokens": cut.num_cut_tokens,
        "num_windowed_requests": cut.num_windowed_examples,
    }


async def _vectors(asked: Asked, served: Served, texts: Sequence[str]) -> tuple[list[tuple[float, ...]], Outcome]:
    requests = asked.house.requests(served, [{"text": text} for text in texts])
    outcome = await asked.house.answer(served, requests, asked.deadline)
    return [prediction.embedding for prediction in outcome.predictions], outcome


def _base64(row: Sequence[float]) -> str:
    values: NDArray[np.float32] = np.array(row, dtype="<f4")
    return base64.b64encode(values.tobytes()).decode()


@lru_cache(maxsize=MOST_FILLS)
def _filler(predictor: Predictor, num_fills: int) -> Predictor:
    return with_settings(predictor, num_fills=num_fills)


def _query(asked: Asked, name: str) -> str:
    """What an index or the assistant is asked, in the inference thread, which a long one would hold up for all."""
    text, most = text_of(asked.body, name), asked.house.limits.max_query_characters
    check_texts(text, asked.house.limits)
    if len(text) > most:
        raise too_large(f"{name}: {len(text):,} characters, at most {most:,} are taken here")
    return text


def _filters(asked: Asked) -> dict[str, Any] | None:
    filters = asked.body.get("filters")
    if filters is not None and not isinstance(filters, dict):
        raise invalid(f"filters: expected an object of names and values, found {shown(filters)}")
    check_texts(filters, asked.house.limits)
    return filters


def _named(converses: Any) -> dict[str, Any]:
    return {} if converses is None else {"assistant": converses}


def _json(values: Mapping[str, Any]) -> bytes:
    return to_json(values)
