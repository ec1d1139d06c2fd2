"""Minimal pairs in a file, and which of their sentences a pre-trained model prefers, as one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.artifact import RECORD, Artifact, load_artifact, start_network
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError, SettingsError, nearest
from bertsmith.evaluation.minimal_pairs import MinimalPair, Preferences, Scoring, as_facts, prefer
from bertsmith.evaluation.minimal_pairs_page import minimal_pairs_page
from bertsmith.files import atomic_file, write_json
from bertsmith.hub import resolve_folder
from bertsmith.inference.predictor import Predictor
from bertsmith.model.checkpoints import read_config
from bertsmith.recipes.examples import drawn_of_each
from bertsmith.recipes.start import ModelName
from bertsmith.recipes.tables import TableSettings
from bertsmith.runtime.device import PredictionPrecision
from bertsmith.runtime.progress import Progress
from bertsmith.tasks.pretraining import Pretraining, PretrainingSettings
from bertsmith.text.tokenizer import Tokenizer

REPORT, FACTS = "minimal-pairs.html", "minimal-pairs.json"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "good": ("sentence_good", "good"),
    "bad": ("sentence_bad", "bad"),
    "phenomenon": ("phenomenon", "linguistics_term"),
    "paradigm": ("paradigm", "UID"),
    "field": ("field",),
}
"""What files call each column, the likeliest name first; BLiMP's among them."""
NEEDED = ("good", "bad")


class MinimalPairsSettings(TableSettings):
    """One file of pairs, and the model that is asked."""

    model: ModelName = Field(description="pre-trained model: a folder or a hub name")
    file: Path = Field(description="pairs: a table with sentence_good and sentence_bad, and phenomenon and paradigm")
    max_pairs: int | None = Field(
        None, ge=1, description="so many pairs of each paradigm, chosen at random; the same ones every time; None: all"
    )
    seed: int = Field(0, ge=0, description="of what is chosen")
    scoring: Scoring = Field(
        "token", description="what is masked beside the guessed piece: nothing (token) or the rest of its word (word)"
    )
    report_dir: Path | None = Field(None, description=f"folder for {REPORT} and {FACTS}; None: no report")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: PredictionPrecision = Field(
        "auto", description="fp32, bf16 or int8; auto: bf16 where the machine has it"
    )


@dataclass(frozen=True)
class MinimalPairsReport:
    """warnings: what speaks against trusting the figures. report: the page's path, where one was asked for."""

    found: Preferences
    warnings: tuple[str, ...]
    report: Path | None = None


def minimal_pairs(
    settings: MinimalPairsSettings | Mapping[str, Any], progress: Progress | None = None
) -> MinimalPairsReport:
    """Score both sentences of every pair. Raises `DataError` for a file that lacks them or has empty ones."""
    settings = settings if isinstance(settings, MinimalPairsSettings) else MinimalPairsSettings.of(settings)
    pairs, notes = read_pairs(settings)
    predictor = _predictor(settings)
    found = prefer(predictor, pairs, scoring=settings.scoring, progress=progress)
    warnings = (*notes, *_warnings(found))
    if settings.report_dir is None:
        return MinimalPairsReport(found, warnings)
    name = Path(settings.model).name or settings.model
    path = settings.report_dir / REPORT
    minimal_pairs_page(found, model=name, file=settings.file.name, warnings=warnings).write(path)
    with atomic_file(settings.report_dir / FACTS) as temporary:
        write_json(temporary, as_facts(found) | {"model": settings.model, "file": str(settings.file)})
    return MinimalPairsReport(found, warnings, path)


def read_pairs(settings: MinimalPairsSettings) -> tuple[list[MinimalPair], list[str]]:
    """The pairs of the file, so many of each paradigm as were asked for, and what to say of them."""
    reading = settings.reading
    rows = list(read_table(settings.file, reading))
    columns = _columns(rows, settings)
    pairs = [_pair(row, columns) for row in rows]
    if settings.max_pairs is None:
        return pairs, reading.notices()
    chosen = drawn_of_each(pairs, lambda pair: pair.paradigm, settings.max_pairs, settings.seed)
    note = [f"using {len(chosen):,} of {len(pairs):,} pairs, chosen at random"] if len(chosen) < len(pairs) else []
    return chosen, [*note, *reading.notices()]


def _columns(rows: Sequence[Row], settings: MinimalPairsSettings) -> dict[str, str]:
    for name in settings.columns:
        if name not in COLUMNS:
            raise SettingsError(f"columns: pairs have no {name!r}; {nearest(name, COLUMNS)}")
    there = rows[0].values
    found = {}
    for name, usual in COLUMNS.items():
        tried = (settings.columns[name],) if name in settings.columns else usual
        match = [column for column in tried if column in there]
        if match:
            found[name] = match[0]
        elif name in NEEDED or name in settings.columns:
            raise DataError(
                f"{settings.file}: no column {' or '.join(map(repr, tried))} among {', '.join(map(repr, there))}; say "
                f"which column it is with --{name}-column"
            )
    return found


def _pair(row: Row, columns: Mapping[str, str]) -> MinimalPair:
    values = {name: row.values.get(column) for name, column in columns.items()}
    for name in NEEDED:
        value = values[name]
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{row.where}: expected a sentence in {columns[name]!r}, found {value!r:.80}")
    known = {name: "" if value is None else str(value) for name, value in values.items()}
    phenomenon = known.get("phenomenon") or known.get("paradigm") or "all"
    paradigm = known.get("paradigm") or phenomenon
    return MinimalPair(known["good"], known["bad"], paradigm, phenomenon, known.get("field", ""), row.where)


def _predictor(settings: MinimalPairsSettings) -> Predictor:
    place = resolve_folder(settings.model)
    artifact = load_artifact(place) if (place / RECORD).is_file() else _checkpoint(settings.model, place)
    if not isinstance(artifact.task, Pretraining):
        raise SettingsError(
            f"{settings.model}: a model for {artifact.task.name}; minimal pairs need one that guesses masked tokens"
        )
    return Predictor.of(artifact, device=settings.device, precision=settings.precision)


def _checkpoint(model: str, place: Path) -> Artifact:
    """A checkpoint that bertsmith did not write, with its head over the vocabulary."""
    tokenizer = Tokenizer.load(place, embedding_size=read_config(place).vocab_size)
    task = Pretraining(PretrainingSettings(sentence_task="none"))
    network, report = start_network(task, place, heads="fit")
    if report.missing:
        raise SettingsError(
            f"{model}: has no {', '.join(report.missing)}, and cannot guess masked tokens; train that with bertsmith "
            f"pretrain CORPUS --from {model} --sentence-task none"
        )
    return Artifact(task, network, tokenizer)


def _warnings(found: Preferences) -> list[str]:
    alike = f"{found.num_alike:,} pairs are two times the same to the tokenizer, and count as wrong"
    unknown = f"{found.num_unknown:,} pairs have words that the vocabulary lacks"
    return [*([alike] if found.num_alike else []), *([unknown] if found.num_unknown else [])]
