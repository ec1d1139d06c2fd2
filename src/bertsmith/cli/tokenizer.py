"""`bertsmith tokenizer train`: text files to a vocabulary and the tokenizer that uses it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.files import refuse_to_replace
from bertsmith.settings import Settings
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece


class TrainTokenizerSettings(Settings):
    files: tuple[Path, ...] = Field(min_length=1, description="text files, each also .gz, .xz or .zst")
    output_dir: Path = Field(description="folder for the tokenizer")
    vocabulary: WordPieceSettings = WordPieceSettings()


@verb("files")
def run(settings: TrainTokenizerSettings, output: Output) -> dict[str, Any]:
    """Learn a WordPiece vocabulary from text."""
    others = {"bertsmith.json": "a model", "config.json": "a model", "corpus.json": "a corpus"}
    refuse_to_replace(settings.output_dir, others)
    learned = learn_wordpiece(settings.files, settings.vocabulary, output.progress)
    learned.tokenizer().save(settings.output_dir)
    facts = {"output_dir": settings.output_dir, **asdict(learned.report)}
    output.facts("vocabulary", facts)
    return facts
