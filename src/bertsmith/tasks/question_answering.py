"""Questions whose answer is a span of a given text, or that the text does not answer (Devlin et al. 2019, section 4.2).

A long text is read in windows beside the whole question; the answer is the likeliest span of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from bertsmith.baselines import Bm25
from bertsmith.data.answers import known_answers
from bertsmith.data.batch import Batch, Window, pack
from bertsmith.data.squad import read_squad
from bertsmith.errors import DataError
from bertsmith.metrics.answers import Scoring, score_answer
from bertsmith.model.config import EncoderConfig
from bertsmith.model.networks import SpanNetwork
from bertsmith.tasks.answer_explained import explained_span
from bertsmith.tasks.answer_fitting import best_no_answer_threshold, fit_candidates_temperature
from bertsmith.tasks.answer_records import (
    Answer,
    AnswerPrediction,
    QuestionRequest,
    to_no_answer_odds,
    to_squad,
)
from bertsmith.tasks.foreign_model import adopt
from bertsmith.tasks.target import Answered, Target
from bertsmith.tasks.task import Adopted, Changeable, Decided, Example, Labels, Marks, RowReader, Task, Writer
from bertsmith.text.align import pieces_within
from bertsmith.text.noise import TextChange
from bertsmith.text.sentences import split_sentences
from bertsmith.text.spans import best_spans
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.windows import TextWindow, WindowSettings, cut_windows, pieces_of

_FAULTS_SHOWN = 10


class QuestionAnsweringSettings(WindowSettings):
    max_length: int = Field(384, ge=3, description="longest window, question and special tokens included, in tokens")
    max_question_tokens: int = Field(64, ge=1, description="what a longer question has beyond is cut and counted")
    max_answer_tokens: int = Field(30, ge=1, description="no longer answer is given")
    num_best: int = Field(20, ge=1, description="likeliest spans among which the probability is shared")
    allow_no_answer: bool | None = Field(
        None, description="whether a text may lack the answer; None: as in the training data"
    )
    no_answer_threshold: float = Field(
        0.0, description="by how much no answer has to beat the best span, in logits; fitted to held-out data"
    )
    temperature: float = Field(1.0, gt=0, description="what logits are divided by; fitted to held-out data")
    scoring: Scoring = Field("squad", description="whose definition of f1 and exact_match; cmrc2018 is for Chinese")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpanWindow(Window):
    """context_start: place of the context's first piece. offsets: [n, 2], of its n pieces in the context's characters.

    owned: [n], whether this window answers for spans that begin there. runs: [n], one number for each stretch without
    a gap.
    """

    context_start: int
    offsets: NDArray[np.int32]
    owned: NDArray[np.bool_]
    runs: NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class SpanPart:
    """What a window says: null, the logits of no answer; places [k, 2] and logits [k] of its best spans."""

    null: float
    places: NDArray[np.int32]
    logits: NDArray[np.float32]


class QuestionAnswering(Task[QuestionRequest, AnswerPrediction]):
    """A start and an end over the tokens of a window; both at [CLS] where the window lacks the answer."""

    name = "question_answering"
    Settings = QuestionAnsweringSettings
    Request = QuestionRequest
    Prediction = AnswerPrediction
    answer_field = "answers"
    spare_fields: ClassVar = frozenset({"id"})
    readers: ClassVar[Mapping[str, RowReader]] = {".json": read_squad}
    writers: ClassVar[Mapping[str, Writer]] = {"squad": to_squad, "squad-odds": to_no_answer_odds}
    changeable: ClassVar[Changeable] = "in place"
    settings: QuestionAnsweringSettings

    @property
    def metrics(self) -> Mapping[str, int]:
        names = ["f1", "exact_match"]
        if self.settings.allow_no_answer:
            names += ["has_answer_f1", "has_answer_exact_match", "no_answer_accuracy"]
        return dict.fromkeys(names, 1)

    @classmethod
    def adopted(cls, folder: Path) -> Adopted | None:
        """Another library's reader of passages; whether it may answer nothing, its config does not say: it may not."""
        return adopt(
            folder,
            "BertForQuestionAnswering",
            lambda values: cls(),
            "it always answers; of one that may find nothing, trained on SQuAD 2.0 say, fine-tune a copy here",
        )

    def request(self, record: Mapping[str, Any] | tuple[Any, ...] | str, where: str = "request") -> QuestionRequest:
        if isinstance(record, Mapping) and not isinstance(record.get("id", ""), str):
            record = {**record, "id": "" if record["id"] is None else str(record["id"])}
        return Task.request(self, record, where)

    def example(self, record: Mapping[str, Any], where: str) -> Example[QuestionRequest]:
        """Answers that are not where they are said to be are found again, see `notices`; ones nowhere are refused."""
        request = self.request({name: record[name] for name in ("question", "context", "id") if name in record}, where)
        try:
            if record.get("answers") is None:
                raise DataError(f"{where}: no value in 'answers'; a question without an answer has an empty list")
            return Example(request, known_answers(record["answers"], request.context, where), where)
        except DataError as error:
            raise DataError(f"{error}, question {request.id!r}" if request.id else str(error)) from None

    def texts(self, request: QuestionRequest) -> list[str]:
        return [request.question, request.context]

    def fitted(self, examples: Sequence[Example[QuestionRequest]]) -> Self:
        """Whether a text may lack the answer, from whether one does."""
        without = [example.where for example in examples if not example.answer]
        if self.settings.allow_no_answer is None:
            return self._with(allow_no_answer=bool(without))
        if without and not self.settings.allow_no_answer:
            shown = ", ".join(without[:_FAULTS_SHOWN])
            raise DataError(f"{len(without)} questions have no answer, but allow_no_answer is false: {shown}")
        return self

    def split_key(self, request: QuestionRequest) -> str:
        """Questions about one text belong together."""
        return request.context

    def notices(self, examples: Sequence[Example[QuestionRequest]]) -> list[str]:
        """What of the known answers is not as the file says, for people."""
        moved = [e.where for e in examples if any(answer.num_moved for answer in e.answer)]
        absent = [e.where for e in examples if any(answer.start is None for answer in e.answer)]
        kinds = {
            "have answers that are not where the file says, but elsewhere in their context": moved,
            "have answers that are not in their context, beside one that is; they are only compared with": absent,
        }
        return [f"{len(places)} questions {what}; the first: {places[0]}" for what, places in kinds.items() if places]

    def _with(self, **changes: Any) -> Self:
        return type(self)(self.settings.model_copy(update=changes))

    # Changing

    def changed(
        self, example: Example[QuestionRequest], change: TextChange, rng: np.random.Generator
    ) -> Example[QuestionRequest]:
        """The known answers stay as they are written in the context, or, where it is the case that changes, change too.

        An answer whose case alone stayed would give itself away.
        """
        assert self.takes(change), f"{self.name} does not take {change.name}"
        request, answers = example.request, example.answer
        context = change.apply(request.context, rng)
        for answer in answers:
            if answer.start is not None and not change.is_case:
                end = answer.start + len(answer.text)
                context = context[: answer.start] + request.context[answer.start : end] + context[end:]
        if change.is_case:
            answers = tuple(
                replace(known, text=context[known.start : known.start + len(known.text)])
                if known.start is not None
                else known
                for known in answers
            )
        asked = replace(request, question=change.apply(request.question, rng), context=context)
        return replace(example, request=asked, answer=answers)

    # Training

    def encode(
        self, item: Example[QuestionRequest] | QuestionRequest, tokenizer: Tokenizer, rng: np.random.Generator
    ) -> list[Window]:
        """Where several answers are known, the targets are those of the first that stands in the context."""
        request, where = (item.request, item.where) if isinstance(item, Example) else (item, "request")
        question, context = pieces_of(tokenizer, [request.question, request.context])
        num_cut = max(0, len(question) - self.settings.max_question_tokens)
        if num_cut and self.settings.truncation == "error":
            raise DataError(
                f"{where}: a question of {len(question)} tokens, more than max_question_tokens "
                f"{self.settings.max_question_tokens}; raise it, or choose another truncation than 'error'"
            )
        question = replace(question, ids=question.ids[: self.settings.max_question_tokens])
        cut = cut_windows(tokenizer, [question, context], self.settings, slide=1, where=where)
        span = None
        if isinstance(item, Example) and item.answer:
            answer = next(answer for answer in item.answer if answer.start is not None)
            span = pieces_within(context.offsets, answer.start, answer.start + len(answer.text))
        return [
            SpanWindow(
                window.input_ids,
                window.token_type_ids,
                _targets(window, span) if isinstance(item, Example) else {},
                window.num_cut_tokens + (0 if place else num_cut),
                continues=place > 0,
                context_start=window.starts[1],
                offsets=context.offsets[window.kept[1]],
                owned=window.owned,
                runs=window.kept[1] - np.arange(len(window.kept[1]), dtype=np.int32),
            )
            for place, window in enumerate(cut)
        ]

    def collate(self, windows: Sequence[Window]) -> Batch:
        places = [[window.targets["start"], window.targets["end"]] for window in windows if window.targets]
        return Batch(pack(windows), {"places": torch.tensor(places)} if places else {}, {"span": len(places)})

    def build(self, config: EncoderConfig) -> SpanNetwork:
        return SpanNetwork(config)

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The mean of the start's and the end's cross-entropy over all tokens of a window, added up."""
        logits = batch.packed.split(network(batch.packed).float())
        rows = pad_sequence(logits, batch_first=True, padding_value=-torch.inf)
        return {"span": F.cross_entropy(rows, batch.targets["places"], reduction="sum") / 2}

    # Prediction

    def outputs(self, network: nn.Module, batch: Batch) -> list[Any]:
        return batch.packed.split(network(batch.packed).float().cpu())

    def decode(self, window: Window, outputs: Any, tokenizer: Tokenizer) -> SpanPart:
        """The best spans within the context that this window answers for."""
        assert isinstance(window, SpanWindow)
        logits = outputs.numpy(force=True)
        context = logits[window.context_start : window.context_start + len(window.offsets)]
        spans = best_spans(
            context[:, 0],
            context[:, 1],
            may_start=window.owned,
            runs=window.runs,
            max_pieces=self.settings.max_answer_tokens,
            num_best=self.settings.num_best,
        )
        places = np.column_stack([window.offsets[spans.first, 0], window.offsets[spans.last, 1]])
        return SpanPart(float(logits[0].sum()), places, spans.scores)

    def merge(self, request: QuestionRequest, parts: Sequence[Any], num_cut_tokens: int) -> AnswerPrediction:
        """The best spans of all windows; no answer counts with the logits of the window where it is least likely."""
        places, logits = self._ranked(parts)
        order = np.argsort(-logits, kind="stable")
        scores = np.exp((logits - logits.max(initial=-np.inf)) / self.settings.temperature)
        scores /= scores.sum()
        candidates = tuple(
            Answer(request.context[start:end], float(score), start, end)
            for (start, end), score in zip(places[order].tolist(), scores[order].tolist(), strict=True)
        )
        best = candidates[0] if candidates else Answer("", 0.0, 0, 0)
        odds = _no_answer_odds(parts) if self.settings.allow_no_answer else None
        return AnswerPrediction(
            best.answer, best.score, best.start, best.end, candidates, odds, len(parts), num_cut_tokens
        )

    def _ranked(self, parts: Sequence[SpanPart]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Places and logits of the best spans, best first; where it may be, no answer stands last, as (0, 0)."""
        places = np.concatenate([part.places for part in parts])
        logits = np.concatenate([part.logits for part in parts]).astype(np.float64)
        best = np.argsort(-logits, kind="stable")[: self.settings.num_best]
        places, logits = places[best], logits[best]
        if self.settings.allow_no_answer:
            null = min(part.null for part in parts) - self.settings.no_answer_threshold
            places, logits = np.append(places, [[0, 0]], axis=0), np.append(logits, null)
        return places, logits

    def target(self, outputs: Any, choice: Any = None) -> Tensor:
        """The score of a span of tokens, `choice`: first and last; by default the best start's and the best end's."""
        values: Tensor = outputs
        if choice is None:
            return values.amax(dim=0).sum()
        return values[choice[0], 0] + values[choice[1], 1]

    def explained(self, answered: Answered, choice: str | None = None) -> Target:
        """The log-probability of the answer's start and end among the tokens of its window.

        choice: another answer, by its text or by its characters, as 12-18; or `start` or `end` of the one given.
        """
        found = explained_span(answered, choice)

        def value(outputs: Sequence[Tensor]) -> Tensor:
            both = outputs[0].log_softmax(dim=0)
            if found.part is None:
                return self.target(both, found.places)
            column = ("start", "end").index(found.part)
            return both[found.places[column], column]

        places = found.places if found.part is None else (found.places[("start", "end").index(found.part)],)
        return Target.over(
            answered,
            (found.window,),
            self.outputs,
            value,
            name=found.name,
            unit="log-probability",
            reads=(tuple(dict.fromkeys(places)),),
        )

    # Judging

    def marks(self, examples: Sequence[Example[QuestionRequest]], predictions: Sequence[AnswerPrediction]) -> Marks:
        """[n, 3]: f1, exact_match, and 1 where there is an answer, else 0."""
        return np.array(
            [
                [*self._score(prediction.answer, example), float(bool(example.answer))]
                for example, prediction in zip(examples, predictions, strict=True)
            ]
        ).reshape(-1, 3)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """f1 and exact_match from 0 to 1; where answers may lack, also for questions with and without one."""
        f1, exact, has_answer = marks.T
        values = {"f1": f1, "exact_match": exact}
        if self.settings.allow_no_answer:
            values |= {
                "has_answer_f1": f1[has_answer == 1],
                "has_answer_exact_match": exact[has_answer == 1],
                "no_answer_accuracy": exact[has_answer == 0],
            }
        return {name: float(rows.mean()) for name, rows in values.items() if rows.size}

    def _score(self, given: str, example: Example[QuestionRequest]) -> tuple[float, float]:
        score = score_answer(given, [answer.text for answer in example.answer], self.settings.scoring)
        return score.f1, score.exact_match

    def confidences(
        self, examples: Sequence[Example[QuestionRequest]], predictions: Sequence[AnswerPrediction]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Right is an exact match."""
        return np.array([prediction.score for prediction in predictions]), self.marks(examples, predictions)[:, 1]

    def confusion(
        self, examples: Sequence[Example[QuestionRequest]], predictions: Sequence[AnswerPrediction]
    ) -> tuple[list[Labels], list[Labels]]:
        """Whether there is an answer and whether one was given, where the text may lack it."""
        if not self.settings.allow_no_answer:
            return [], []
        kinds: tuple[Labels, Labels] = (("no answer",), ("answer",))
        known = [kinds[bool(example.answer)] for example in examples]
        return known, [kinds[bool(prediction.answer)] for prediction in predictions]

    def decided(self, prediction: AnswerPrediction) -> Decided:
        return Decided(("answer" if prediction.answer else "no answer",), prediction.score)

    def agrees(self, first: AnswerPrediction, second: AnswerPrediction, *, in_place: bool = False) -> bool:
        """Whether both answer the same, as the metrics compare answers, or with the same place."""
        if in_place and (first.start, first.end) == (second.start, second.end):
            return True
        return first.answer == second.answer or (
            score_answer(first.answer, [second.answer], self.settings.scoring).exact_match == 1
        )

    def tuned(self, examples: Sequence[Example[QuestionRequest]], parts: Sequence[Sequence[Any]]) -> Self:
        """The threshold with the highest F1 where the text may lack the answer; then the temperature."""
        if not examples:
            return self
        task = self
        if self.settings.allow_no_answer:
            answering = self._with(allow_no_answer=False)
            best = [answering.merge(e.request, row, 0).answer for e, row in zip(examples, parts, strict=True)]
            f1 = np.array([self._score(text, example)[0] for text, example in zip(best, examples, strict=True)])
            gains = np.where([bool(example.answer) for example in examples], f1, -1.0)
            odds = np.array([_no_answer_odds(row) for row in parts])
            task = self._with(no_answer_threshold=best_no_answer_threshold(odds, gains))
        predictions = [task.merge(e.request, row, 0) for e, row in zip(examples, parts, strict=True)]
        right = task.marks(examples, predictions)[:, 1]
        return task._with(temperature=fit_candidates_temperature([task._ranked(row)[1] for row in parts], right))

    def baselines(
        self, train: Sequence[Example[QuestionRequest]], test: Sequence[Example[QuestionRequest]]
    ) -> dict[str, Sequence[AnswerPrediction]]:
        """The sentence that is most like the question; where the text may lack the answer, also none."""
        answers: dict[str, Sequence[AnswerPrediction]] = {"BM25 sentence": [_sentence(e.request) for e in test]}
        if self.settings.allow_no_answer:
            answers["no answer"] = [_certain(example.request, 0, 0) for example in test]
        return answers


def _targets(window: TextWindow, span: tuple[int, int] | None) -> dict[str, int]:
    """Where the answer's first and last pieces stand in a window that has all of them, else both at [CLS]."""
    if span is None:
        return {"start": 0, "end": 0}
    kept = window.kept[1]
    start, end = np.searchsorted(kept, span).tolist()
    if end >= len(kept) or (kept[start], kept[end]) != span or end - start != span[1] - span[0]:
        return {"start": 0, "end": 0}
    return {"start": window.starts[1] + start, "end": window.starts[1] + end}


def _no_answer_odds(parts: Sequence[SpanPart]) -> float:
    """The least null score of all windows over the best span's score; as SQuAD 2.0's baseline, over 0 without any."""
    best = max((float(part.logits[0]) for part in parts if len(part.logits)), default=0.0)
    return min(part.null for part in parts) - best


def _sentence(request: QuestionRequest) -> AnswerPrediction:
    """The sentence that shares most with the question, by BM25 among those of the context."""
    spans = split_sentences(request.context)
    if not spans:
        return _certain(request, 0, 0)
    sentences = [request.context[start:end] for start, end in spans]
    place = int(np.argmax(Bm25(sentences).scores(request.question, sentences)))
    return _certain(request, *spans[place])


def _certain(request: QuestionRequest, start: int, end: int) -> AnswerPrediction:
    answer = Answer(request.context[start:end], 1.0, start, end)
    return AnswerPrediction(answer.answer, 1.0, start, end, (answer,))
