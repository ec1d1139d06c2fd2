"""`bertsmith datasets`: the public data sets known by name, or what one of them is and where its files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.catalog import DATA_SETS, data_set
from bertsmith.catalog.dataset import DataSet
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.errors import DataError
from bertsmith.settings import Settings

SPLITS = ("train", "validation", "test")


class DatasetsSettings(Settings):
    name: str | None = Field(None, description="a data set; without: all of them")
    data_dir: Path | None = Field(None, description="a folder in which to look for the files")


@verb("name")
def run(settings: DatasetsSettings, output: Output) -> dict[str, Any]:
    """List the public data sets that are known by name."""
    if settings.name is not None:
        facts = _facts(data_set(settings.name), settings.data_dir)
        output.facts(settings.name, {name: value for name, value in facts.items() if name != "notes"})
        for note in facts["notes"]:
            output.say(f"note: {note}")
        return facts
    known = [_facts(entry, settings.data_dir) for entry in DATA_SETS.values()]
    splits = "files" if settings.data_dir else "splits"
    output.table(
        "data sets",
        [(facts["name"], facts["task"], facts["metric"], ", ".join(facts[splits]), facts["title"]) for facts in known],
        header=("name", "task", "metric", f"in {settings.data_dir}" if settings.data_dir else "splits", "title"),
    )
    return {"datasets": known}


def _facts(entry: DataSet, data_dir: Path | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": entry.name,
        "title": entry.title,
        "task": entry.task,
        "metric": entry.metric,
        "licence": entry.licence,
        "source": entry.source,
        "splits": sorted({*entry.splits, *entry.split_names()}, key=_place),
        "expected_files": {split: " or ".join(files.paths) for split, files in entry.splits.items()},
        "hub": str(entry.hub) if entry.hub else None,
        "task_settings": dict(entry.task_settings),
        "notes": list(entry.notes),
    }
    return facts if data_dir is None else facts | {"files": _found(entry, data_dir)}


def _place(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def _found(entry: DataSet, data_dir: Path) -> dict[str, str]:
    found = {}
    for split in entry.splits:
        try:
            found[split] = str(entry.file(split, data_dir))
        except DataError:
            continue
    return found
