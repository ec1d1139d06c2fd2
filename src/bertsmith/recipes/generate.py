"""Texts that a model writes, to sources or from nothing but their beginning, as one function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field

from bertsmith.artifact import Artifact, load_artifact, read_record
from bertsmith.errors import DataError, SettingsError
from bertsmith.files import atomic_file
from bertsmith.inference.predictor import Predictor
from bertsmith.metrics.generation import geometric_mean
from bertsmith.model.generation import GenerationSettings
from bertsmith.model.mask_predict import mask_predict
from bertsmith.model.networks import PretrainingNetwork
from bertsmith.recipes.predict import PredictReport, PredictSettings, predict
from bertsmith.recipes.prediction_files import json_lines
from bertsmith.runtime.progress import Progress
from bertsmith.tasks.pretraining import Pretraining
from bertsmith.tasks.seq2seq import Seq2Seq
from bertsmith.text.spacing import join_pieces
from bertsmith.text.tokenizer import Tokenizer


class WriteSettings(PredictSettings):
    """What is to be written to sources, and how."""

    generation: GenerationSettings = GenerationSettings()


class GenerateSettings(WriteSettings):
    """The same, or from nothing but a beginning."""

    method: Literal["seq2seq", "mask-predict"] = Field(
        "seq2seq", description="a model for seq2seq writes to a source; mask-predict: a pre-trained one fills blanks"
    )
    num_blanks: int | None = Field(
        None, ge=1, description="mask-predict: tokens to write after each text; None: fill the [MASK]s that are in it"
    )
    num_iterations: int = Field(10, ge=1, description="mask-predict: rounds; every round fills less of it anew")


@dataclass(frozen=True)
class FilledText:
    """text: with its blanks filled. score: the mean probability of what was filled in (geometric).

    tokens, probabilities: of what was filled in.
    """

    text: str
    score: float
    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]


def generate(settings: WriteSettings | Mapping[str, Any], progress: Progress | None = None) -> PredictReport:
    """Write as `settings` say: a report as of predictions, whose `text` is what was written.

    What is said of the generation is laid over what the model was saved with. Raises `SettingsError` for a model that
    does not write.
    """
    settings = settings if isinstance(settings, WriteSettings) else GenerateSettings.of(settings)
    if isinstance(settings, GenerateSettings) and settings.method == "mask-predict":
        return _by_mask_predict(settings, progress or Progress())
    name = read_record(settings.folder)["task"]["name"]
    if name != Seq2Seq.name:
        hint = "; a pre-trained model writes with --method mask-predict" if name == Pretraining.name else ""
        raise SettingsError(f"{settings.folder}: a model for {name}, which writes no texts{hint}")
    said = settings.generation.said()
    task = {**settings.task, **({"generation": said} if said else {})}
    said_of_all = settings.model_fields_set & set(PredictSettings.model_fields)
    plain = {name: getattr(settings, name) for name in said_of_all} | {"task": task}
    if len(settings.text) == 1 and settings.request:  # a text, and what else is said of its target
        plain |= {"text": (), "request": {"text": settings.text[0], **settings.request}}
    return predict(PredictSettings(**plain), progress)


def _by_mask_predict(settings: GenerateSettings, progress: Progress) -> PredictReport:
    if not settings.text:
        raise SettingsError("mask-predict writes to texts: give one or more, with [MASK]s, or --num-blanks")
    artifact = load_artifact(settings.folder)
    if not isinstance(artifact.task, Pretraining):
        raise SettingsError(
            f"{settings.folder}: a model for {artifact.task.name}; mask-predict needs a pre-trained one"
        )
    predictor = Predictor.of(artifact, device=settings.device, precision="fp32")
    written = []
    with progress.phase("writing", total=len(settings.text), unit="texts") as phase:
        for place, text in enumerate(settings.text, start=1):
            written.append(_filled(artifact, predictor, text, settings, f"text {place}"))
            phase.advance(1)
    rows = tuple(range(1, len(written) + 1))
    if settings.output_file is not None:
        records = ({"row": row, **vars(text)} for row, text in zip(rows, written, strict=True))
        with atomic_file(settings.output_file) as temporary:
            temporary.write_text("".join(json_lines(records)), encoding="utf-8")
        rows, written = (), []
    return PredictReport(len(settings.text), 0, 0, 0, settings.output_file, rows, tuple(written), ())


def _filled(artifact: Artifact, predictor: Predictor, text: str, settings: GenerateSettings, where: str) -> FilledText:
    tokenizer, generation = artifact.tokenizer, settings.generation
    network = predictor.network
    assert isinstance(network, PretrainingNetwork)
    ids = _with_blanks(tokenizer, text, settings.num_blanks, where)
    limit = network.config.max_position_embeddings
    if len(ids) > limit:
        raise DataError(f"{where}: {len(ids)} tokens with its blanks, more than the model's {limit} positions")
    found = mask_predict(
        network,
        ids,
        mask_id=tokenizer.mask_id,
        forbidden=tokenizer.special_ids,
        num_iterations=settings.num_iterations,
        temperature=generation.temperature if generation.do_sample else 0.0,
        generator=torch.Generator().manual_seed(generation.sampling_seed),
    )
    new = [tokenizer.vocab[after] for before, after in zip(ids, found.input_ids, strict=True) if before != after]
    whole = [tokenizer.vocab[number] for number in found.input_ids if number not in tokenizer.special_ids]
    score = geometric_mean(found.probabilities)
    return FilledText(join_pieces(whole, {}), score, tuple(new), tuple(found.probabilities))


def _with_blanks(tokenizer: Tokenizer, text: str, number: int | None, where: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text).input_ids.tolist()
    if number is not None:
        return [*ids[:-1], *[tokenizer.mask_id] * number, ids[-1]]
    if tokenizer.mask_id not in ids:
        raise DataError(f"{where}: nothing to fill in: write [MASK] where words are missing, or give --num-blanks")
    return ids
