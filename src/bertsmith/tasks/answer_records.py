"""What is asked of a text and answered from it, and the files in which SQuAD's evaluation wants the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bertsmith.errors import DataError
from bertsmith.tasks.task import IN_TABLES


@dataclass(frozen=True, slots=True)
class QuestionRequest:
    """question: about the text `context`. id: by which SQuAD's evaluation knows it."""

    question: str
    context: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """answer: characters [start, end) of the context; "" with 0 and 0 for no answer. score: its probability."""

    answer: str
    score: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class AnswerPrediction:
    """answer, score, start, end: the likeliest of `candidates`, which are those whose probabilities add up to one.

    no_answer_odds: by how much no answer beats the best span, in logits, whatever the threshold; None where there
    always is an answer. num_windows: windows that the context was read in. num_cut_tokens: tokens not read.
    """

    answer: str
    score: float
    start: int = field(metadata={IN_TABLES: True})
    end: int = field(metadata={IN_TABLES: True})
    candidates: tuple[Answer, ...] = field(metadata={IN_TABLES: False})
    no_answer_odds: float | None = field(default=None, metadata={IN_TABLES: False})
    num_windows: int = 1
    num_cut_tokens: int = 0


def to_squad(requests: Sequence[QuestionRequest], predictions: Sequence[AnswerPrediction]) -> dict[str, str]:
    """Predictions as SQuAD's evaluation reads them: the answer of each question by its id, "" for no answer."""
    return {_id(request): prediction.answer for request, prediction in zip(requests, predictions, strict=True)}


def to_no_answer_odds(requests: Sequence[QuestionRequest], predictions: Sequence[AnswerPrediction]) -> dict[str, float]:
    """The second file of SQuAD 2.0's evaluation: by id a number that grows with the odds of there being no answer.

    Raises `DataError` where the model always gives an answer.
    """
    odds = {}
    for request, prediction in zip(requests, predictions, strict=True):
        if prediction.no_answer_odds is None:
            raise DataError("this model was trained on questions that all have an answer; there are no odds of none")
        odds[_id(request)] = prediction.no_answer_odds
    return odds


def _id(request: QuestionRequest) -> str:
    if not request.id:
        raise DataError(f"SQuAD's format needs an id for each question; none for {request.question!r:.80}")
    return request.id
