"""Sequence to sequence: a text rewritten into another by an encoder and a decoder (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Window, concatenate, pack, rows_of
from bertsmith.data.readers import Row
from bertsmith.errors import DataError, SettingsError, nearest
from bertsmith.metrics import generation as measures
from bertsmith.model.config import EncoderConfig
from bertsmith.model.generation import Frame, Generated, GenerationSettings, generate
from bertsmith.model.networks import Seq2SeqNetwork
from bertsmith.model.packed import Packed
from bertsmith.tasks.target import Answered, Target, place_of
from bertsmith.tasks.task import IN_TABLES, Decided, Example, FoundColumns, Marks, Task
from bertsmith.text.spacing import Side, join_pieces, join_texts, learn_spacing
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.windows import WindowSettings, cut_windows, pieces_of

Measure = Literal["bleu", "rouge", "exact_match"]


class Seq2SeqSettings(WindowSettings):
    stride: int = Field(0, ge=0, description="tokens that neighbouring windows of a long source share")
    max_target_length: int = Field(128, ge=3, description="longest target in training and generation, in tokens")
    num_decoder_layers: int | None = Field(None, ge=1, description="layers that write; None: as many as read")
    share_layers: bool = Field(False, description="the layers that write have the weights of those that read")
    label_smoothing: float = Field(
        0.1, ge=0, lt=1, description="share of a target's probability that training spreads over all tokens"
    )
    measure: Measure = Field(
        "bleu", description="what is made of known targets: bleu for translations, rouge for summaries, or exact_match"
    )
    bleu_tokenize: Literal["13a", "intl", "zh", "char"] = Field(
        "13a", description="how sacreBLEU cuts words: 13a, intl, zh for Chinese, or char"
    )
    generation: GenerationSettings = GenerationSettings()
    languages: tuple[str, ...] = Field((), description="languages of targets, learned from training data")
    spacing: dict[str, Side] = Field({}, description="where marks touch words, learned from training targets")

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        """What is written, with its first token, is no longer than what training read."""
        for name in ("min_new_tokens", "max_new_tokens"):
            if (getattr(self.generation, name) or 0) >= self.max_target_length:
                raise ValueError(
                    f"generation: {name} {getattr(self.generation, name)} is not below max_target_length "
                    f"{self.max_target_length}, of which the first token is one"
                )
        return self


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """The text to rewrite.

    keywords: a subject and an outline to write to, beside the text or instead of it. language: to write in, where the
    model knows several. prefix: what the target begins with.
    """

    text: str = ""
    keywords: str = ""
    language: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """text: what was generated. score: the mean probability of its tokens (geometric).

    finished: whether it ended by itself; False where the length limit cut it. num_cut_tokens: of the source. tokens,
    probabilities: each token and how probable the model found it there, 1 where it was given.
    """

    text: str
    score: float
    finished: bool
    num_cut_tokens: int = 0
    tokens: tuple[str, ...] = field(default=(), metadata={IN_TABLES: False})
    probabilities: tuple[float, ...] = field(default=(), metadata={IN_TABLES: False})


class Seq2Seq(Task[SourceRequest, GeneratedText]):
    """Targets are framed as [CLS] ... [SEP]: the decoder starts from [CLS] and ends with [SEP].

    Language and keywords, where there are any, are a first segment of the source, the text is the second (Johnson et
    al. 2017 put the language before the text). A source too long for one window is read and rewritten window by window;
    a prefix begins the first, lengths hold for each.
    """

    name = "seq2seq"
    Settings = Seq2SeqSettings
    Request = SourceRequest
    Prediction = GeneratedText
    answer_field = "target"
    writes_text: ClassVar = True
    spare_fields: ClassVar = frozenset({"prefix"})
    unchanged_fields: ClassVar = frozenset({"language", "prefix"})
    settings: Seq2SeqSettings

    @property
    def metrics(self) -> Mapping[str, int]:
        named = {"bleu": ("bleu",), "rouge": ("rouge2", "rouge1", "rougeL"), "exact_match": ()}
        return dict.fromkeys((*named[self.settings.measure], "exact_match"), 1)

    def metric_bounds(self, name: str) -> tuple[float, float]:
        return (0.0, 100.0) if name == "bleu" else super().metric_bounds(name)

    def request(self, record: Mapping[str, Any] | tuple[Any, ...] | str, where: str = "request") -> SourceRequest:
        if isinstance(record, Mapping):  # a line of a file need not name what others do
            record = {name: value for name, value in record.items() if value is not None}
        request = super().request(record, where)
        if not (_is_written(request.text) or _is_written(request.keywords)):
            raise _no_source(where)
        if self.settings.languages:  # which in training are not known yet
            self._check_language(request, where)
        return request

    def answer(self, value: Any, where: str) -> str:
        if not _is_written(target := str(value)):
            raise DataError(f"{where}: an empty target: there is nothing to learn to write")
        return target

    def find_columns(self, rows: Sequence[Row], given: Mapping[str, str], *, labelled: bool = True) -> FoundColumns:
        """As by default, of the source one column at least: its text or its keywords."""
        found = super().find_columns(rows, given, labelled=labelled)
        if not {"text", "keywords"} & {*found.by_field, *given}:
            names = ", ".join(map(repr, dict.fromkeys(name for row in rows for name in row.values)))
            raise DataError(
                f"{rows[0].path}: no column for 'text' among {names}; say which it is, with --text-column, or "
                "--keywords-column"
            )
        return found

    def fitted(self, examples: Sequence[Example[SourceRequest]]) -> Self:
        """The targets' languages, and where their punctuation touches words."""
        if self.settings.measure != "exact_match":
            measures.require_measures()
        named = {example.request.language for example in examples}
        if len(named) > 1 and "" in named:
            without = next(example for example in examples if not example.request.language)
            raise DataError(f"{without.where}: no language, where other rows name one")
        learned = {
            "languages": tuple(sorted(named - {""})) or self.settings.languages,
            "spacing": learn_spacing(example.answer for example in examples) | self.settings.spacing,
        }
        return type(self)(self.settings.model_copy(update=learned))

    def check(self, examples: Sequence[Example[SourceRequest]]) -> None:
        for example in examples:
            self._check_language(example.request, example.where)

    def encode(
        self, item: Example[SourceRequest] | SourceRequest, tokenizer: Tokenizer, rng: np.random.Generator
    ) -> list[Window]:
        request, where = (item.request, item.where) if isinstance(item, Example) else (item, "text")
        self._check_language(request, where)
        context = "; ".join(part for part in (request.language, request.keywords) if part)
        texts = pieces_of(tokenizer, [text for text in (context, request.text) if text])
        if not (request.text and len(texts[-1])) and not len(pieces_of(tokenizer, [request.keywords])[0]):
            raise _no_source(where)
        settings, trains = self.settings, isinstance(item, Example)
        if trains and settings.truncation == "windows":  # a target belongs to its whole source
            settings = settings.model_copy(update={"truncation": "head"})
        cut = cut_windows(tokenizer, texts, settings, slide=len(texts) - 1, whole_words=True, where=where)
        # Generation needs the frame even where there is no target yet.
        targets: dict[str, Any] = {"first": tokenizer.cls_id, "last": tokenizer.sep_id}
        windows = rows_of(cut, targets)
        if request.prefix:
            prefix = self._prefix(request.prefix, tokenizer, where)
            windows[0] = replace(windows[0], targets=targets | {"prefix": prefix})
        if isinstance(item, Example):
            target = tokenizer.encode(item.answer, max_length=self.settings.max_target_length)
            num_cut = windows[0].num_cut_tokens + target.num_cut_tokens
            windows = [replace(windows[0], targets=targets | {"target": target.input_ids}, num_cut_tokens=num_cut)]
        return windows

    def _check_language(self, request: SourceRequest, where: str) -> None:
        known = self.settings.languages
        if request.language and request.language not in known:
            advice = nearest(request.language, known) if known else "it was trained without languages"
            raise DataError(f"{where}: this model does not write in {request.language!r}; {advice}")
        if known and not request.language:
            raise DataError(f"{where}: this model writes in several languages; say which: {', '.join(known)}")

    def _prefix(self, prefix: str, tokenizer: Tokenizer, where: str) -> list[int]:
        (pieces,) = pieces_of(tokenizer, [prefix])
        if len(pieces) >= self._max_new_tokens:
            raise DataError(f"{where}: the prefix has {len(pieces)} tokens, at most {self._max_new_tokens} are written")
        ids: list[int] = pieces.ids.tolist()
        for id, (start, end) in zip(ids, pieces.offsets.tolist(), strict=True):
            if id in tokenizer.special_ids:
                said = f"{prefix[start:end]!r} in the prefix is {tokenizer.vocab[id]} to the model"
                raise DataError(f"{where}: {said}, which no target holds; leave it out")
        return ids

    def collate(self, windows: Sequence[Window]) -> Batch:
        frame = [windows[0].targets["first"], windows[0].targets["last"]]
        prefixes = [window.targets.get("prefix", []) for window in windows]
        targets = {
            "frame": torch.tensor(frame),
            "prefixes": torch.tensor([id for prefix in prefixes for id in prefix], dtype=torch.int64),
            "prefix_lengths": torch.tensor([len(prefix) for prefix in prefixes]),
        }
        stays = frozenset(targets)
        ids = [window.targets["target"] for window in windows if "target" in window.targets]
        if not ids:
            return Batch(pack(windows), targets, {"seq2seq": 0}, stays=stays)
        # The decoder reads all but the last token and predicts all but the first.
        targets["labels"] = torch.from_numpy(concatenate(row[1:] for row in ids))
        decoder = Packed.of([row[:-1] for row in ids])
        return Batch(pack(windows), targets, {"seq2seq": decoder.num_tokens}, decoder, stays=stays)

    def build(self, config: EncoderConfig) -> Seq2SeqNetwork:
        settings, number = self.settings, self.settings.num_decoder_layers
        if settings.share_layers and number not in (None, config.num_hidden_layers):
            raise SettingsError(
                f"share_layers: {number} layers that write cannot share the weights of {config.num_hidden_layers} that "
                "read; leave num_decoder_layers out"
            )
        return Seq2SeqNetwork(config, num_decoder_layers=number, share=settings.share_layers)

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = network(batch.packed, batch.decoder).float()
        smoothing = self.settings.label_smoothing if network.training else 0.0
        labels = batch.targets["labels"]
        return {"seq2seq": F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)}

    @property
    def _max_new_tokens(self) -> int:
        return self.settings.generation.max_new_tokens or self.settings.max_target_length - 1

    def outputs(self, network: nn.Module, batch: Batch) -> list[Any]:
        assert isinstance(network, Seq2SeqNetwork)
        first, last = batch.targets["frame"].tolist()
        lengths = batch.targets["prefix_lengths"].tolist()
        prefixes = [part.tolist() for part in torch.split(batch.targets["prefixes"], lengths)] if any(lengths) else []
        frame = Frame(first, last, prefixes)
        return list(generate(network, batch.packed, self.settings.generation, frame, self._max_new_tokens))

    def decode(self, window: Window, outputs: Generated, tokenizer: Tokenizer) -> GeneratedText:
        tokens = tuple(tokenizer.vocab[number] for number in outputs.input_ids)
        shown = [id for id in outputs.input_ids if id not in tokenizer.special_ids]
        text = join_pieces([tokenizer.vocab[number] for number in shown], self.settings.spacing)
        probabilities = tuple(map(math.exp, outputs.log_probabilities))
        return GeneratedText(
            text, measures.geometric_mean(probabilities), outputs.finished, window.num_cut_tokens, tokens, probabilities
        )

    def merge(self, request: SourceRequest, parts: Sequence[GeneratedText], num_cut_tokens: int) -> GeneratedText:
        """Of several windows the texts one after another."""
        if len(parts) == 1:
            return replace(parts[0], num_cut_tokens=num_cut_tokens)
        probabilities = tuple(value for part in parts for value in part.probabilities)
        return GeneratedText(
            join_texts([part.text for part in parts]),
            measures.geometric_mean(probabilities),
            all(part.finished for part in parts),
            num_cut_tokens,
            tuple(token for part in parts for token in part.tokens),
            probabilities,
        )

    def explained(self, answered: Answered, choice: str | None = None) -> Target:
        """The mean log-probability of the tokens that were written, or that of one, by its number from 0.

        Each given the source and the tokens before it, which are as they were written.
        """
        rows = [generated.input_ids for generated in answered.outputs]
        tokens = [answered.tokenizer.vocab[id] for row in rows for id in row]
        if not tokens:
            raise SettingsError("nothing was written, so that there is nothing to explain")
        # The end that was written is a token too.
        numbers = list(range(len(rows)))
        places = [range(len(one.input_ids) + one.finished) for one in answered.outputs]
        if choice is not None:
            token = place_of(choice, range(len(tokens)), "token", tokens)
            held = next(n for n in numbers if token < sum(map(len, rows[: n + 1])))
            place = token - sum(map(len, rows[:held]))
            numbers, places = [held], [range(place, place + 1)]
        windows = [
            replace(
                answered.windows[number],
                targets={
                    **answered.windows[number].targets,
                    "target": [answered.windows[number].targets["first"], *rows[number], answered.tokenizer.sep_id],
                },
            )
            for number in numbers
        ]

        def scores(network: nn.Module, batch: Batch) -> Tensor:
            assert batch.decoder is not None
            known = batch.targets["labels"]
            found = network(batch.packed, batch.decoder).float().log_softmax(-1).gather(1, known[:, None])[:, 0]
            parts = list(batch.decoder.split(found))
            copies = [parts[start : start + len(numbers)] for start in range(0, len(parts), len(numbers))]
            return torch.stack(
                [torch.cat([part[p.start : p.stop] for part, p in zip(c, places, strict=True)]).mean() for c in copies]
            )

        name = "the whole text" if choice is None else f"{tokens[token]} (token {token})"
        every = tuple(tuple(range(window.num_tokens)) for window in windows)
        return Target(name, "log-probability", tuple(numbers), tuple(windows), scores, every)

    def decided(self, prediction: GeneratedText) -> Decided:
        return Decided((), prediction.score)

    def agrees(self, first: GeneratedText, second: GeneratedText, *, in_place: bool = False) -> bool:
        return first.text == second.text

    def marks(self, examples: Sequence[Example[SourceRequest]], predictions: Sequence[GeneratedText]) -> Marks:
        """How right, 0 to 1; whether the target was reproduced, white space and case aside; the measure's numbers."""
        texts = [given.text for given in predictions]
        known = [example.answer for example in examples]
        exact = np.array([_bare(a) == _bare(b) for a, b in zip(texts, known, strict=True)], dtype=float)
        if self.settings.measure == "bleu":
            rows = measures.bleu_rows(texts, known, self.settings.bleu_tokenize)
            credit = np.array([measures.sentence_bleu(row) / 100 for row in rows])
        elif self.settings.measure == "rouge":
            rows = measures.rouge_rows(texts, known)
            credit = rows[:, 1]
        else:
            rows, credit = np.empty((len(texts), 0)), exact
        return np.column_stack([credit, exact, rows])

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """bleu: of the corpus, 0 to 100. rouge1, rouge2, rougeL: mean F1. exact_match: the share reproduced."""
        exact = {"exact_match": float(marks[:, 1].mean())}
        rows = marks[:, 2:]
        if self.settings.measure == "bleu":
            return {"bleu": measures.bleu_of(rows), **exact}
        if self.settings.measure == "rouge":
            named = dict(zip(measures.ROUGES, rows.mean(0).tolist(), strict=True))
            return {name: named[name] for name in ("rouge2", "rouge1", "rougeL")} | exact
        return exact


def _is_written(text: str) -> bool:
    """Whether there is anything to see: neither blanks nor control characters are."""
    return any(character.isprintable() and not character.isspace() for character in text)


def _no_source(where: str) -> DataError:
    return DataError(f"{where}: an empty source: there is nothing to rewrite; give a text, or keywords")


def _bare(text: str) -> str:
    return "".join(text.split()).lower()
