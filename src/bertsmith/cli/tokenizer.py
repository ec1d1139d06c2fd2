"""`bertsmith tokenizer train` and `report`: text files to a vocabulary; how one fits the text of each language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.files import refuse_to_replace
from bertsmith.settings import Settings
from bertsmith.text.fit import VocabularyFit, fit_by_language
from bertsmith.text.languages import by_language
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece
from bertsmith.text.words import BadUtf8


class TrainTokenizerSettings(Settings):
    files: tuple[Path, ...] = Field(min_length=1, description="text files, each also .gz, .xz or .zst")
    languages: tuple[str, ...] = Field(
        (), description="the language of each file, in their order; for a report of each, and for sampling_alpha"
    )
    output_dir: Path = Field(description="folder for the tokenizer")
    vocabulary: WordPieceSettings = WordPieceSettings()


@verb("files")
def run(settings: TrainTokenizerSettings, output: Output) -> dict[str, Any]:
    """Learn a WordPiece vocabulary from text."""
    others = {"bertsmith.json": "a model", "config.json": "a model", "corpus.json": "a corpus"}
    refuse_to_replace(settings.output_dir, others)
    learned = learn_wordpiece(settings.files, settings.vocabulary, output.progress, languages=settings.languages)
    learned.tokenizer().save(settings.output_dir)
    facts = {"output_dir": settings.output_dir, **asdict(learned.report)}
    output.facts("vocabulary", {name: value for name, value in facts.items() if name != "languages"})
    if learned.report.languages:
        _table(learned.report.languages, output)
    return facts


class ReportTokenizerSettings(Settings):
    folder: Path = Field(description="tokenizer, or a model with one")
    files: tuple[Path, ...] = Field(min_length=1, description="text files, each also .gz, .xz or .zst")
    languages: tuple[str, ...] = Field(
        (), description="the language of each file, in their order; None: each file by itself"
    )
    bad_utf8: BadUtf8 = Field(
        "error",
        description="bytes that are not UTF-8: error stops and names the line, replace drops them, skip the word",
    )


@verb("folder", "files")
def report(settings: ReportTokenizerSettings, output: Output) -> dict[str, Any]:
    """Say how a vocabulary fits the text of each language."""
    files, names = settings.files, settings.languages
    groups = by_language(files, names) if names else {str(file): [file] for file in files}
    tokenizer = Tokenizer.load(settings.folder)
    fits = fit_by_language(tokenizer, groups, bad_utf8=settings.bad_utf8, on_progress=output.progress)
    _table(fits, output)
    return {"languages": {name: asdict(fit) for name, fit in fits.items()}}


def _table(fits: Mapping[str, VocabularyFit], output: Output) -> None:
    rows = [(name, fit.num_words, fit.pieces_per_word, fit.unknown_rate, fit.coverage) for name, fit in fits.items()]
    output.table("languages", rows, header=("language", "words", "pieces per word", "unknown rate", "coverage"))
