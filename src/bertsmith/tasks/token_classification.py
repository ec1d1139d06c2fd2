"""Tagging of words: named entities in BIO or BIOES, or plain tags such as parts of speech (Devlin et al. 2019, 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from bertsmith.baselines import most_frequent_tags
from bertsmith.calibration import fit_temperature
from bertsmith.data.batch import Batch, Window, concatenate, pack
from bertsmith.data.columns import check_labels
from bertsmith.data.conll import read_conll
from bertsmith.data.readers import Row
from bertsmith.errors import DataError, nearest
from bertsmith.model.checkpoints import CONFIG
from bertsmith.model.config import EncoderConfig
from bertsmith.model.crf import Chain
from bertsmith.model.networks import CrfTokenNetwork, TokenNetwork
from bertsmith.tasks.foreign_model import adopt, labels_of
from bertsmith.tasks.tag_decoding import (
    PieceScores,
    TagPrediction,
    TokenOutputs,
    WordScores,
    score_words,
    tagged,
    valid_chain,
)
from bertsmith.tasks.tag_measure import TagMeasure
from bertsmith.tasks.tag_records import (
    TagRequest,
    check_request,
    find_tag_columns,
    joined,
    request_record,
    separated,
    tags_of,
)
from bertsmith.tasks.tag_windows import LabelledPieces, TagWindow, TagWindows, chain_targets, read_words
from bertsmith.tasks.task import Adopted, Decided, Example, FoundColumns, Labels, Marks, RowReader, Task
from bertsmith.text.tags import OUTSIDE, Grammar, Scheme, detect_scheme, grammar_of, repaired, scheme_labels
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.windows import WindowSettings

ROWS_SHOWN = 10


class TokenClassificationSettings(WindowSettings):
    labels: tuple[str, ...] = Field((), description="tags in the order of the logits; empty: from the data")
    scheme: Literal["auto", "plain", "IOB1", "BIO", "BIOES"] = Field(
        "auto",
        description="how tags spell entities; auto: as the data does; BIO and BIOES are turned into each other; IOB1: "
        "any tag may follow any, entities are read as conlleval does",
    )
    labelled_pieces: LabelledPieces = Field(
        "first", description="which pieces of a word are trained on and asked: the first, or all, with their mean"
    )
    crf: bool = Field(False, description="learn which tag follows which, in a linear chain over the words")
    context_tokens: int = Field(
        0, ge=0, description="tokens of the same document read on each side of a sentence, as far as there is room"
    )
    joined_words: int = Field(
        0, ge=0, description="train on a document's sentences joined up to so many words, each the others' context"
    )
    strict_entities: bool = Field(
        False,
        description="measure entities by seqeval's strict mode: none is what breaks the scheme; else as conlleval",
    )
    temperature: float = Field(1.0, gt=0, description="what scores are divided by before they become probabilities")

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if len(set(self.labels)) < len(self.labels) or "" in self.labels or len(self.labels) == 1:
            raise ValueError(f"labels: expected two names or more, none empty and none twice, not {self.labels}")
        if self.scheme != "plain" and OUTSIDE not in self.labels and detect_scheme(self.labels) != "plain":
            raise ValueError(f"labels: a scheme needs {OUTSIDE!r} beside {', '.join(self.labels)}")
        return self


class TokenClassification(Task[TagRequest, TagPrediction]):
    """One softmax, or a CRF, over the tags of every word.

    Tags that break their scheme are read as conlleval reads them and written validly: an `I-` without a `B-` before it
    becomes `B-`, so that IOB1 becomes BIO; `notices` counts them. Neighbouring words of the document are read as
    context and have no tags (Schweter and Akbik 2020). A word that is not read, as it has no pieces (control characters
    alone, say) or was cut off, is `O` in training as in predictions, and an entity that it parts goes on as another.
    """

    name = "token_classification"
    Settings = TokenClassificationSettings
    Request = TagRequest
    Prediction = TagPrediction
    answer_field = "tags"
    spare_fields: ClassVar = frozenset({"words", "text", "before", "after"})
    readers: ClassVar[Mapping[str, RowReader]] = dict.fromkeys((".conll", ".conllu", ".bio", ".txt"), read_conll)
    settings: TokenClassificationSettings

    # Reading

    def labels(self) -> tuple[str, ...]:
        return self.settings.labels

    @cached_property
    def scheme(self) -> Scheme:
        """As set, else as the labels have it; entities are expected before there are any."""
        if self.settings.scheme != "auto":
            return self.settings.scheme
        return detect_scheme(self.settings.labels) if self.settings.labels else "BIO"

    @cached_property
    def types(self) -> tuple[str, ...]:
        """What is measured one by one: the types of entities, or the plain tags, in the order of the labels."""
        if self.scheme == "plain":
            return self.settings.labels
        return tuple(dict.fromkeys(label[2:] for label in self.settings.labels if label != OUTSIDE))

    @property
    def metrics(self) -> Mapping[str, int]:
        """Of entities as seqeval names them; of plain tags the accuracy, and the mean of the tags' F1."""
        return dict.fromkeys(self._measure.names, 1)

    @classmethod
    def adopted(cls, folder: Path) -> Adopted | None:
        """Another library's tagger, whose tags may follow each other as they like: its training may have had IOB1."""

        def make(values: Mapping[str, Any]) -> TokenClassification:
            labels = labels_of(values, folder)
            scheme = "plain" if detect_scheme(labels) == "plain" else "IOB1"
            return cls(TokenClassificationSettings.of({"labels": labels, "scheme": scheme}, str(folder / CONFIG)))

        return adopt(folder, "BertForTokenClassification", make, "its tags are decoded one by one")

    def request(self, record: Any, where: str = "request") -> TagRequest:
        """From a record of the fields, a text, or a list of words; strings in the place of words are separated."""
        return check_request(super().request(request_record(record, where), where), where)

    def example(self, record: Mapping[str, Any], where: str) -> Example[TagRequest]:
        """The answer is a list of tags, one a word, or of spans of characters; see `tags_of`."""
        example = super().example(record, where)
        return replace(example, answer=tags_of(example.answer, example.request, where))

    def answer(self, value: Any, where: str) -> Any:
        return value

    def find_columns(self, rows: Sequence[Row], given: Mapping[str, str], *, labelled: bool = True) -> FoundColumns:
        return find_tag_columns(rows, given, labelled=labelled)

    def texts(self, request: TagRequest) -> list[str]:
        """What is tagged, as one text; the words around it are other requests' own."""
        return [" ".join(request.words) if request.text is None else request.text]

    def fitted(self, examples: Sequence[Example[TagRequest]]) -> Self:
        """Labels from the examples: every prefix of every type, or the plain tags, in the order of their names.

        Where the settings name labels already, every tag has to be one of them.
        """
        tags = {tag for example in examples for tag in example.answer}
        found = "plain" if self.settings.scheme == "plain" else detect_scheme(tags)
        scheme = self.scheme if self.settings.labels or self.settings.scheme != "auto" else found
        if found == "plain" != scheme and tags - {OUTSIDE}:
            raise DataError(f"tags of {scheme} have prefixes as in B-PER; found {', '.join(sorted(tags)[:10])}")
        if self.settings.labels:
            self._check_labels(examples)
            return self
        labels = scheme_labels(tags, scheme)
        if len(labels) < 2:
            raise DataError(f"token_classification needs two tags in the training data at least, found {sorted(tags)}")
        return type(self)(self.settings.model_copy(update={"labels": labels}))

    def notices(self, examples: Sequence[Example[TagRequest]]) -> list[str]:
        """What people should know about the examples' tags."""
        raw, scheme = {tag for e in examples for tag in e.answer}, self.scheme
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

    def piece_notices(self, examples: Sequence[Example[TagRequest]], tokenizer: Tokenizer) -> list[str]:
        """Words that the tokenizer gives no piece: there is nothing to learn a tag from."""
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

    # Training

    def training_examples(self, examples: Sequence[Example[TagRequest]]) -> Sequence[Example[TagRequest]]:
        """Sentences joined, if asked for: each is the others' context, at no cost."""
        known = [replace(example, answer=self._known(example)) for example in examples]
        return joined(known, self.settings.joined_words) if self.settings.joined_words else examples

    def encode(
        self, item: Example[TagRequest] | TagRequest, tokenizer: Tokenizer, rng: np.random.Generator
    ) -> list[Window]:
        request, where = (item.request, item.where) if isinstance(item, Example) else (item, "request")
        settings = self.settings
        windows = TagWindows(settings, settings.context_tokens, settings.labelled_pieces).of(
            request, separated(request).words, tokenizer, where
        )
        if not isinstance(item, Example):
            return list(windows)
        read = read_words(windows, len(item.answer))
        labels, seen = self._learned(item, read), np.pad(read, 1)
        return [
            replace(
                window,
                targets={
                    "labels": labels[window.words],
                    # Whether the words before and after are read, in this window or another.
                    **({"before": seen[window.words], "after": seen[window.words + 2]} if settings.crf else {}),
                },
            )
            for window in windows
        ]

    def collate(self, windows: Sequence[Window]) -> Batch:
        """Targets: the places of all labelled pieces in the batch, and their labels.

        For a CRF the labels are those of words; see `chain_targets`.
        """
        packed = pack(windows)
        labelled = [window for window in windows if isinstance(window, TagWindow) and window.targets]
        if not labelled:
            return Batch(packed, {}, {"tagging": 0})
        starts = packed.starts.tolist()
        places = concatenate(start + window.places for start, window in zip(starts, labelled, strict=True))
        targets: dict[str, NDArray[Any]] = {"places": places}
        if self.settings.crf:
            targets |= chain_targets(labelled)
        else:
            targets["labels"] = concatenate(window.targets["labels"] for window in labelled)
        tensors = {name: torch.from_numpy(values) for name, values in targets.items()}
        return Batch(packed, tensors, {"tagging": len(tensors["labels"])}, stays={"lengths"})

    def build(self, config: EncoderConfig) -> TokenNetwork | CrfTokenNetwork:
        network = CrfTokenNetwork if self.settings.crf else TokenNetwork
        return network(config, len(self.settings.labels))

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        targets = batch.targets
        logits = network(batch.packed).float()[targets["places"]]
        if not isinstance(network, CrfTokenNetwork):
            return {"tagging": F.cross_entropy(logits, targets["labels"], reduction="sum")}
        words = logits.new_zeros(len(targets["labels"]), logits.shape[1]).index_add(0, targets["owners"], logits)
        words = words / targets["owners"].bincount()[:, None]
        if not len(words):
            return {"tagging": words.sum()}
        chain = valid_chain(self._grammar, network.crf.chain()).open(*targets["open"].unbind(1))
        likelihood = chain.log_likelihood(words, targets["labels"], targets["lengths"].tolist())
        return {"tagging": -likelihood.sum()}

    # Prediction

    def outputs(self, network: nn.Module, batch: Batch) -> list[TokenOutputs]:
        logits = batch.packed.split(network(batch.packed).float().cpu())
        chain = None
        if isinstance(network, CrfTokenNetwork):
            learned = network.crf.chain()
            chain = Chain(*(part.detach().cpu() for part in (learned.starts, learned.transitions, learned.ends)))
        return [TokenOutputs(part, chain) for part in logits]

    def decode(self, window: Window, outputs: TokenOutputs, tokenizer: Tokenizer) -> PieceScores:
        """The logits of the pieces that the window answers for."""
        assert isinstance(window, TagWindow)
        logits = outputs.logits[torch.from_numpy(window.places)]
        return PieceScores(window.words, logits.detach().numpy(), outputs.chain)

    def merge(self, request: TagRequest, parts: Sequence[PieceScores], num_cut_tokens: int) -> TagPrediction:
        words = separated(request)
        scores = self._scores(parts, len(words.words))
        found = zip(scores.labels.tolist(), scores.read.tolist(), strict=True)
        tags = [self.settings.labels[label] if read else OUTSIDE for label, read in found]
        probabilities = scores.probabilities(self.settings.temperature).tolist()
        prediction = tagged(words, tags, probabilities, self.scheme)
        return replace(prediction, num_cut_tokens=num_cut_tokens, num_windows=len(parts))

    def target(self, outputs: TokenOutputs, choice: Any = None) -> Tensor:
        """The largest logit, or that of `choice`, a pair of a token's place and a label's index."""
        return outputs.logits.max() if choice is None else outputs.logits[choice]

    # Judging

    @cached_property
    def _measure(self) -> TagMeasure:
        return TagMeasure(self.types, self.scheme, strict=self.settings.strict_entities)

    def marks(self, examples: Sequence[Example[TagRequest]], predictions: Sequence[TagPrediction]) -> Marks:
        """For each type what is right, what was given and what is known; then the right tags and all tags."""
        # What is written in another scheme has to be turned into this one before it can be read strictly.
        as_written = self.scheme == "plain" or detect_scheme({tag for e in examples for tag in e.answer}) == self.scheme
        known = [self._known(example) for example in examples]
        rows = [
            self._measure.row(e.answer if as_written else spelled, spelled, p.tags, e.where)
            for e, spelled, p in zip(examples, known, predictions, strict=True)
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), self._measure.width)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """Precision, recall and F1 of entities of the same type and borders, over all of them; accuracy of the tags."""
        return self._measure.metrics(marks)

    def credit(self, marks: Marks) -> NDArray[np.float64]:
        """The F1 of an example's entities, 1 where there are none and none were given; of plain tags the accuracy."""
        return self._measure.credit(marks)

    def confidences(
        self, examples: Sequence[Example[TagRequest]], predictions: Sequence[TagPrediction]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each word that was read the probability of its tag."""
        known = [tag for example in examples for tag in self._known(example)]
        given = [word for prediction in predictions for word in prediction.words]
        pairs = [(word.score, word.tag == tag) for word, tag in zip(given, known, strict=True) if word.score > 0]
        rows = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        return rows[:, 0], rows[:, 1]

    def decided(self, prediction: TagPrediction) -> Decided:
        """The tags of all words, and the probability of the least sure one that was read."""
        return Decided(prediction.tags, min((word.score for word in prediction.words if word.score > 0), default=None))

    def confusion(
        self, examples: Sequence[Example[TagRequest]], predictions: Sequence[TagPrediction]
    ) -> tuple[list[Labels], list[Labels]]:
        """The tags of all words."""
        known: list[Labels] = [(tag,) for example in examples for tag in self._known(example)]
        return known, [(tag,) for prediction in predictions for tag in prediction.tags]

    def tuned(self, examples: Sequence[Example[TagRequest]], parts: Sequence[Sequence[PieceScores]]) -> Self:
        scores, labels = [], []
        for example, row in zip(examples, parts, strict=True):
            words = self._scores(row, len(example.answer))
            scores.append(words.scores[words.read])
            labels.append(self._learned(example, words.read)[words.read])
        if not scores:
            return self
        temperature = fit_temperature(np.concatenate(scores), np.concatenate(labels))
        return type(self)(self.settings.model_copy(update={"temperature": temperature}))

    def baselines(
        self, train: Sequence[Example[TagRequest]], test: Sequence[Example[TagRequest]]
    ) -> dict[str, Sequence[TagPrediction]]:
        words = [separated(example.request) for example in test]
        tags = most_frequent_tags(
            [separated(example.request).words for example in train],
            [self._known(example) for example in train],
            [row.words for row in words],
        )
        answers = [tagged(row, given, [1.0] * len(given), self.scheme) for row, given in zip(words, tags, strict=True)]
        return {"most frequent tag of each word": answers}

    # Parts of the above

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.settings.labels)}

    def _index(self, tag: str, where: str) -> int:
        if tag not in self._indices:
            raise DataError(f"{where}: tag {tag!r} is not one of the model's; {nearest(tag, self._indices)}")
        return self._indices[tag]

    def _known(self, example: Example[TagRequest]) -> list[str]:
        """An example's tags in this task's scheme."""
        return repaired(example.answer, self.scheme)

    def _learned(self, example: Example[TagRequest], read: NDArray[np.bool_]) -> NDArray[np.int64]:
        """[words]: the labels that can be learned, a valid sequence; of words that are not read there is none, -1."""
        tags = self._known(example)
        if not read.all():
            tags = repaired([tag if seen else OUTSIDE for tag, seen in zip(tags, read, strict=True)], self.scheme)
        indices = [self._index(tag, example.where) if seen else -1 for tag, seen in zip(tags, read, strict=True)]
        return np.array(indices, dtype=np.int64)

    def _check_labels(self, examples: Sequence[Example[TagRequest]]) -> None:
        known = self._indices
        strange = [
            (tag, f"{example.where}, word {place}")
            for example in examples
            for place, tag in enumerate(self._known(example), start=1)
            if tag not in known
        ]
        check_labels([tag for tag, _ in strange], [where for _, where in strange], self.settings.labels)

    @cached_property
    def _grammar(self) -> Grammar:
        return grammar_of(self.settings.labels, self.scheme)

    def _scores(self, parts: Sequence[PieceScores], num_words: int) -> WordScores:
        return score_words(parts, num_words, self.settings.labels, self._grammar)
