"""Text to sentences by rules, in the scripts that BERTs are trained on; knows nothing of tokens or documents.

A rule-based splitter cannot know every abbreviation. It errs towards not splitting: two sentences read as one cost
pre-training little, half a sentence read as one teaches it wrong borders.
"""

from __future__ import annotations

import re

_CLOSERS = "\"'”’»›)]}」』）】》〉"
_OPENERS = "\"'“‘«‹„‚([{¿¡-–—*•"
_WIDE_MARKS = "。！？｡"  # Chinese, Japanese: no space follows
_OWN_MARKS = "।॥؟۔።"  # Hindi, Arabic, Urdu, Amharic: they end nothing but a sentence
_SHARED_MARKS = ".!?…"  # Latin, Cyrillic, Greek and more: a sentence, an abbreviation, a number
_MARKS = _SHARED_MARKS + _WIDE_MARKS + _OWN_MARKS

# Both take a whole run at once (possessive), so a scan is linear; a first character class makes it fast.
_MARKED = re.compile(rf"[{_MARKS}][{_MARKS}]*+[{re.escape(_CLOSERS)}]*+")
_BLANK_LINE = re.compile(r"\n[^\S\n]*+(?=\n)")
_SPACE = re.compile(r"\s*+")
_OPENING = re.compile(rf"[{re.escape(_OPENERS)}]{{0,4}}")
_WORD = re.compile(r"\w+")
_HAN_OR_KANA = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")  # J or U.S, the last full stop not included
_SHORT_NUMBER = re.compile(r"\d{1,2}")
_LONGEST_WORD = 24  # characters looked at before a full stop: longer than any abbreviation


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words whose full stop does not end a sentence, whatever follows.
_ABBREVIATIONS = _words(
    # English
    "mr mrs ms dr prof rev hon pres gov sen rep gen col capt lt cmdr sgt maj adm st mt messrs vs viz cf al approx "
    "e.g i.e eg ie ca c.f dept est eds eqs figs "
    # German
    "hr fr frl bzw z.b d.h u.a vgl hrsg str evtl ggf inkl sog geb gest "
    # French, Spanish, Portuguese, Italian
    "mme mlle mgr av sr sra srta d.a dña ud uds ee.uu p.ej pág págs dra sig "
    # Russian
    "г гг вв им ул т.е т.к т.н проф акад см рис "
    # Hindi
    "डॉ प्रो श्री सं"
)
# Words whose full stop does not end a sentence where a number follows: No. 5, Jan. 3, p. 12.
_BEFORE_NUMBERS = _words(
    "no nos nr n № núm p pp vol bd fig tab eq ref sec ch chap art ed c ca "
    "jan feb mar apr jun jul aug sep sept oct nov dec"
)
# Words that open a sentence even after an initial or an acronym: "in the U.S. The army", against "the U.S. Army".
_STARTERS = _words(
    "The This That These Those It He She They We You There In On At By For From With As After Before When While If "
    "But And Or However Although His Her Its Their Our Some Many Most One Another Since During According Both"
)
# A day of the month keeps its full stop in German: "am 3. Oktober".
_AFTER_ORDINALS = _words(
    "Januar Jänner Februar März April Mai Juni Juli August September Oktober November Dezember Jahrhundert "
    "Jahrhunderts Jahrhunderte Klasse Platz Auflage"
)


def split_sentences(text: str) -> list[tuple[int, int]]:
    """The sentences of `text` as character spans `(start, end)`, in order, without the white space around them.

    Spans do not overlap and nothing but white space lies outside them. A blank line always ends a sentence. Time is
    linear in the text. Initials, acronyms and common abbreviations of several languages do not end one.

    >>> text = "Dr. J. Smith paid 3.50 dollars. Why? 今天很好。明天呢？"
    >>> [text[start:end] for start, end in split_sentences(text)]
    ['Dr. J. Smith paid 3.50 dollars.', 'Why?', '今天很好。', '明天呢？']
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for blank in _BLANK_LINE.finditer(text):
        _split_paragraph(text, start, blank.start(), spans)
        start = blank.end()
    _split_paragraph(text, start, len(text), spans)
    return spans


def _split_paragraph(text: str, start: int, stop: int, spans: list[tuple[int, int]]) -> None:
    start = _skip_space(text, start, stop)
    for marked in _MARKED.finditer(text, start, stop):
        mark, end = marked.span()
        if text[mark] in _SHARED_MARKS:
            if not _ends_sentence(text, start, mark, end, stop):
                continue
        # Japanese reported speech goes on after its bracket: 「はい。」と言った。
        elif text.startswith("と", end) and text[end - 1] in "」』":
            continue
        spans.append((start, end))
        start = _skip_space(text, end, stop)
    if start < stop:
        spans.append((start, start + len(text[start:stop].rstrip())))


def _skip_space(text: str, position: int, stop: int) -> int:
    match = _SPACE.match(text, position, stop)
    assert match is not None
    return match.end()


def _ends_sentence(text: str, start: int, mark: int, end: int, stop: int) -> bool:
    """Whether the marks at `mark`, with their closing quotes up to `end`, end the sentence that begins at `start`."""
    if end == stop:
        return True
    if not text[end].isspace():
        return text[mark] in "!?" and _HAN_OR_KANA.match(text, end) is not None
    follower = _first_letter(text, end, stop)
    if follower == stop:
        return True
    if text[follower].islower():
        return False
    if text[mark] != "." or text[mark + 1] in _MARKS:
        return True
    return _full_stop_ends(text, start, mark, follower)


def _first_letter(text: str, position: int, stop: int) -> int:
    match = _OPENING.match(text, _skip_space(text, position, stop), stop)
    assert match is not None
    return match.end()


def _full_stop_ends(text: str, start: int, mark: int, follower: int) -> bool:
    """Whether one full stop at `mark` ends a sentence; the next word, not in lower case, begins at `follower`."""
    before = text[max(start, mark - _LONGEST_WORD) : mark].split()
    word = before[-1].lstrip(_OPENERS) if before else ""
    if word.lower() in _ABBREVIATIONS:
        return False
    if text[follower].isdigit() and word.lower() in _BEFORE_NUMBERS:
        return False
    match = _WORD.match(text, follower)
    next_word = match[0] if match else ""
    if _ACRONYM.fullmatch(word):
        return next_word in _STARTERS
    if _SHORT_NUMBER.fullmatch(word):
        return mark - len(word) > start and next_word not in _AFTER_ORDINALS
    return True
