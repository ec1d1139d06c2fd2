"""What people should know of tagged examples before a model learns from them."""

from __future__ import annotations

from collections.abc import Sequence

from bertsmith.tasks.tag_records import TagRequest, separated
from bertsmith.tasks.task import Example
from bertsmith.text.tags import OUTSIDE, Scheme, detect_scheme, repaired
from bertsmith.text.tokenizer import Tokenizer

ROWS_SHOWN = 10


def mended_tags(examples: Sequence[Example[TagRequest]], scheme: Scheme) -> list[str]:
    """Tags that break their scheme, the first ten with what they became."""
    raw = {tag for e in examples for tag in e.answer}
    if scheme == "plain" or scheme != detect_scheme(raw):
        return []
    broken = [
        (example.where, given, mended)
        for example in examples
        for given, mended in zip(example.answer, repaired(example.answer, scheme), strict=True)
        if given != mended
    ]
    if not broken:
        return []
    shown = "; ".join(f"{where}: {given} became {mended}" for where, given, mended in broken[:ROWS_SHOWN])
    total = sum(len(example.answer) for example in examples)
    return [f"{len(broken):,} of {total:,} tags break {scheme} and were mended ({shown})"]


def words_without_pieces(examples: Sequence[Example[TagRequest]], tokenizer: Tokenizer) -> list[str]:
    """Words that the tokenizer gives no piece, the first ten with their place and tag."""
    rows = [(example, separated(example.request).words) for example in examples]
    known = list({word for _, words in rows for word in words})
    pieces = zip(known, tokenizer.pieces_batch([[word] for word in known]), strict=True)
    empty = {word for word, ids in pieces if not len(ids)}
    found = [
        f"{example.where}, word {place}: {word!r:.40}, {tag}"
        for example, words in rows
        for place, (word, tag) in enumerate(zip(words, example.answer, strict=True), start=1)
        if word in empty
    ]
    if not found:
        return []
    total = sum(len(words) for _, words in rows)
    notice = f"{len(found):,} of {total:,} words have no pieces: nothing is learned of them, they are predicted as "
    shown = "; ".join(found[:ROWS_SHOWN])
    return [f"{notice}{OUTSIDE}, and an entity that one of them parts is learned as two ({shown})"]
