"""Pre-training: guess masked tokens and, if wanted, whether one text follows another (Devlin et al. 2019, section 3.1).

Its examples are passages of a corpus; its requests are texts with [MASK] in them, to be filled in.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Window, concatenate, pack
from bertsmith.data.corpus import Corpus
from bertsmith.data.marks import ids_of, marks_of
from bertsmith.data.masking import CONTINUING, MaskingSettings, mask_tokens
from bertsmith.data.passages import Passage, Passages, SentenceStore
from bertsmith.errors import DataError, SettingsError
from bertsmith.model.config import EncoderConfig
from bertsmith.model.networks import PretrainingNetwork
from bertsmith.settings import Settings
from bertsmith.tasks.target import Answered, Target, place_of
from bertsmith.tasks.task import Changeable, Decided, Example, Marks, Prepared, Task
from bertsmith.text.tokenizer import Tokenizer

Ids = NDArray[Any]

FOLLOWS, DOES_NOT_FOLLOW = 0, 1
"""Classes of the sentence head, numbered as BERT's."""


class PretrainingSettings(Settings):
    sentence_task: Literal["none", "next", "order", "pair"] = Field(
        "next",
        description="'next': does the second text follow the first (NSP); 'order': are the two in order (ALBERT, "
        "section 3.1); 'pair': two of a document's sentences side by side, masked tokens only (translations: TLM); "
        "'none': masked tokens only",
    )
    masking: MaskingSettings = MaskingSettings()
    max_length: int = Field(128, ge=8, description="longest input with its special tokens, in tokens")
    num_fills: int = Field(5, ge=1, description="candidates returned for each [MASK] of a request")


@dataclass(frozen=True, slots=True)
class FillMaskRequest:
    """A text with one [MASK] or more."""

    text: str


@dataclass(frozen=True, slots=True)
class Fill:
    token: str
    score: float


@dataclass(frozen=True, slots=True)
class FillMaskPrediction:
    """fills: for each [MASK] in order its likeliest tokens, best first, with probabilities.

    label_log_probabilities, num_correct_tokens, sentence_is_correct: for passages only, whose answers are known.
    """

    fills: tuple[tuple[Fill, ...], ...]
    num_cut_tokens: int = 0
    label_log_probabilities: tuple[float, ...] = ()
    num_correct_tokens: int = 0
    sentence_is_correct: bool | None = None


class Pretraining(Task[FillMaskRequest, FillMaskPrediction]):
    """Masked language model, alone or with a task on sentence pairs."""

    name = "pretraining"
    Settings = PretrainingSettings
    Request = FillMaskRequest
    Prediction = FillMaskPrediction
    metrics: ClassVar = {"masked_accuracy": 1, "perplexity": -1, "sentence_accuracy": 1}
    changeable: ClassVar[Changeable] = "never"
    settings: PretrainingSettings

    def prepared(self, folder: Path, tokenizer: Tokenizer) -> Prepared:
        """The passages of a corpus. Raises `DataError` for one that was prepared with another tokenizer."""
        corpus = Corpus.open(folder)
        if corpus.manifest.tokenizer != tokenizer.fingerprint:
            raise DataError(
                f"{folder}: prepared with another tokenizer than the model has; prepare it again, with --tokenizer "
                "and the model's folder"
            )
        return Prepared(self.passages(corpus), corpus.fingerprint)

    def passages(self, corpus: SentenceStore, seed: int = 0) -> Passages:
        """A corpus cut into what `encode` takes: passages of a window's length; whole documents for pairs of them."""
        if self.settings.sentence_task == "pair":
            return Passages(corpus, max_tokens=sys.maxsize, short_fraction=0.0, seed=seed)
        return Passages(corpus, max_tokens=self.settings.max_length - 3, seed=seed)

    def encode(
        self, item: Example[FillMaskRequest] | FillMaskRequest | Passage, tokenizer: Tokenizer, rng: np.random.Generator
    ) -> list[Window]:
        if isinstance(item, Passage):
            return [self._masked_pair(item, tokenizer, rng)]
        request = item.request if isinstance(item, Example) else item
        encoding = tokenizer.encode(request.text, max_length=self.settings.max_length)
        places = [i for i, token in enumerate(encoding.input_ids) if token == tokenizer.mask_id]
        if not places:
            raise DataError(
                f"nothing to fill in: the text holds no [MASK] (in its first {self.settings.max_length} tokens)"
            )
        return [Window(encoding.input_ids, encoding.token_type_ids, {"places": places}, encoding.num_cut_tokens)]

    def collate(self, windows: Sequence[Window]) -> Batch:
        packed = pack(windows)
        starts = packed.starts.tolist()
        places = concatenate(np.asarray(w.targets["places"]) + start for w, start in zip(windows, starts, strict=True))
        labels = concatenate(w.targets["labels"] for w in windows if "labels" in w.targets)
        targets = {"places": torch.from_numpy(places), "labels": torch.from_numpy(labels)}
        counts = {"mlm": len(labels)}
        sentences = [w.targets["sentence"] for w in windows if "sentence" in w.targets]
        if sentences:
            targets["sentences"] = torch.tensor(sentences)
            counts[self.settings.sentence_task] = len(sentences)
        return Batch(packed, targets, counts, stays={"places"})

    def build(self, config: EncoderConfig) -> PretrainingNetwork:
        return PretrainingNetwork(config, sentence_pairs=self.settings.sentence_task in ("next", "order"))

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = network(batch.packed, batch.targets["places"])
        sums = {"mlm": F.cross_entropy(logits.tokens.float(), batch.targets["labels"], reduction="sum")}
        if logits.sentences is not None:
            sums[self.settings.sentence_task] = F.cross_entropy(
                logits.sentences.float(), batch.targets["sentences"], reduction="sum"
            )
        return sums

    def outputs(self, network: nn.Module, batch: Batch) -> list[Any]:
        """For each window its [m, V] log-probabilities and, with a sentence task, the class it takes the pair for."""
        logits = network(batch.packed, batch.targets["places"])
        starts = batch.packed.layout.query_starts
        numbers = torch.diff(torch.searchsorted(batch.targets["places"], starts)).tolist()
        tokens = torch.split(logits.tokens.float().log_softmax(-1), numbers)
        if logits.sentences is None:
            return [(rows, None) for rows in tokens]
        return list(zip(tokens, logits.sentences.argmax(-1).tolist(), strict=True))

    def decode(self, window: Window, outputs: Any, tokenizer: Tokenizer) -> FillMaskPrediction:
        rows, sentence = outputs
        if "labels" not in window.targets:
            best = rows.topk(min(self.settings.num_fills, rows.shape[-1]))
            fills = tuple(
                tuple(Fill(tokenizer.vocab[token], math.exp(score)) for token, score in zip(ids, scores, strict=True))
                for ids, scores in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            )
            return FillMaskPrediction(fills, window.num_cut_tokens)
        labels = torch.as_tensor(window.targets["labels"], device=rows.device).long()
        known = rows.gather(1, labels[:, None])[:, 0].tolist()
        correct = int((rows.argmax(-1) == labels).sum())
        agrees = None if "sentence" not in window.targets else sentence == window.targets["sentence"]
        return FillMaskPrediction((), window.num_cut_tokens, tuple(known), correct, agrees)

    def merge(
        self, request: FillMaskRequest, parts: Sequence[FillMaskPrediction], num_cut_tokens: int
    ) -> FillMaskPrediction:
        (prediction,) = parts
        return prediction

    def target(self, outputs: Any, choice: Any = None) -> Tensor:
        """The log-probability of the likeliest token at the first [MASK], or of token id `choice`."""
        rows: Tensor = outputs[0]
        return rows[0].max() if choice is None else rows[0, choice]

    def explained(self, answered: Answered, choice: str | None = None) -> Target:
        """The token at a [MASK]: TOKEN at the first one, or NUMBER=TOKEN or NUMBER=, counted from 0."""
        (window,), tokenizer = answered.windows, answered.tokenizer
        places = list(window.targets["places"])
        number, _, token = choice.partition("=") if choice and "=" in choice[1:] else ("0", "", choice or "")
        mask = place_of(number, range(len(places)), "[MASK]")
        if token and token not in tokenizer.ids:
            raise SettingsError(f"no token {token!r:.80} in the vocabulary; tokens are written as fill-mask shows them")
        index = tokenizer.ids[token] if token else int(answered.outputs[0][0][mask].argmax())
        return Target.over(
            answered,
            (0,),
            self.outputs,
            lambda outputs: self.target((outputs[0][0][mask:], None), index),
            name=f"{tokenizer.vocab[index]} at [MASK] {mask}",
            unit="log-probability",
            reads=((places[mask],),),
        )

    def decided(self, prediction: FillMaskPrediction) -> Decided:
        """The likeliest token of each [MASK]."""
        best = [fills[0] for fills in prediction.fills if fills]
        return Decided(tuple(fill.token for fill in best), min((fill.score for fill in best), default=None))

    def marks(self, examples: Sequence[Any], predictions: Sequence[FillMaskPrediction]) -> Marks:
        """A row: masked tokens, those guessed right, the sum of log-probabilities, pairs judged, those judged right."""
        rows = [
            (
                len(p.label_log_probabilities),
                p.num_correct_tokens,
                math.fsum(p.label_log_probabilities),
                p.sentence_is_correct is not None,
                p.sentence_is_correct is True,
            )
            for p in predictions
        ]
        return np.array(rows, dtype=float).reshape(-1, 5)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """masked_accuracy; perplexity at masked places; sentence_accuracy where pairs are judged."""
        tokens, correct, scores, judged, right = marks.sum(axis=0).tolist()
        metrics = {"masked_accuracy": correct / max(1, tokens), "perplexity": math.exp(-scores / max(1, tokens))}
        return metrics | ({"sentence_accuracy": right / judged} if judged else {})

    def credit(self, marks: Marks) -> Marks:
        """The share of masked tokens guessed right."""
        shares: Marks = marks[:, 1] / np.maximum(1, marks[:, 0])
        return shares

    def _masked_pair(self, passage: Passage, tokenizer: Tokenizer, rng: np.random.Generator) -> Window:
        first, second, sentence = self._draw_pair(passage, rng)
        room = self.settings.max_length - (2 if second is None else 3)
        num_cut = max(0, len(first) + (0 if second is None else len(second)) - room)
        if second is None:
            first = first[:room]
        else:
            first, second = _cut_pair(first, second, room, rng)
        cls, sep = np.array([tokenizer.cls_id]), np.array([tokenizer.sep_id])
        tokens = concatenate([cls, first, sep] if second is None else [cls, first, sep, second, sep])
        input_ids, marks = ids_of(tokens), marks_of(tokens)
        types = np.zeros(len(input_ids), dtype=np.int64)
        types[len(first) + 2 :] = 1
        traits = _traits(tokenizer)
        masked = mask_tokens(
            input_ids,
            ~traits.is_special[input_ids],
            traits.continues_word[input_ids] | (marks & CONTINUING[self.settings.masking.mask_unit] != 0),
            self.settings.masking,
            mask_id=tokenizer.mask_id,
            ordinary_ids=traits.ordinary_ids,
            rng=rng,
        )
        targets: dict[str, Any] = {"places": masked.places, "labels": masked.labels}
        if sentence is not None:
            targets["sentence"] = sentence
        # Translations are not one after another: each counts its words from the same position (XLM, figure 1).
        anew = np.arange(len(types)) - types * (len(first) + 1) if self.settings.sentence_task == "pair" else None
        return Window(masked.input_ids, types, targets, num_cut, position_ids=anew)

    def _draw_pair(self, passage: Passage, rng: np.random.Generator) -> tuple[Ids, Ids | None, int | None]:
        """First text, second text and whether it follows, as the sentence task wants them, however long."""
        sentences = passage.sentences
        task = self.settings.sentence_task
        if task == "none":
            return concatenate(sentences), None, None
        if task == "pair":
            # Which two and in which order changes, so that each language is seen first and second, beside each other.
            if len(sentences) == 1:
                return sentences[0], None, None
            one, other = rng.permutation(len(sentences))[:2].tolist()
            return sentences[one], sentences[other], None
        if len(sentences) == 1:
            # One sentence has no neighbour: NSP takes its second text from elsewhere, as BERT does; order needs a cut.
            cut = (len(sentences[0]) + 1) // 2
            halves = (sentences[0][:cut], sentences[0][cut:]) if task == "order" else (sentences[0], None)
        else:
            at = int(rng.integers(1, len(sentences)))
            halves = (concatenate(sentences[:at]), concatenate(sentences[at:]))
        first, second = halves
        label = FOLLOWS
        if task == "next" and (second is None or rng.random() < 0.5):
            label = DOES_NOT_FOLLOW
            # Whole sentences up to the length that the true text would have had, so that length says nothing.
            whole = self.settings.max_length - 3 if second is None else sum(map(len, sentences))
            wanted = whole - len(first)
            second = _from_within(passage.source.elsewhere(passage.document, rng).sentences, wanted, rng)
        elif task == "order" and rng.random() < 0.5:
            label = DOES_NOT_FOLLOW
            assert second is not None
            first, second = second, first
        assert second is not None
        return first, second, label


def _from_within(sentences: Sequence[Ids], num_tokens: int, rng: np.random.Generator) -> Ids:
    """About `num_tokens` from a passage, not from its first sentence where another will do.

    A true second text never opens its passage. Where documents are short, passages open as documents do ("Return the
    ..."), and that alone would give the false ones away.
    """
    left = np.cumsum([len(sentence) for sentence in sentences][::-1])[::-1]
    starts = [start for start in range(1, len(sentences)) if left[start] >= num_tokens]
    start = int(rng.choice(starts)) if starts else min(1, len(sentences) - 1)
    return _whole_sentences(sentences[start:], num_tokens)


def _whole_sentences(sentences: Sequence[Ids], num_tokens: int) -> Ids:
    """The first sentences that together hold at least `num_tokens`, or all; never none."""
    filled = np.cumsum([len(sentence) for sentence in sentences])
    return concatenate(sentences[: int(np.searchsorted(filled, num_tokens)) + 1])


def _cut_pair(first: Ids, second: Ids, room: int, rng: np.random.Generator) -> tuple[Ids, Ids]:
    """Shorten the longer text, at its front or its back at random, until both fit (as in BERT's data preparation)."""
    excess = len(first) + len(second) - room
    if excess <= 0:
        return first, second
    # Where cutting one token at a time from the longer one, the second of two equals, would end.
    first_length = min(len(first), max(room - len(second), (room + 1) // 2))
    lengths = (first_length, room - first_length)
    cut = []
    for text, length in zip((first, second), lengths, strict=True):
        front = int(rng.binomial(len(text) - length, 0.5)) if len(text) > length else 0
        cut.append(text[front : front + length])
    return cut[0], cut[1]


@dataclass(frozen=True, slots=True)
class _Traits:
    """is_special, continues_word: [V] bool. ordinary_ids: what a random replacement is drawn from."""

    is_special: NDArray[np.bool_]
    continues_word: NDArray[np.bool_]
    ordinary_ids: Ids


@lru_cache(maxsize=4)
def _traits(tokenizer: Tokenizer) -> _Traits:
    is_special = np.zeros(tokenizer.vocab_size, dtype=bool)
    is_special[list(tokenizer.special_ids)] = True
    return _Traits(is_special, np.asarray(tokenizer.is_continuation), np.flatnonzero(~is_special))
