"""Tags of words and the spans that they stand for: BIO and BIOES, read leniently or strictly, written validly.

Also where in a text the words to tag are. Knows no vocabulary and no model. A tag is `O`, outside of everything, or a
prefix and a type as `B-PER`. In IOB1 an entity begins with `I-` unless it touches one of its type. Tags without such
prefixes, parts of speech say, are the scheme `plain`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import PreTokenizedString
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bertsmith.errors import DataError
from bertsmith.text.vocabulary import LONE_SURROGATE

Scheme: TypeAlias = Literal["plain", "IOB1", "BIO", "BIOES"]
OUTSIDE = "O"
PREFIXES: dict[Scheme, str] = {"plain": "", "IOB1": "BI", "BIO": "BI", "BIOES": "BIES"}
_PREFIXED = re.compile(r"[BIES]-.")

_CLEAN = BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False)
_SEPARATE = BertPreTokenizer()


class Span(NamedTuple):
    """Words `start` to `end`, the last not included, that are one `type` together."""

    type: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Grammar:
    """Which of L tags may begin and end a sequence, bool [L], and which may follow which: bool [from, to]."""

    starts: NDArray[np.bool_]
    transitions: NDArray[np.bool_]
    ends: NDArray[np.bool_]

    def admits(self, sequence: NDArray[np.intp]) -> bool:
        """Whether a sequence of indices of tags is valid; an empty one is."""
        if not len(sequence):
            return True
        inner = self.transitions[sequence[:-1], sequence[1:]].all()
        return bool(self.starts[sequence[0]] and self.ends[sequence[-1]] and inner)


def detect_scheme(tags: Iterable[str]) -> Scheme:
    """The scheme of all tags of a data set. Raises `DataError` where some are prefixed as in BIO and others are not."""
    found = set(tags) - {OUTSIDE}
    odd = sorted(tag for tag in found if not _PREFIXED.match(tag))
    if len(odd) == len(found):
        return "plain"
    if odd:
        raise DataError(
            f"tags are prefixed as in BIO or BIOES in part only: {', '.join(map(repr, odd[:10]))} are not; mend them "
            "(BILOU's L- is E- here, its U- is S-), or set the scheme to plain"
        )
    return "BIOES" if any(tag[0] in "ES" for tag in found) else "BIO"


def scheme_labels(tags: Iterable[str], scheme: Scheme) -> tuple[str, ...]:
    """The labels that a model needs for `tags`: `O` and every prefix of every type, whether it occurs or not.

    >>> scheme_labels(["O", "I-LOC"], "BIO")
    ('O', 'B-LOC', 'I-LOC')
    """
    if scheme == "plain":
        return tuple(sorted(set(tags)))
    types = sorted({tag[2:] for tag in tags if tag != OUTSIDE})
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in PREFIXES[scheme]))


def read_spans(tags: Sequence[str]) -> list[Span]:
    """The spans in `tags` as conlleval reads them (seqeval's default mode): what lacks a beginning begins by itself.

    A span goes on until `O`, another beginning (`B`, `S`), an end (`E`, `S`) or another type.

    >>> read_spans(["I-LOC", "I-LOC", "O", "B-PER", "I-ORG"])
    [Span(type='LOC', start=0, end=2), Span(type='PER', start=3, end=4), Span(type='ORG', start=4, end=5)]
    """
    spans: list[Span] = []
    start, before = 0, OUTSIDE
    for place, tag in enumerate(tags):
        if before != OUTSIDE and (tag == OUTSIDE or tag[0] in "BS" or before[0] in "ES" or tag[2:] != before[2:]):
            spans.append(Span(before[2:], start, place))
            before = OUTSIDE
        if before == OUTSIDE:
            start = place
        before = tag
    return spans if before == OUTSIDE else [*spans, Span(before[2:], start, len(tags))]


def read_spans_strictly(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """The spans in `tags` that are spelled as the scheme has it (seqeval's strict mode); the others are none.

    >>> read_spans_strictly(["I-LOC", "I-LOC", "O", "B-PER", "I-ORG"], "BIO")
    [Span(type='PER', start=3, end=4)]
    """
    spans = []
    for place, tag in enumerate(tags):
        kind, end = tag[2:], place + 1
        if tag[0] == "B":
            while end < len(tags) and tags[end] == f"I-{kind}":
                end += 1
            if scheme == "BIO":
                spans.append(Span(kind, place, end))
            elif end < len(tags) and tags[end] == f"E-{kind}":
                spans.append(Span(kind, place, end + 1))
        elif tag[0] == "S" and scheme == "BIOES":
            spans.append(Span(kind, place, end))
    return spans


def write_tags(spans: Iterable[Span], num_words: int, scheme: Scheme) -> list[str]:
    """The tags of `num_words` words for spans that do not overlap.

    >>> write_tags([Span("PER", 0, 2), Span("LOC", 3, 4)], 4, "BIOES")
    ['B-PER', 'E-PER', 'O', 'S-LOC']
    """
    tags = [OUTSIDE] * num_words
    for kind, start, end in spans:
        tags[start:end] = [f"I-{kind}"] * (end - start)
        tags[start] = f"B-{kind}"
        if scheme == "BIOES":
            tags[end - 1] = f"E-{kind}" if end - start > 1 else f"S-{kind}"
    return tags


def repaired(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """`tags` as the scheme spells what `read_spans` finds in them; IOB1 and BIO become either, `plain` stays.

    >>> repaired(["I-LOC", "I-LOC", "B-LOC", "O"], "BIO")
    ['B-LOC', 'I-LOC', 'B-LOC', 'O']
    """
    return list(tags) if scheme == "plain" else write_tags(read_spans(tags), len(tags), scheme)


def grammar_of(labels: Sequence[str], scheme: Scheme) -> Grammar:
    """What may follow what in a valid sequence of `labels`; in `plain` and in IOB1, where `I-` may begin, anything."""
    size = len(labels)
    if scheme in ("plain", "IOB1"):
        return Grammar(np.ones(size, np.bool_), np.ones((size, size), np.bool_), np.ones(size, np.bool_))
    kinds = np.array([label[2:] for label in labels])
    prefixes = np.array([label[0] for label in labels])
    inner = np.isin(prefixes, ["I", "E"])
    open_after = np.isin(prefixes, ["B", "I"])
    goes_on = open_after[:, None] & inner[None, :] & (kinds[:, None] == kinds[None, :])
    if scheme == "BIO":
        return Grammar(~inner, goes_on | ~inner[None, :], np.ones(size, np.bool_))
    return Grammar(~inner, goes_on | ~(open_after[:, None] | inner[None, :]), ~open_after)


def word_borders(text: str) -> NDArray[np.int32]:
    """int32 [n, 2]: start and end in `text` of its words, as BERT separates them: at blanks and at punctuation.

    Ideographs are words of their own; control characters belong to none. Raises `DataError` for what is no text.

    >>> word_borders("Aunt Jo's").tolist()
    [[0, 4], [5, 7], [7, 8], [8, 9]]
    """
    if surrogate := LONE_SURROGATE.search(text):
        raise DataError(f"lone surrogate {surrogate[0]!r} at character {surrogate.start()} is no text: replace it")
    separated = PreTokenizedString(text)
    separated.normalize(_CLEAN.normalize)
    _SEPARATE.pre_tokenize(separated)
    borders = [offsets for _, offsets, _ in separated.get_splits(offset_referential="original", offset_type="char")]
    return np.array(borders, dtype=np.int32).reshape(-1, 2)
