"""The description of the API, OpenAPI 3.1: made from the tasks' `Request` and `Prediction`, that it cannot differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from bertsmith.explain.explanation import EXPLAINERS
from bertsmith.serving.routes import MOST_FILLS, MOST_HITS, MOST_RANDOM, MOST_STEPS, ROUTES, Route, explain
from bertsmith.serving.served import House, Served

Schema = dict[str, Any]
REF = "#/components/schemas/{model}"

TEXT: Schema = {"type": "string"}
ASKED: Schema = {"type": "string", "pattern": r"\S", "description": "of an index or the assistant; not only spaces"}
TEXTS: Schema = {"type": "array", "items": TEXT, "minItems": 1}
DEADLINE: Schema = {"type": "integer", "minimum": 1, "description": "for an answer, in milliseconds"}
MODEL: Schema = {"type": "string", "description": "name of a model; the first one that fits unless given"}
INDEX: Schema = {"type": "string", "description": "name of an index; the first one unless given"}
FILTERS: Schema = {"type": "object", "description": "of the documents' metadata: a value, a list of them, or a range"}

FIXED: Mapping[str, Schema] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["type", "message", "index"],
                "properties": {
                    "type": TEXT,
                    "message": TEXT,
                    "index": {"type": ["integer", "null"], "description": "of the input at fault, from 0"},
                },
            }
        },
    },
    "ModelIdentity": {
        "type": "object",
        "required": ["name", "task", "sha256"],
        "properties": {"name": TEXT, "task": TEXT, "sha256": {**TEXT, "description": "of its weights"}},
    },
    "Truncation": {
        "type": "object",
        "required": ["num_cut_requests", "num_cut_tokens", "num_windowed_requests"],
        "properties": {
            "num_cut_requests": {"type": "integer"},
            "num_cut_tokens": {"type": "integer"},
            "num_windowed_requests": {"type": "integer"},
        },
    },
    "Timing": {
        "type": "object",
        "required": ["total_ms"],
        "properties": {
            "queue_ms": {"type": "number"},
            "inference_ms": {"type": "number"},
            "total_ms": {"type": "number"},
        },
    },
    "Usage": {"type": "object", "additionalProperties": {"type": "integer"}},
}


def _ref(name: str) -> Schema:
    return {"$ref": REF.format(model=name)}


def _object(properties: Mapping[str, Schema], required: tuple[str, ...] = (), *, closed: bool = False) -> Schema:
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if required:
        schema["required"] = list(required)
    return schema | ({"additionalProperties": False} if closed else {})


FACTS: Mapping[str, Schema] = {
    "model": _ref("ModelIdentity"),
    "truncation": _ref("Truncation"),
    "usage": _ref("Usage"),
    "timing": _ref("Timing"),
}
ORIGIN: Mapping[str, Schema] = {
    "models": {
        "type": "object",
        "additionalProperties": TEXT,
        "description": "SHA-256 of the weights of all that took part, by its role: encoder, reranker, reader, intents, "
        "faq (that encodes its questions), selector",
    },
    "truncation": _ref("Truncation"),
    "timing": _ref("Timing"),
}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


BODIES: Mapping[str, Schema] = {
    "/v1/embeddings": _object(
        {
            "input": {"anyOf": [TEXT, TEXTS]},
            "model": MODEL,
            "encoding_format": {"enum": ["float", "base64"]},
            "user": TEXT,
            "deadline_ms": DEADLINE,
        },
        ("input",),
        closed=True,
    ),
    "/similarity": _object(
        {"source": TEXT, "texts": TEXTS, "model": MODEL, "deadline_ms": DEADLINE}, ("source", "texts"), closed=True
    ),
    "/rerank": _object(
        {
            "query": TEXT,
            "documents": TEXTS,
            "top_n": {"type": "integer", "minimum": 1},
            "return_documents": {"type": "boolean"},
            "model": MODEL,
            "deadline_ms": DEADLINE,
        },
        ("query", "documents"),
        closed=True,
    ),
    "/tokenize": _object({"texts": TEXTS, "model": MODEL}, ("texts",), closed=True),
    "/fill-mask": _object(
        {
            "texts": TEXTS,
            "top_k": {"type": "integer", "minimum": 1, "maximum": MOST_FILLS},
            "model": MODEL,
            "deadline_ms": DEADLINE,
        },
        ("texts",),
        closed=True,
    ),
    "/search": _object(
        {
            "query": ASKED,
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST_HITS},
            "mode": {"enum": ["hybrid", "bm25", "dense"]},
            "filters": FILTERS,
            "rerank": {"type": "boolean"},
            "index": INDEX,
            "deadline_ms": DEADLINE,
        },
        ("query",),
        closed=True,
    ),
    "/ask": _object(
        {"question": ASKED, "filters": FILTERS, "index": INDEX, "deadline_ms": DEADLINE}, ("question",), closed=True
    ),
    "/chat": _object(
        {
            "text": ASKED,
            "conversation": {"type": ["string", "null"], "description": "of an earlier answer; null begins one"},
            "deadline_ms": DEADLINE,
        },
        ("text",),
        closed=True,
    ),
}
ANSWERS: Mapping[str, Schema] = {
    "/v1/models": _object(
        {
            "models": _list({"type": "object"}),
            "indexes": _list({"type": "object"}),
            "assistant": {"type": "boolean"},
            "explainers": _list(_object({"name": TEXT, "does": TEXT}, ("name", "does"))),
        },
        ("models", "indexes", "assistant", "explainers"),
    ),
    "/v1/embeddings": _object(
        {
            "object": {"const": "list"},
            "data": _list(
                _object(
                    {
                        "object": {"const": "embedding"},
                        "index": {"type": "integer"},
                        "embedding": {"anyOf": [_list({"type": "number"}), TEXT]},
                    }
                )
            ),
            "sha256": TEXT,
            **FACTS,
            "model": TEXT,
        },
        ("object", "data", "model", "usage"),
    ),
    "/similarity": _object({"similarities": _list({"type": "number"}), **FACTS}, ("similarities",)),
    "/rerank": _object(
        {
            "results": _list(
                _object(
                    {
                        "index": {"type": "integer"},
                        "relevance_score": {"type": "number"},
                        "document": _object({"text": TEXT}),
                    },
                    ("index", "relevance_score"),
                )
            ),
            **FACTS,
        },
        ("results",),
    ),
    "/tokenize": _object(
        {
            "tokens": _list(
                _list(
                    _object(
                        {
                            "id": {"type": "integer"},
                            "text": TEXT,
                            "start": {"type": "integer"},
                            "end": {"type": "integer"},
                        }
                    )
                )
            ),
            "model": _ref("ModelIdentity"),
            "timing": _ref("Timing"),
        },
        ("tokens",),
    ),
    "/fill-mask": _object(
        {
            "predictions": _list(
                _object({"fills": _list(_list(_object({"token": TEXT, "score": {"type": "number"}})))}, ("fills",))
            ),
            **FACTS,
        },
        ("predictions",),
    ),
    "/search": _object({"hits": _list({"type": "object"}), "index": TEXT, **ORIGIN}, ("hits", *ORIGIN)),
    "/ask": _object(
        {
            "answer": {"type": ["string", "null"], "description": "null: I don't know"},
            "score": {"type": "number"},
            "index": TEXT,
            **ORIGIN,
        },
        ("answer", "score", *ORIGIN),
    ),
    "/chat": _object({"text": TEXT, "conversation": TEXT, **ORIGIN}, ("text", "conversation", *ORIGIN)),
}
EXPLAINING: Mapping[str, Schema] = {
    "explainer": {"enum": list(EXPLAINERS)},
    "target": {**TEXT, "description": "what to explain, a label say; what the model predicts unless given"},
    "max_steps": {"type": "integer", "minimum": 1, "maximum": MOST_STEPS},
    "num_random": {"type": "integer", "minimum": 0, "maximum": MOST_RANDOM},
}
EXPLANATION = _object(
    {
        "words": _list(
            _object(
                {
                    "word": TEXT,
                    "score": {"type": "number"},
                    "start": {"type": "integer"},
                    "end": {"type": "integer"},
                    "text": {**TEXT, "description": "name of the text that start and end count in"},
                },
                ("word", "score", "start", "end", "text"),
            )
        ),
        "target": {"type": "object"},
        "faithfulness": {"type": "object"},
        "explainer": TEXT,
        "texts": _list(_object({"name": TEXT, "text": TEXT}, ("name", "text"))),
        "coverage": {"type": "object"},
        "attention": {"type": ["object", "null"], "description": "null of a model that keeps none"},
        "model": _ref("ModelIdentity"),
        "usage": _ref("Usage"),
        "timing": _ref("Timing"),
    },
    ("words", "target", "faithfulness", "model"),
)
REFUSALS = {
    "400": "no JSON, or JSON that is not taken",
    "401": "no key, or none that is known",
    "404": "nothing of that name here",
    "408": "the body took too long",
    "413": "too large",
    "415": "not of type application/json",
    "422": "an input is not what the model is asked with; its place is said",
    "429": "too many requests of one client",
    "500": "the server failed",
    "503": "too much waits, or the server is ending",
    "504": "not answered in time",
}


def describe(app: FastAPI, house: House) -> Schema:
    """The whole description; a path for each model that is served."""
    schemas: dict[str, Schema] = dict(FIXED)
    paths: dict[str, Schema] = {}
    for route in ROUTES:
        if "{name}" not in route.path:
            paths[route.path] = _operation(route, BODIES.get(route.path), ANSWERS[route.path])
            continue
        for served in house.models.values():
            body, answer = _of_task(route, served, schemas)
            paths[route.path.format(name=served.name)] = _operation(route, body, answer, served)
    info = {"title": app.title, "version": app.version, "description": app.description}
    security = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": info,
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": security},
        "security": [{}, {"key": []}],
    }


def _operation(route: Route, body: Schema | None, answer: Schema, served: Served | None = None) -> Schema:
    summary = (
        route.summary if served is None else f"{route.summary.removesuffix('.')}: {served.name} ({served.task_name})"
    )
    operation: Schema = {
        "summary": summary.removesuffix("."),
        "operationId": f"{route.endpoint.__name__}{'' if served is None else '_' + served.name}",
        "responses": {
            "200": {"description": "the answer", "content": {"application/json": {"schema": answer}}},
            **{
                status: {"description": text, "content": {"application/json": {"schema": _ref("Error")}}}
                for status, text in REFUSALS.items()
            },
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return {route.method.lower(): operation}


def _of_task(route: Route, served: Served, schemas: dict[str, Schema]) -> tuple[Schema, Schema]:
    """Body and answer of a model's own route; what they refer to is put into `schemas`."""
    task = served.predictor.task
    request = _schema_of(task.Request, "validation", schemas)
    if route.endpoint is explain:
        body = {"input": {"anyOf": [TEXT, request]}, **EXPLAINING, "deadline_ms": DEADLINE}
        return _object(body, ("input",), closed=True), EXPLANATION
    prediction = _schema_of(task.Prediction, "serialization", schemas)
    inputs = {"type": "array", "items": {"anyOf": [TEXT, request]}, "minItems": 1}
    body = _object({"inputs": inputs, "deadline_ms": DEADLINE}, ("inputs",), closed=True)
    answer = _object({"predictions": _list(prediction), **FACTS}, ("predictions", "model"))
    return body, answer


def _schema_of(kind: type, mode: Any, schemas: dict[str, Schema]) -> Schema:
    assert is_dataclass(kind)
    schema = TypeAdapter(kind).json_schema(mode=mode, ref_template=REF)
    for name, part in schema.pop("$defs", {}).items():
        schemas.setdefault(name, part)
    if mode == "validation":
        schema["additionalProperties"] = False
    schemas[kind.__name__] = schema
    return _ref(kind.__name__)
