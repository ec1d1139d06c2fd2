"""Saved models behind HTTP until a signal ends it, as one function."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from bertsmith.artifact import load_artifact
from bertsmith.errors import SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.inference.together import predictors_of
from bertsmith.recipes.chat import open_assistant
from bertsmith.recipes.served_indexes import open_indexes
from bertsmith.runtime.device import PredictionPrecision
from bertsmith.runtime.progress import Progress
from bertsmith.search.encoder import TextEncoder, fingerprint
from bertsmith.serving.limits import BatchSettings, LimitSettings
from bertsmith.serving.uncertain import UncertainFile
from bertsmith.settings import Settings

if TYPE_CHECKING:
    from bertsmith.serving.served import House, Served

EXTRA = "serve needs packages of its own: pip install 'bertsmith[serve]'"


class ServeSettings(Settings):
    """One server."""

    folders: tuple[str, ...] = Field((), description="saved models; NAME=FOLDER gives one another name")
    index: tuple[str, ...] = Field(
        (), description="indexes to search in, and to ask where a reader is known; NAME=FOLDER gives one another name"
    )
    reader: Path | None = Field(
        None, description="model for question_answering; None: for each index the one that it was tuned with"
    )
    reranker: Path | None = Field(None, description="model for reranking, which puts the hits of indexes in order")
    assistant: Path | None = Field(None, description="settings of an assistant, as bertsmith chat takes them")
    host: str = Field("127.0.0.1", description="address to listen at; 0.0.0.0 for all of this machine's")
    port: int = Field(8000, ge=0, le=65_535, description="port to listen at; 0: a free one")
    api_keys_file: Path | None = Field(
        None, description="keys, one a line, that clients must show; None: those in BERTSMITH_API_KEYS, if any"
    )
    allow_open: bool = Field(False, description="listen beyond this machine though no keys are asked for")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: PredictionPrecision = Field(
        "auto", description="fp32, bf16 or int8; auto: bf16 where the machine has it"
    )
    batch_invariant: bool = Field(False, description="the same bits for a text whatever it is batched with")
    num_threads: int | None = Field(None, ge=1, description="that compute; None: one for each core")
    drain_seconds: float = Field(
        0.0, ge=0, description="from SIGTERM, while /readyz says no, until no new connections are taken"
    )
    log_requests: bool = Field(False, description="write a line for each request: route, status, time; never a text")
    keep_uncertain: Path | None = Field(
        None, description="file to which requests are written that a model was unsure of, for labelling"
    )
    uncertain_below: float = Field(0.7, gt=0, le=1, description="probability under which a decision counts as unsure")
    keep_texts: bool = Field(False, description="with their texts; else their lengths and hashes alone")
    uncertain_max_bytes: int = Field(100_000_000, ge=1, description="of that file; then no more are kept")
    limits: LimitSettings = LimitSettings()
    batch: BatchSettings = BatchSettings()


def serve(
    settings: ServeSettings, progress: Progress | None = None, ready: Callable[[str], None] = lambda address: None
) -> None:
    """Listen, load, and answer until SIGTERM or Ctrl-C; what was accepted by then is still answered.

    ready: hears the address when requests are taken. Raises `SettingsError` for an address that cannot be had, or that
    others reach while no keys are asked for.
    """
    try:
        from bertsmith.serving.access import Access, read_keys
        from bertsmith.serving.app import create_app
        from bertsmith.serving.run import listening
        from bertsmith.serving.run import serve as serve_app
    except ModuleNotFoundError as error:
        raise SettingsError(f"{EXTRA} ({error.name} is missing)") from None
    keys = read_keys(settings.api_keys_file)
    if not keys and not settings.allow_open and not _is_this_machine(settings.host):
        raise SettingsError(
            f"host: {settings.host} is reached from other machines, and no keys are asked for; name a file with keys "
            "(--api-keys-file), or say --allow-open"
        )
    if settings.log_requests:
        logging.basicConfig(format="%(asctime)s %(message)s")
        logging.getLogger("bertsmith").setLevel(logging.INFO)
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    with ExitStack() as stack:
        bound = stack.enter_context(listening(settings.host, settings.port))
        house = _house(settings, stack, progress or Progress())
        app = create_app(house, Access(keys, settings.limits.requests_per_second))
        serve_app(
            app,
            bound,
            deadline_seconds=settings.limits.deadline_seconds,
            drain_seconds=settings.drain_seconds,
            ready=ready,
        )


def _house(settings: ServeSettings, stack: ExitStack, progress: Progress) -> House:
    """Everything loaded; `stack` closes it."""
    from bertsmith.serving.engine import Engine
    from bertsmith.serving.measures import Measures
    from bertsmith.serving.served import House

    if not (settings.folders or settings.index or settings.assistant):
        raise SettingsError("serve needs a saved model, an --index or an --assistant")
    models = _models(settings, progress)
    indexes = open_indexes(
        dict(map(_named, settings.index)),
        _encoders(settings, models) if settings.index else {},
        reader=settings.reader,
        reranker=settings.reranker,
        device=settings.device,
        progress=progress,
    )
    assistant = None
    if settings.assistant is not None:
        assistant = open_assistant(settings.assistant, device=settings.device, progress=progress)
    measures = Measures()
    engine = Engine(settings.batch, settings.limits.max_queue_seconds, measures.batch)
    stack.callback(engine.close)
    measures.watch("bertsmith_waiting_tokens", "Tokens that wait for the model.", lambda: engine.waiting_tokens)
    keeps = _keeps(settings, stack)
    return House(
        {served.name: served for served in models},
        engine,
        settings.limits,
        measures,
        indexes.searchers,
        indexes.answerers,
        assistant,
        keeps,
    )


def _encoders(settings: ServeSettings, models: Sequence[Served]) -> dict[str, TextEncoder]:
    """Of the models that give vectors, by the hash by which an index knows its own."""
    found = {}
    for text, served in zip(settings.folders, models, strict=True):
        if served.predictor.embeds:
            encoder = TextEncoder.of(served.predictor, fingerprint(_named(text)[1], served.predictor))
            found[encoder.sha256] = encoder
    return found


def _keeps(settings: ServeSettings, stack: ExitStack) -> UncertainFile | None:
    if settings.keep_uncertain is None:
        return None
    keeps = UncertainFile(
        settings.keep_uncertain,
        below=settings.uncertain_below,
        keep_texts=settings.keep_texts,
        max_bytes=settings.uncertain_max_bytes,
    )
    stack.callback(keeps.close)
    return keeps


def _models(settings: ServeSettings, progress: Progress) -> list[Served]:
    from bertsmith.serving.served import Served

    if not settings.folders:
        return []
    named = [_named(text) for text in settings.folders]
    names = [name for name, _ in named]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"two models are called {name!r}; give one another name: OTHER={dict(named)[name]}")
    artifacts = []
    for name, folder in named:
        artifact = load_artifact(folder)
        progress.note(f"{name}: {artifact.task.name}, from {folder}")
        for note in artifact.record.get("notes", ()):
            progress.note(f"warning: {name}: {note}")
        artifacts.append(artifact)
    predictors = predictors_of(
        artifacts, device=settings.device, precision=settings.precision, batch_invariant=settings.batch_invariant
    )
    reopened = [partial(_as_saved, folder, settings.device) for _, folder in named]
    return [Served(*parts) for parts in zip(names, predictors, reopened, strict=True)]


def _as_saved(folder: Path, device: str) -> Predictor:
    """For explanations: the copies that predict have no gradients."""
    return Predictor.of(load_artifact(folder), device=device, precision="fp32")


def _named(text: str) -> tuple[str, Path]:
    """`NAME=FOLDER`, or a folder, whose name is then the model's."""
    name, is_given, folder = text.partition("=")
    if not is_given or Path(text).exists():
        name, folder = Path(text).resolve().name, text
    if not name or any(sign in name for sign in "/?#%{}\\") or not name.isprintable():
        raise SettingsError(f"{text}: {name!r} cannot stand in an address; give the model a name: NAME={folder}")
    return name, Path(folder)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
