"""Tagging of words: named entities in BIO or BIOES, or plain tags such as parts of speech (Devlin et al. 2019, 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bertsmith.baselines import most_frequent_tags
from bertsmith.calibration import fit_temperature
from bertsmith.data.batch import Batch, Window, concatenate, pack
from bertsmith.data.conll import read_conll
from bertsmith.data.readers import Row
from bertsmith.errors import DataError, SettingsError
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
from bertsmith.tasks.tag_labels import TagLabels
from bertsmith.tasks.tag_measure import TagMeasure
from bertsmith.tasks.tag_notices import mended_tags, words_without_pieces
from bertsmith.tasks.tag_records import (
    TagRequest,
    check_request,
    find_tag_columns,
    joined,
    request_record,
    separated,
    tags_of,
)
from bertsmith.tasks.tag_settings import TokenClassificationSettings
from bertsmith.tasks.tag_windows import TagWindow, TagWindows, chain_targets, read_words
from bertsmith.tasks.target import Answered, Target, log_odds, one_of, place_of
from bertsmith.tasks.task import Adopted, Changeable, Decided, Example, FoundColumns, Labels, Marks, RowReader, Task
from bertsmith.text.tags import OUTSIDE, Scheme, detect_scheme, scheme_labels
from bertsmith.text.tokenizer import Tokenizer


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
    changeable: ClassVar[Changeable] = "in place"
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
            self._tags.check(examples)
            return self
        labels = scheme_labels(tags, scheme)
        if len(labels) < 2:
            raise DataError(f"token_classification needs two tags in the training data at least, found {sorted(tags)}")
        return type(self)(self.settings.model_copy(update={"labels": labels}))

    def notices(self, examples: Sequence[Example[TagRequest]]) -> list[str]:
        """What people should know about the examples' tags."""
        return mended_tags(examples, self.scheme)

    def piece_notices(self, examples: Sequence[Example[TagRequest]], tokenizer: Tokenizer) -> list[str]:
        """Words that the tokenizer gives no piece: there is nothing to learn a tag from."""
        return words_without_pieces(examples, tokenizer)

    # Training

    def training_examples(self, examples: Sequence[Example[TagRequest]]) -> Sequence[Example[TagRequest]]:
        """Sentences joined, if asked for: each is the others' context, at no cost."""
        known = [replace(example, answer=self._tags.of(example)) for example in examples]
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
        labels, seen = self._tags.learned(item, read), np.pad(read, 1)
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
        chain = valid_chain(self._tags.grammar, network.crf.chain()).open(*targets["open"].unbind(1))
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
        """The largest logit; of `choice`, the places of a word's pieces and a label's index, the tag's log-odds."""
        if choice is None:
            return outputs.logits.max()
        places, index = choice
        return log_odds(outputs.logits[places].mean(0) / self.settings.temperature, index)

    def explained(self, answered: Answered, choice: str | None = None) -> Target:
        """The tag of a word: WORD or WORD=TAG, the word by its number from 0 or as it is written.

        By default that of the surest word of an entity, or of the surest word. Of a CRF its scores before the chain.
        """
        words = answered.prediction.words
        if choice is None:
            number = max(range(len(words)), key=lambda place: (words[place].tag != OUTSIDE, words[place].score))
            tag = words[number].tag
        else:
            names = [word.word for word in words]
            is_whole = choice in names or "=" not in choice[1:]
            asked, has_tag, tag = (choice, "", "") if is_whole else choice.rpartition("=")
            number = place_of(asked, range(len(words)), "word", names)
            tag = one_of(tag, self.settings.labels, "tag") if has_tag else words[number].tag
        window = next((place for place, one in enumerate(answered.windows) if number in one.words), None)
        if window is None:
            raise SettingsError(f"the word {words[number].word!r} was not read, so that there is nothing to explain")
        read = answered.windows[window]
        places, index = read.places[read.words == number].tolist(), self.settings.labels.index(tag)
        return Target.over(
            answered,
            (window,),
            self.outputs,
            lambda outputs: self.target(outputs[0], (places, index)),
            name=f"{tag} of {words[number].word}",
            unit="log-odds",
            reads=(tuple(places),),
        )

    # Judging

    @cached_property
    def _measure(self) -> TagMeasure:
        return TagMeasure(self.types, self.scheme, strict=self.settings.strict_entities)

    def marks(self, examples: Sequence[Example[TagRequest]], predictions: Sequence[TagPrediction]) -> Marks:
        """For each type what is right, what was given and what is known; then the right tags and all tags."""
        # What is written in another scheme has to be turned into this one before it can be read strictly.
        as_written = self.scheme == "plain" or detect_scheme({tag for e in examples for tag in e.answer}) == self.scheme
        known = [self._tags.of(example) for example in examples]
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
        known = [tag for example in examples for tag in self._tags.of(example)]
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
        known: list[Labels] = [(tag,) for example in examples for tag in self._tags.of(example)]
        return known, [(tag,) for prediction in predictions for tag in prediction.tags]

    def tuned(self, examples: Sequence[Example[TagRequest]], parts: Sequence[Sequence[PieceScores]]) -> Self:
        scores, labels = [], []
        for example, row in zip(examples, parts, strict=True):
            words = self._scores(row, len(example.answer))
            scores.append(words.scores[words.read])
            labels.append(self._tags.learned(example, words.read)[words.read])
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
            [self._tags.of(example) for example in train],
            [row.words for row in words],
        )
        answers = [tagged(row, given, [1.0] * len(given), self.scheme) for row, given in zip(words, tags, strict=True)]
        return {"most frequent tag of each word": answers}

    # Parts of the above

    @cached_property
    def _tags(self) -> TagLabels:
        return TagLabels(self.settings.labels, self.scheme)

    def _scores(self, parts: Sequence[PieceScores], num_words: int) -> WordScores:
        return score_words(parts, num_words, self.settings.labels, self._tags.grammar)
