"""How well a text answers a question, by the words that it shares with the known answers. Knows texts only.

SQuAD's definition, and that of CMRC 2018 for Chinese; both take the best of several known answers.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Scoring: TypeAlias = Literal["squad", "cmrc2018"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")

# The marks that CMRC 2018's evaluation drops. Its list has the ellipsis as two characters, which one never equals.
_CMRC_MARKS = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_CMRC_SEGMENT = re.compile(r"[\u4e00-\u9fa5]|(?:(?![\u4e00-\u9fa5])\w)+(?:[.,'](?:(?![\u4e00-\u9fa5])\w)+)*|[^\w\s]")


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """Both from 0 to 1. f1: of the words shared; exact_match: 1 where the texts are the same, normalized."""

    f1: float
    exact_match: float


def score_answer(given: str, known: Sequence[str], scoring: Scoring = "squad") -> AnswerScore:
    """The best of `given` against each of the `known` answers; none known: the right answer is none, "".

    >>> score_answer("the red house", ["A red car", "house"])
    AnswerScore(f1=0.6666666666666666, exact_match=0.0)
    """
    return _SCORINGS[scoring](given, known)


def normalized(text: str) -> str:
    """As SQuAD compares answers: lower case, without ASCII punctuation and English articles, single blanks.

    >>> normalized("The  U.S. Army")
    'us army'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def cmrc_segments(text: str) -> list[str]:
    """As CMRC 2018 compares answers: each Chinese character by itself, other scripts by words, its marks dropped.

    >>> cmrc_segments("《红楼梦》 by Cao")
    ['红', '楼', '梦', 'by', 'cao']
    """
    return _CMRC_SEGMENT.findall(text.lower().translate(_CMRC_MARKS))


def _squad(given: str, known: Sequence[str]) -> AnswerScore:
    """As SQuAD 2.0's evaluation: a known answer without a word is none, and none is only answered by none.

    SQuAD 1.1's differs where answers normalize to nothing alone: there F1 is 0 even where both do.
    """
    answers = [text for text in map(normalized, known) if text] or [""]
    text = normalized(given)
    return AnswerScore(max(_shared_f1(text.split(), answer.split()) for answer in answers), float(text in answers))


def _shared_f1(given: list[str], known: list[str]) -> float:
    if not given or not known:
        return float(given == known)
    return _f1((Counter(given) & Counter(known)).total(), len(given), len(known))


def _cmrc2018(given: str, known: Sequence[str]) -> AnswerScore:
    """As CMRC 2018's evaluation: F1 of the longest run of segments in common.

    Words of other scripts are separated at blanks and signs; the original asks NLTK, which also divides "don't".
    """
    if not known:
        return AnswerScore(float(not given), float(not given))
    segments = cmrc_segments(given)
    f1 = max(_run_f1(segments, cmrc_segments(answer)) for answer in known)
    plain = [text.lower().strip().translate(_CMRC_MARKS) for text in (given, *known)]
    return AnswerScore(f1, float(plain[0] in plain[1:]))


def _run_f1(given: list[str], known: list[str]) -> float:
    return _f1(_longest_common_run(given, known), len(given), len(known))


def _longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    longest = 0
    before = [0] * (len(second) + 1)
    for segment in first:
        row = [0] * (len(second) + 1)
        for place, other in enumerate(second, start=1):
            if segment == other:
                row[place] = before[place - 1] + 1
        longest, before = max(longest, *row), row
    return longest


def _f1(num_shared: int, num_given: int, num_known: int) -> float:
    return 2 * num_shared / (num_given + num_known) if num_shared else 0.0


_SCORINGS: Mapping[str, Callable[[str, Sequence[str]], AnswerScore]] = {"squad": _squad, "cmrc2018": _cmrc2018}
