"""Settings: frozen, validated records with nested parts, read from a file and from dotted overrides.

Every class that can be configured has its settings beside it, a subclass of `Settings`; this module only knows how
to fill, check and name them. Unknown names are refused with the nearest known one.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, TypeGuard, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bertsmith.errors import SettingsError, nearest

S = TypeVar("S", bound="Settings")

SYNONYMS = (
    ("num_train_epochs", "epochs"),
    ("per_device_train_batch_size", "batch_size"),
    ("max_seq_length", "max_length"),
    ("model_name_or_path", "model"),
    ("warmup_ratio", "warmup_fraction"),
)
"""Hugging Face's spelling of a setting and ours: options and advice know both, whichever the field is called."""


class Settings(BaseModel):
    """Base of all settings: immutable, strict about names, printable as JSON (`model_dump_json`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _fill_parts(cls, values: Any) -> Any:
        """A nested part that is given in part keeps, for the rest, the default that it has here, not its class's."""
        if not isinstance(values, Mapping):
            return values
        defaults = {name: field.default for name, field in cls.model_fields.items() if _is_part(field.annotation)}
        return {name: _laid_over(defaults.get(name), value) for name, value in values.items()}

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "settings") -> Self:
        """Validate `values`; a mistake becomes a `SettingsError` that names `where`, the field and the nearest name."""
        if not isinstance(values, Mapping):
            raise SettingsError(f"{where}: expected settings by name, found {values!r:.80}")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise SettingsError(_explain(error, cls, where)) from None

    def said(self, default: Any = None) -> dict[str, Any]:
        """What was said of these settings, from which `of` makes the same again; parts of them are tables too.

        default: what is supposed where they stand. A part that was given as an object keeps its class's defaults: where
        those differ from what is supposed there, they count as said.
        """
        supposed = default.model_fields_set if isinstance(default, Settings) else set()
        values = {}
        for name, field in type(self).model_fields.items():
            if name in self.model_fields_set | supposed:
                value = getattr(self, name)
                below = getattr(default, name) if name in supposed else field.default
                values[name] = value.said(below) if isinstance(value, Settings) else value
        return values


def read_settings_file(path: Path) -> dict[str, Any]:
    """The nested mapping in a `.toml` or `.json` settings file."""
    try:
        if path.suffix == ".toml":
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".json":
            values = json.loads(path.read_text(encoding="utf-8"))
        else:
            raise SettingsError(f"{path}: a settings file ends in .toml or .json")
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: not valid {path.suffix[1:].upper()}: {error}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected a table of settings, found {type(values).__name__}")
    return values


def override(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with dotted `overrides` laid over them.

    >>> override({"model": {"layers": 2}}, {"model.layers": 4, "seed": 1})
    {'model': {'layers': 4}, 'seed': 1}
    """
    merged = {name: override(value, {}) if isinstance(value, Mapping) else value for name, value in values.items()}
    for dotted, value in overrides.items():
        *parents, leaf = dotted.split(".")
        table = merged
        for parent in parents:
            inner = table.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise SettingsError(f"cannot set {dotted!r}: {parent!r} is not a table")
            table = inner
        table[leaf] = value
    return merged


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested tables, by their dotted names.

    >>> dict(dotted({"model": {"layers": 4}, "seed": 1}))
    {'model.layers': 4, 'seed': 1}
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def parse_override(text: str) -> tuple[str, Any]:
    """One `name.part=value` from the command line; the value is read as JSON where it is JSON, else as a string."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise SettingsError(f"{text!r}: an override is written name.part=value")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def find_setting(cls: type[BaseModel], name: str) -> str:
    """The dotted name of a setting of `cls` that is called by it, by its last part, or by a synonym of that.

    >>> class Run(Settings):
    ...     num_train_epochs: int = 1
    >>> find_setting(Run, "epochs")
    'num_train_epochs'

    Raises `SettingsError` for a name that none has, or several have.
    """
    everywhere = list(_dotted_names(cls))
    if name in everywhere:
        return name
    plain = name.replace("-", "_")
    same = {plain, *(synonym for synonyms in SYNONYMS if plain in synonyms for synonym in synonyms)}
    found = [dotted for dotted in everywhere if dotted.rpartition(".")[2] in same]
    outermost = [dotted for dotted in found if dotted.count(".") == min(other.count(".") for other in found)]
    if not found:
        leaves = [dotted.rpartition(".")[2] for dotted in everywhere]
        raise SettingsError(f"unknown setting {name!r}; {nearest(name, [*everywhere, *leaves])}")
    if len(outermost) > 1:
        raise SettingsError(f"{name!r} is the name of several settings; say which: {', '.join(outermost)}")
    return outermost[0]


def _is_part(annotation: Any) -> TypeGuard[type[Settings]]:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _laid_over(default: Any, value: Any) -> Any:
    if not (isinstance(default, Settings) and isinstance(value, Mapping)):
        return value
    parts = {name: getattr(default, name) for name in default.model_fields_set}
    return parts | {name: _laid_over(parts.get(name), inner) for name, inner in value.items()}


def _explain(error: ValidationError, cls: type[BaseModel], where: str) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        path = [str(part) for part in problem["loc"]]
        field = ".".join(path)
        if problem["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown setting {field!r}; {_advice(cls, path)}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            subject = f"{where}: {field}: " if field else f"{where}: "
            given = "" if problem["type"] in ("missing", "value_error") else f" (given: {problem['input']!r:.80})"
            lines.append(f"{subject}{message}{given}")
    return "\n".join(lines)


def _advice(cls: type[BaseModel], path: list[str]) -> str:
    """Where a setting of this name, or nearly so, is to be found: in its own part, else in any."""
    name, here = path[-1], _names_at(cls, path[:-1])
    same = {name, *(synonym for synonyms in SYNONYMS if name in synonyms for synonym in synonyms)}
    everywhere = {dotted: dotted.rpartition(".")[2] for dotted in _dotted_names(cls)}
    found = [dotted for dotted, leaf in everywhere.items() if leaf in same]
    if not found and not get_close_matches(name, here):
        close = get_close_matches(name, everywhere.values(), n=1)
        found = [dotted for dotted, leaf in everywhere.items() if leaf in close]
    return nearest(name, here) if not found else f"did you mean {' or '.join(map(repr, found))}?"


def _dotted_names(cls: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in cls.model_fields.items():
        yield prefix + name
        if _is_part(field.annotation):
            yield from _dotted_names(field.annotation, f"{prefix}{name}.")


def _names_at(cls: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = cls.model_fields.get(part)
        if field is None or not _is_part(field.annotation):
            return list(cls.model_fields)
        cls = field.annotation
    return list(cls.model_fields)
