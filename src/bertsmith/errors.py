"""Errors that a user can act on: what was expected, what came, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BertsmithError(Exception):
    """A user's mistake or a bad input, told in one message. A programmer's mistake is an assertion instead.

    is_common: all processes of the run raise it. is_told: of these another one tells it.
    """

    is_common: bool = False
    is_told: bool = False


class SettingsError(BertsmithError):
    """An option, setting or argument that cannot be right."""


class DataError(BertsmithError):
    """Text, tables or labels that cannot be used; the message names the file and the line, row or field."""


class FileFormatError(BertsmithError):
    """A model, tokenizer or checkpoint file that is damaged, unsafe or of another kind than it claims."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that helps with an unknown name: the nearest known one, or all of them if none is near.

    >>> nearest("clasification", ["classification", "seq2seq"])
    "did you mean 'classification'?"
    """
    names = list(known)
    matches = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {matches[0]!r}?" if matches else f"known: {', '.join(names)}"
