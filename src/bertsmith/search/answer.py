"""Answers from the documents of an index: found, read, cited, and withheld where they would too often be wrong.

Of each question the best passages are read with it. What a reader says of one passage and where that passage stood are
two features of a logistic regression, fitted on questions whose answers are known; its probability chooses the answer,
a second one on the chosen answers alone makes it a confidence, and a threshold on that says "I don't know".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from bertsmith.data.batch import Truncation
from bertsmith.errors import DataError, FileFormatError
from bertsmith.files import atomic_file, read_json, write_json
from bertsmith.inference.predictor import Predictor
from bertsmith.metrics.answers import Scoring, score_answer
from bertsmith.runtime.progress import Progress
from bertsmith.search.provenance import Provenance
from bertsmith.search.searcher import Hit, Mode, Searcher

FILE = "answers.json"
NUM_PASSAGES = 10
SHOWN_CANDIDATES = 5
RIGHT_F1 = 0.5
"""From which on an answer counts as right when confidences are fitted: half the words shared."""
LEAST_QUESTIONS = 20
"""To fit four numbers and a threshold on."""
LARGEST_LOGIT = 30.0


@dataclass(frozen=True, slots=True)
class Citation:
    """Where an answer stands: characters of the document's text."""

    document: str
    title: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer found in one passage. score: the probability that it is right."""

    answer: str
    score: float
    citation: Citation


@dataclass(frozen=True, slots=True)
class Answered:
    """answer: None for "I don't know". score: the probability that the best candidate is right, given or withheld.

    citation: of the answer. candidates: the best ones, best first. hits: the passages that were read.
    """

    answer: str | None
    score: float
    citation: Citation | None
    candidates: tuple[Candidate, ...] = ()
    hits: tuple[Hit, ...] = ()


@dataclass(frozen=True)
class AnswerRule:
    """How what a reader says becomes an answer. weights: of the odds over no answer, in logits, and of the logarithm of
    the passage's rank; bias. slope, offset: from the chosen candidate's logit to the confidence's. threshold: of the
    confidence, below which no answer is given. num_questions: that it was fitted on; 0: on none.
    """

    odds_weight: float = 1.0
    rank_weight: float = -0.5
    bias: float = 0.0
    slope: float = 1.0
    offset: float = 0.0
    threshold: float = 0.5
    num_questions: int = 0

    def logits(self, odds: NDArray[np.float64], ranks: NDArray[np.float64]) -> NDArray[np.float64]:
        """[n] of candidates, by their odds and their passages' ranks, from 1."""
        return self.odds_weight * odds + self.rank_weight * np.log(ranks) + self.bias

    def confidence(self, logit: float) -> float:
        return 1 / (1 + math.exp(-float(np.clip(self.slope * logit + self.offset, -LARGEST_LOGIT, LARGEST_LOGIT))))


@dataclass(frozen=True)
class Found:
    """Candidates of one question before they are judged. odds: over no answer, in logits. ranks: of their passages."""

    hits: list[Hit]
    answers: list[Candidate]
    odds: NDArray[np.float64]
    ranks: NDArray[np.float64]


@dataclass(frozen=True)
class Tuned:
    """A rule and what it does on the questions that it was fitted on.

    coverage: the share of questions that are answered. risk: of those, the share of wrong answers.
    """

    rule: AnswerRule
    coverage: float
    risk: float
    wanted_risk: float


class Answerer:
    """An index with a reader of passages. Raises `SettingsError` for a reader that is none.

    mode, rerank: as in a search. The rule's weight of a rank is of the order that it was fitted to, so what reranks the
    searcher's hits for others does so here only where that is asked for.
    """

    def __init__(
        self,
        searcher: Searcher,
        reader: Predictor,
        rule: AnswerRule | None = None,
        num_passages: int = NUM_PASSAGES,
        *,
        mode: Mode | None = None,
        rerank: bool = False,
    ):
        self.searcher, self.rule = searcher, rule or AnswerRule()
        self.reader = reader.for_task("question_answering", "reader")
        self.num_passages, self.mode, self.rerank = num_passages, searcher.checked_mode(mode), rerank

    def ask(
        self,
        questions: Sequence[str],
        filters: Mapping[str, Any] | None = None,
        provenance: Provenance | None = None,
    ) -> list[Answered]:
        """An answer to each question, or that there is none; `filters` and `provenance` as in a search."""
        return [self.judged(found) for found in self.find(questions, filters, provenance=provenance)]

    def find(
        self,
        questions: Sequence[str],
        filters: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        provenance: Provenance | None = None,
    ) -> list[Found]:
        """What the reader finds in the passages of each question."""
        if isinstance(questions, str):
            raise DataError("ask takes a list of questions, found a single one")
        if not all(question.strip() for question in questions):
            raise DataError("question: an empty text")
        told = Provenance() if provenance is None else provenance
        searched = self.searcher.search(
            questions, limit=self.num_passages, mode=self.mode, filters=filters, rerank=self.rerank, provenance=told
        )
        requests = [
            {"question": question, "context": hit.text}
            for question, hits in zip(questions, searched, strict=True)
            for hit in hits
        ]
        predictions = iter(self.reader.predict(requests, progress) if requests else [])
        read = [[next(predictions) for _ in hits] for hits in searched]
        if requests:
            # Of the question: passages that are too long are read in windows.
            cut = [max((one.num_cut_tokens for one in row), default=0) for row in read]
            told.add("reader", self.reader, Truncation(len(cut), sum(tokens > 0 for tokens in cut), sum(cut)))
        if provenance is None:
            told.warn()
        return [_found(hits, row) for hits, row in zip(searched, read, strict=True)]

    def judged(self, found: Found) -> Answered:
        """The likeliest candidate by the rule, if it is likely enough."""
        if not found.answers:
            return Answered(None, 0.0, None, (), tuple(found.hits))
        logits = self.rule.logits(found.odds, found.ranks)
        by_citation: dict[Citation, Candidate] = {}  # passages overlap: a span may be found in two of them
        for place in np.argsort(-logits, kind="stable"):
            candidate = replace(found.answers[place], score=self.rule.confidence(float(logits[place])))
            by_citation.setdefault(candidate.citation, candidate)
        candidates = tuple(by_citation.values())[:SHOWN_CANDIDATES]
        best = candidates[0]
        is_sure = best.score >= self.rule.threshold
        return Answered(
            best.answer if is_sure else None,
            best.score,
            best.citation if is_sure else None,
            candidates,
            tuple(found.hits),
        )


def _found(hits: list[Hit], predictions: Sequence[Any]) -> Found:
    answers, odds, ranks = [], [], []
    for rank, (hit, prediction) in enumerate(zip(hits, predictions, strict=True), start=1):
        best = next((span for span in prediction.candidates if span.answer), None)
        if best is None:
            continue
        start, end = hit.start + best.start, hit.start + best.end
        citation = Citation(hit.document, hit.title, start, end, best.answer)
        answers.append(Candidate(best.answer, best.score, citation))
        # A reader that always answers has no odds over none; how it shares its certainty among spans is the next best.
        certain = min(max(best.score, 1e-9), 1 - 1e-9)
        odds.append(
            math.log(certain / (1 - certain)) if prediction.no_answer_odds is None else -prediction.no_answer_odds
        )
        ranks.append(rank)
    return Found(hits, answers, np.array(odds), np.array(ranks, dtype=np.float64))


def tuned(
    found: Sequence[Found], known: Sequence[Sequence[str]], wanted_risk: float, scoring: Scoring = "squad"
) -> Tuned:
    """The rule that fits questions with known answers, none for those that the documents do not answer.

    wanted_risk: of the answers given, the share that may be wrong; the lowest threshold that keeps it is taken.
    scoring: whose definition of shared words. Raises `DataError` for too few questions, or where nothing is found for
    any of them, or every candidate is right or none is.
    """
    if len(found) < LEAST_QUESTIONS:
        raise DataError(f"a rule is fitted on {LEAST_QUESTIONS} questions or more, found {len(found)}")
    right = [
        np.array([_is_right(answer.answer, answers, scoring) for answer in one.answers], dtype=bool)
        for one, answers in zip(found, known, strict=True)
    ]
    if not any(one.answers for one in found):
        raise DataError(f"no passage was found for any of the {len(found)} questions; are they about this index?")
    features = np.concatenate([np.column_stack([one.odds, np.log(one.ranks)]) for one in found if one.answers])
    odds_weight, rank_weight, bias = _logistic(features, np.concatenate(right))
    rule = AnswerRule(odds_weight, rank_weight, bias, num_questions=len(found))
    best = [_best(rule, one, is_right) for one, is_right in zip(found, right, strict=True)]
    logits, is_right = np.array([logit for logit, _ in best]), np.array([is_it for _, is_it in best])
    slope, offset = _logistic(logits[:, None], is_right)
    rule = replace(rule, slope=slope, offset=offset)
    scores = np.array([rule.confidence(float(logit)) for logit in logits])
    threshold, coverage, risk = threshold_for(scores, is_right, wanted_risk)
    return Tuned(replace(rule, threshold=threshold), coverage, risk, wanted_risk)


def threshold_for(
    scores: NDArray[np.float64], is_right: NDArray[np.bool_], wanted_risk: float
) -> tuple[float, float, float]:
    """The lowest threshold under which the share of wrong answers stays within the risk; its coverage and its risk.

    Where none does, a threshold above all scores: nothing is answered.
    """
    order = np.argsort(-scores, kind="stable")
    wrong = np.cumsum(~is_right[order]) / np.arange(1, len(order) + 1)
    # Equal scores are answered together or not at all.
    is_last = np.append(np.diff(scores[order]) != 0, True)
    allowed = np.flatnonzero((wrong <= wanted_risk) & is_last)
    if not len(allowed):
        return math.nextafter(float(scores.max()), math.inf), 0.0, 0.0
    last = allowed[-1]
    return float(scores[order][last]), (int(last) + 1) / len(order), float(wrong[last])


def _is_right(answer: str, known: Sequence[str], scoring: Scoring) -> bool:
    return bool(known) and score_answer(answer, known, scoring).f1 >= RIGHT_F1


def _best(rule: AnswerRule, found: Found, right: NDArray[np.bool_]) -> tuple[float, bool]:
    if not found.answers:
        return -LARGEST_LOGIT, False
    logits = rule.logits(found.odds, found.ranks)
    place = int(np.argmax(logits))
    return float(logits[place]), bool(right[place])


def _logistic(features: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[float, ...]:
    """Weights and bias. Raises `DataError` where all labels are the same."""
    from sklearn.linear_model import LogisticRegression

    if labels.all() or not labels.any():
        which = "right" if labels.all() else "wrong"
        raise DataError(f"all of the {len(labels)} answers found are {which}: no rule can be fitted on these questions")
    model = LogisticRegression(C=100.0).fit(features, labels)
    return (*map(float, model.coef_[0]), float(model.intercept_[0]))


@dataclass(frozen=True)
class KeptAnswers:
    """`answers.json` of an index: which reader, and the rule that was fitted with it.

    mode, is_reranked: how the passages were found then; None for the best that the index has.
    """

    reader: str
    reader_sha256: str
    rule: AnswerRule
    num_passages: int = NUM_PASSAGES
    facts: Mapping[str, Any] = field(default_factory=dict)
    mode: Mode | None = None
    is_reranked: bool = False

    def save(self, folder: Path) -> None:
        with atomic_file(folder / FILE) as temporary:
            write_json(temporary, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """None where nothing was kept. Raises `FileFormatError` for a file of another shape."""
        if not (folder / FILE).is_file():
            return None
        values = read_json(folder / FILE)
        try:
            kept = cls(**{**values, "rule": AnswerRule(**values["rule"])})
            if type(kept.num_passages) is not int or kept.num_passages < 1:
                raise TypeError(f"num_passages is {kept.num_passages!r}")
            if not isinstance(kept.reader, str) or not isinstance(kept.reader_sha256, str):
                raise TypeError("reader and reader_sha256 are no texts")
            if kept.mode not in (None, *get_args(Mode)) or not isinstance(kept.is_reranked, bool):
                raise TypeError(f"mode is {kept.mode!r:.40}, is_reranked {kept.is_reranked!r:.40}")
            for name, number in asdict(kept.rule).items():
                if isinstance(number, bool) or not math.isfinite(number):
                    raise TypeError(f"{name} is {number!r}")
            return kept
        except (KeyError, TypeError) as error:
            raise FileFormatError(
                f"{folder / FILE}: not what bertsmith ask keeps: {error}; --tune makes it anew"
            ) from None
