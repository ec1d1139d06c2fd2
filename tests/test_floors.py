"""The first law: a package imports only from the floors below it, and nothing goes round in a circle.

Imports are read with `ast`, so those inside functions and those for type checkers alone count too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

import bertsmith

ROOT = Path(bertsmith.__file__).parent

FLOORS = (
    {"errors", "settings", "files", "hub", "runtime", "kernels"},
    {"text", "model", "metrics"},
    {"data", "baselines", "calibration"},
    {"tasks"},
    {"artifact", "inference", "catalog", "hf"},
    {"evaluation", "explain", "search"},
    {"training", "serving"},
    {"scale", "assistant"},
    {"recipes", "estimator"},
    {"cli"},
    {"__init__", "__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}

NEIGHBOURS_WHO_MEET = {
    ("settings", "errors"),
    ("files", "errors"),
    ("hub", "errors"),
    ("runtime", "errors"),
    ("runtime", "settings"),
    ("runtime", "files"),
    ("kernels", "errors"),
    ("inference", "artifact"),
    ("estimator", "recipes"),
    ("__main__", "__init__"),
}
"""Who may know whom on one floor: the ground floor stands on its errors, prediction reads the artifact, and the
estimator starts as recipes do."""

FILES = sorted(ROOT.rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(("bertsmith", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def imports_of(tree: ast.Module) -> Iterator[str]:
    """What a module imports, by absolute names: `from a.b import c` gives `a.b.c`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


IMPORTS = {module_name(path): set(imports_of(ast.parse(path.read_text(encoding="utf-8")))) for path in FILES}


def home(name: str) -> str:
    """The module that an imported name lives in: `bertsmith.files.sha256` lives in `bertsmith.files`."""
    while name not in IMPORTS:
        name = name.rpartition(".")[0]
    return name


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


INNER = {
    module: {home(name) for name in imported if name.split(".")[0] == "bertsmith"} - {module, "bertsmith"}
    for module, imported in IMPORTS.items()
}


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in IMPORTS} <= set(LEVEL), "a new package needs its floor in this table"


def test_imports_go_down() -> None:
    wrong = []
    for module, others in INNER.items():
        for other in others:
            here, there = room(module), room(other)
            if here != there and LEVEL[there] >= LEVEL[here] and (here, there) not in NEIGHBOURS_WHO_MEET:
                wrong.append(f"{module} (floor {LEVEL[here]}) imports {other} (floor {LEVEL[there]})")
    assert not wrong


def test_only_the_version_comes_from_the_index() -> None:
    taken = {name for imported in IMPORTS.values() for name in imported if name.split(".")[0] == "bertsmith"}
    assert {name for name in taken if home(name) == "bertsmith"} <= {"bertsmith.__version__"}


def test_no_import_cycles() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "a circle: " + " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in sorted(INNER[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(IMPORTS):
        visit(module, ())


def test_only_the_index_knows_the_hugging_face_shaped_classes() -> None:
    assert {room(module) for module, others in INNER.items() if "hf" in map(room, others)} <= {"hf", "__init__"}


ROOM_EXTRAS = {"serving": ("serve",), "search": ("search", "qdrant")}
"""Rooms that import what these extras bring; others ask for a package by name where they need it."""
BROUGHT_ALONG = {"fastapi": "starlette", "pydantic": "pydantic_core"}


def test_only_what_an_installation_brings_is_imported() -> None:
    required = [Requirement(line) for line in requires("bertsmith") or ()]
    core = {requirement.name.replace("-", "_") for requirement in required if requirement.marker is None}
    core |= {BROUGHT_ALONG[name] for name in core & BROUGHT_ALONG.keys()}
    core = core - {"scikit_learn"} | {"sklearn", "bertsmith"} | sys.stdlib_module_names
    for module, imported in IMPORTS.items():
        extras = ROOM_EXTRAS.get(room(module), ())
        more = {
            requirement.name.replace("-", "_")
            for requirement in required
            for extra in extras
            if requirement.marker is not None and requirement.marker.evaluate({"extra": extra})
        }
        more |= {BROUGHT_ALONG[name] for name in more & BROUGHT_ALONG.keys()}
        assert {name.split(".")[0] for name in imported} <= core | more, module


def test_no_drawer_for_everything() -> None:
    assert not {path.stem for path in FILES} & {"utils", "util", "helpers", "common", "misc"}
