"""`bertsmith index`: documents into an index that can be searched and asked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.index import IndexSettings, index


@verb("documents")
def run(settings: IndexSettings, output: Output) -> dict[str, Any]:
    """Put documents into an index that can be searched and asked."""
    report = index(settings, output.progress)
    facts = {
        "index": str(report.folder),
        "documents": report.num_documents,
        "passages": report.num_passages,
        "added": report.upserted.num_added,
        "changed": report.upserted.num_changed,
        "unchanged": report.upserted.num_unchanged,
        "deleted": report.num_deleted,
        "graph made": report.has_graph,
    }
    output.facts("index", facts)
    for warning in report.warnings:
        output.say(f"warning: {warning}")
    return {**asdict(report), "folder": str(report.folder)}
