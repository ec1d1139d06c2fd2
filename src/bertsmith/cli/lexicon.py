"""`bertsmith lexicon`: parallel text to a dictionary of words, with a multilingual encoder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.lexicon import LexiconSettings, lexicon

SHOWN = 20


@verb("files")
def run(settings: LexiconSettings, output: Output) -> dict[str, Any]:
    """Draw a word-to-word dictionary from parallel text."""
    found = lexicon(settings, output.progress)
    rows = [(e.source, e.target, e.score, e.similarity, e.count) for e in found.entries[:SHOWN]]
    output.table("dictionary", rows, header=("source", "target", "score", "similarity", "links"))
    for notice in found.notices:
        output.say(f"warning: {notice}")
    if found.num_cut_words:
        output.say(f"cut: {found.num_cut_words:,} words lie beyond the model's positions and were not read")
    where = "" if settings.output_file is None else f" in {settings.output_file}"
    output.say(f"{len(found.entries):,} entries{where}, of {found.num_links:,} links in {found.num_pairs:,} pairs")
    return asdict(found)
