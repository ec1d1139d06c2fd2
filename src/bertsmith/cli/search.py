"""`bertsmith search`: the passages of an index that suit a query."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.search import SearchSettings, search
from bertsmith.runtime.progress import shorten
from bertsmith.search.provenance import Provenance


@verb("folder", "query")
def run(settings: SearchSettings, output: Output) -> dict[str, Any]:
    """Find the passages of an index that suit a query."""
    told = Provenance()
    found = search(settings, output.progress, told)
    if told.warning is not None:
        output.say(f"warning: {told.warning}")
    for query, hits in zip(settings.query, found, strict=True):
        rows = [
            (rank, hit.score, hit.document, f"{hit.start}-{hit.end}", shorten(" ".join(hit.text.split())))
            for rank, hit in enumerate(hits, start=1)
        ]
        output.table(shorten(query), rows, header=("", "score", "document", "characters", "passage"))
        if not hits:
            output.say("nothing found")
    return {
        "results": [
            {"query": query, "hits": list(map(asdict, hits))} for query, hits in zip(settings.query, found, strict=True)
        ],
        "models": told.models,
        "truncation": asdict(told.truncation),
    }
