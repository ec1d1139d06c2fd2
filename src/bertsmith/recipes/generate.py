"""Texts that a model writes, to sources or from nothing but their beginning, as one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
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
from bertsmith.recipes.predict import PredictReport, PredictSettings, checked_format, predict
from bertsmith.recipes.prediction_files import lines_of
from bertsmith.runtime.progress import Progress
from bertsmith.settings import dotted, override
from bertsmith.tasks.pretraining import Pretraining
from bertsmith.tasks.seq2seq import Seq2Seq
from bertsmith.text.spacing import USUAL, is_mark
from bertsmith.text.vocabulary import CONTINUATION_PREFIX, MASK

SAMPLING = ("do_sample", "temperature", "top_k", "top_p", "sampling_seed")
"""What mask-predict takes of the settings of generation."""


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
    """text: as it was given, with its blanks filled. score: the mean probability of what was filled in (geometric).

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
    idle = {"num_blanks", "num_iterations"} & settings.model_fields_set
    if idle:
        raise SettingsError(f"{', '.join(sorted(idle))}: of a meaning for --method mask-predict alone")
    name = read_record(settings.folder)["task"]["name"]
    if name != Seq2Seq.name:
        hint = "; a pre-trained model writes with --method mask-predict" if name == Pretraining.name else ""
        raise SettingsError(f"{settings.folder}: a model for {name}, which writes no texts{hint}")
    task = override(settings.task, dict(dotted({"generation": settings.generation.said()})))
    said_of_all = settings.model_fields_set & set(PredictSettings.model_fields)
    plain = {name: getattr(settings, name) for name in said_of_all} | {"task": task}
    if len(settings.text) == 1 and settings.request:  # a text, and what else is said of its target
        plain |= {"text": (), "request": {"text": settings.text[0], **settings.request}}
    return predict(PredictSettings(**plain), progress)


def _by_mask_predict(settings: GenerateSettings, progress: Progress) -> PredictReport:
    said = settings.generation.said()
    idle = [*(["file"] if settings.file else []), *settings.request, *(name for name in said if name not in SAMPLING)]
    if idle:
        raise SettingsError(f"{', '.join(idle)}: without a meaning for mask-predict, which fills blanks; leave it out")
    if not settings.text:
        raise SettingsError("mask-predict writes to texts: give one or more, with [MASK]s, or --num-blanks")
    output_format = checked_format(settings)
    artifact = load_artifact(settings.folder).asked_with(settings.task)
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
        lines = lines_of(records, ["row", *(field.name for field in fields(FilledText))], output_format)
        with atomic_file(settings.output_file) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8", newline="")
        rows, written = (), []
    return PredictReport(len(settings.text), 0, 0, 0, settings.output_file, rows, tuple(written), ())


def _filled(artifact: Artifact, predictor: Predictor, text: str, settings: GenerateSettings, where: str) -> FilledText:
    tokenizer, generation = artifact.tokenizer, settings.generation
    network = predictor.network
    assert isinstance(network, PretrainingNetwork)
    if settings.num_blanks is not None:
        text = " ".join([text.rstrip(), *[MASK] * settings.num_blanks]).lstrip()
    encoded = tokenizer.encode(text)
    ids: list[int] = encoded.input_ids.tolist()
    places = [place for place, id in enumerate(ids) if id == tokenizer.mask_id]
    if not places:
        raise DataError(f"{where}: nothing to fill in: write [MASK] where words are missing, or give --num-blanks")
    limit = network.config.max_position_embeddings
    if len(ids) > limit:
        raise DataError(f"{where}: {len(ids)} tokens with its blanks, more than the model's {limit} positions")
    found = mask_predict(
        network,
        ids,
        mask_id=tokenizer.mask_id,
        forbidden=tokenizer.special_ids,
        num_iterations=settings.num_iterations,
        sampling=generation if generation.do_sample else None,
        generator=torch.Generator().manual_seed(generation.sampling_seed),
    )
    new = tuple(tokenizer.vocab[found.input_ids[place]] for place in places)
    filled = _put_back(text, encoded.offsets[places].tolist(), new)
    return FilledText(filled, geometric_mean(found.probabilities), new, tuple(found.probabilities))


def _put_back(text: str, spans: Sequence[tuple[int, int]], pieces: Sequence[str]) -> str:
    """The text as it was given, with these pieces of words where it had blanks.

    >>> _put_back("A Zug [MASK][MASK] [MASK] B", [(6, 12), (12, 18), (19, 25)], ["go", "##es", ","])
    'A Zug goes, B'
    """
    joined, reached, touches = "", 0, False
    for (start, end), piece in zip(spans, pieces, strict=True):
        bare = piece.removeprefix(CONTINUATION_PREFIX)
        side = USUAL.get(piece, "left") if is_mark(piece) else "none"
        given = text[reached:start]
        joined += given.lstrip() if touches else given
        joined = joined.rstrip() if bare != piece or side in ("left", "both") else joined
        joined += bare
        reached, touches = end, side in ("right", "both")
    return joined + (text[reached:].lstrip() if touches else text[reached:])
