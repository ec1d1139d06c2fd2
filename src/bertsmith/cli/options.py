"""The one way from a `Settings` class to options: flattened fields, short names, a settings file, dotted overrides.

What comes later wins: defaults, then `--settings FILE`, then options, then `--set name.part=value`. Parsing and help
are cyclopts'; checking values is the settings' own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from inspect import Parameter, Signature, getdoc
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

import cyclopts
from pydantic.fields import FieldInfo

from bertsmith.cli.output import Output, cell
from bertsmith.errors import SettingsError
from bertsmith.settings import SYNONYMS, Settings, override, parse_override, read_settings_file

S = TypeVar("S", bound=Settings)

GENERAL = cyclopts.Group("General options", sort_key=100)


@dataclass(frozen=True, slots=True)
class Option:
    """A setting by its dotted name, and its spellings on the command line; without any, it is for files and `--set`."""

    setting: str
    names: tuple[str, ...]
    field: FieldInfo
    default: object
    group: str

    @property
    def identifier(self) -> str:
        return self.setting.replace(".", "__")


def verb(*positional: str, keys: Sequence[Option] = ()) -> Callable[[Callable[[S, Output], Any]], Callable[..., None]]:
    """Turn `run(settings, output) -> result` into a function whose parameters are the options of its settings.

    `positional` are the settings that are given by their place. `keys` are options for known keys of settings that are
    tables, instead of the tables. The result is what `--json` prints.
    """

    def decorate(run: Callable[[S, Output], Any]) -> Callable[..., None]:
        return command(run, get_type_hints(run)["settings"], positional, keys)

    return decorate


def command(
    run: Callable[[S, Output], Any], cls: type[S], positional: Sequence[str] = (), keys: Sequence[Option] = ()
) -> Callable[..., None]:
    """The function that cyclopts calls: its signature is the options of `cls`, its body fills the settings and runs."""
    tables = {key.setting.partition(".")[0] for key in keys}
    options = [*(option for option in options_of(cls, positional) if option.setting not in tables), *keys]
    by_place = [option for name in positional for option in options if option.setting == name]
    by_name = [option for option in options if option.names and option not in by_place]
    signature = Signature(
        [
            *(_parameter(option, Parameter.POSITIONAL_ONLY) for option in by_place),
            *(_parameter(option, Parameter.KEYWORD_ONLY) for option in by_name),
            *_general([option.setting for option in options if not option.names]),
        ]
    )

    def call(*args: Any, **kwargs: Any) -> None:
        arguments = signature.bind(*args, **kwargs).arguments
        given = {name: value for name, value in arguments.items() if value is not None}
        settings = fill(cls, options, given)
        output = Output(as_json="as_json" in given, quiet="quiet" in given)
        try:
            with redirect_stdout(sys.stderr) if output.as_json else nullcontext():
                result = run(settings, output)
        finally:
            output.progress.finish()
        output.result(result)

    call.__name__, call.__doc__ = run.__name__, getdoc(run)
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def fill(cls: type[S], options: Iterable[Option], given: Mapping[str, Any]) -> S:
    """The settings from the parsed command line: the file first, options over it, `--set` over both."""
    values = read_settings_file(given["settings_file"]) if "settings_file" in given else {}
    values = override(
        values, {option.setting: given[option.identifier] for option in options if option.identifier in given}
    )
    values = override(values, dict(parse_override(text) for text in given.get("overrides", ())))
    for option in options:
        if option.setting in cls.model_fields and option.field.is_required() and option.setting not in values:
            raise SettingsError(
                f"{' or '.join(option.names)} is missing: {option.field.description}{_taken(options, given)}"
            )
    return cls.of(values)


def _taken(options: Iterable[Option], given: Mapping[str, Any]) -> str:
    """A hint where an option of many values may have taken the word that is missed."""
    takers = [
        option.names[0]
        for option in options
        if isinstance(value := given.get(option.identifier), tuple | list) and len(value) > 1
    ]
    return f" ({' and '.join(takers)} takes all the words that follow: write it last)" if takers else ""


def options_of(cls: type[Settings], positional: Sequence[str] = ()) -> Iterator[Option]:
    """The options of a settings class, outer fields first; a nested field whose name is taken gets its part's in front.

    A part is a group of its own in the help; an outer field with a title stands under that.
    Parts that are a choice between classes, or hold anything, cannot be written as an option and have no names.
    """
    taken: set[str] = set()
    level: list[tuple[tuple[str, ...], type[Settings], object]] = [((), cls, None)]
    while level:
        deeper = []
        for path, part, defaults in level:
            for name, field in part.model_fields.items():
                default = getattr(defaults, name, field.get_default(call_default_factory=True))
                if _is_part(field.annotation):
                    deeper.append(((*path, name), field.annotation, default))
                    continue
                bare = name if name not in taken else "_".join((*path[-1:], name))
                taken.add(bare)
                names = (name.upper(),) if name in positional and not path else spellings(bare)
                group = path[-1].replace("_", " ").capitalize() if path else field.title or "Options"
                writable = _is_writable(field.annotation)
                yield Option(".".join((*path, name)), names if writable else (), field, default, group)
        level = deeper


def spellings(name: str) -> tuple[str, ...]:
    """The options that a setting answers to.

    >>> spellings("num_train_epochs"), spellings("seed"), spellings("from_")
    (('--epochs', '--num-train-epochs'), ('--seed',), ('--from',))
    """
    for synonyms in SYNONYMS:
        if name in synonyms:
            return tuple("--" + synonym.replace("_", "-") for synonym in reversed(synonyms))
    return ("--" + name.strip("_").replace("_", "-"),)


def _parameter(option: Option, kind: Any) -> Parameter:
    """An option of many values takes all words that follow it, and may be written again."""
    field = option.field
    is_table = get_origin(field.annotation) is dict
    is_many = get_origin(field.annotation) is tuple and kind is Parameter.KEYWORD_ONLY
    form = f" (as {option.names[0]}.name value)" if is_table else ""
    unsaid = field.is_required() or is_table or option.default in (None, (), "")
    parameter = cyclopts.Parameter(
        name=option.names,
        help=(field.description or "") + form + (" [required]" if field.is_required() else ""),
        show_default=False if unsaid else lambda _: _shown(option.default),
        negative=None if field.annotation is bool and not option.names[0].startswith("--no-") else (),
        consume_multiple=is_many,
        group=cyclopts.Group(option.group, sort_key=1 if option.group == "Options" else 2),
    )
    return Parameter(
        option.identifier, kind, annotation=Annotated[_bare(field.annotation) | None, parameter], default=None
    )


def _general(unwritable: Sequence[str]) -> Iterator[Parameter]:
    """The options that every verb has; the help of `--set` names the settings that have no option of their own."""
    also = f"; only here or in a file: {', '.join(unwritable)}" if unwritable else ""
    table: tuple[tuple[str, str, Any, str], ...] = (
        ("settings_file", "--settings", Path, "a .toml or .json file of settings; options are laid over it"),
        ("overrides", "--set", tuple[str, ...], f"any setting by its full name, as name.part=value{also}"),
        ("as_json", "--json", bool, "one JSON document on stdout, everything else on stderr"),
        ("quiet", "--quiet", bool, "no progress and no tables"),
        ("debug", "--debug", bool, "show where an error arose (as BERTSMITH_DEBUG=1 does)"),
    )
    for name, spelling, kind, text in table:
        parameter = cyclopts.Parameter(name=spelling, help=text, negative=(), group=GENERAL)
        yield Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[kind | None, parameter], default=None)


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return " ".join(map(_shown, default))
    if isinstance(default, bool):
        return cell(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def _bare(annotation: Any) -> Any:
    """A type without its constraints, which are the settings' to check and to explain."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return Union[tuple(_bare(part) for part in get_args(annotation))]  # noqa: UP007
    return annotation


def _is_part(annotation: Any) -> TypeGuard[type[Settings]]:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _is_writable(annotation: Any) -> bool:
    kind = get_origin(annotation) or annotation
    if kind in (Any, Mapping) or _is_part(kind):
        return False
    return all(_is_writable(part) for part in get_args(annotation))
