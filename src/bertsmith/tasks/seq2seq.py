"""Sequence to sequence: a text rewritten into another by an encoder and a decoder (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Window, concatenate, pack
from bertsmith.errors import SettingsError
from bertsmith.model.config import EncoderConfig
from bertsmith.model.generation import greedy
from bertsmith.model.networks import Seq2SeqNetwork
from bertsmith.model.packed import Packed
from bertsmith.settings import Settings
from bertsmith.tasks.target import Answered, Target, place_of
from bertsmith.tasks.task import Decided, Example, Marks, Task
from bertsmith.text.tokenizer import Tokenizer


class Seq2SeqSettings(Settings):
    max_length: int = Field(512, ge=3, description="longest source, in tokens; what exceeds it is cut and counted")
    max_target_length: int = Field(128, ge=3, description="longest target in training and generation, in tokens")


@dataclass(frozen=True, slots=True)
class SourceRequest:
    """The text to rewrite."""

    text: str


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """text: what was generated. score: the mean probability of its tokens (geometric).

    finished: whether it ended by itself; False where the length limit cut it. num_cut_tokens: of the source.
    """

    text: str
    score: float
    finished: bool
    num_cut_tokens: int = 0


class Seq2Seq(Task[SourceRequest, GeneratedText]):
    """Targets are framed as [CLS] ... [SEP]: the decoder starts from [CLS] and ends with [SEP]."""

    name = "seq2seq"
    Settings = Seq2SeqSettings
    Request = SourceRequest
    Prediction = GeneratedText
    answer_field = "target"
    metrics: ClassVar = {"exact_match": 1}
    settings: Seq2SeqSettings

    def encode(
        self, item: Example[SourceRequest] | SourceRequest, tokenizer: Tokenizer, rng: np.random.Generator
    ) -> list[Window]:
        request = item.request if isinstance(item, Example) else item
        source = tokenizer.encode(request.text, max_length=self.settings.max_length)
        # Generation needs the frame even where there is no target yet.
        frame = {"first": tokenizer.cls_id, "last": tokenizer.sep_id}
        window = Window(source.input_ids, source.token_type_ids, frame, source.num_cut_tokens)
        if not isinstance(item, Example):
            return [window]
        target = tokenizer.encode(item.answer, max_length=self.settings.max_target_length)
        cut = source.num_cut_tokens + target.num_cut_tokens
        return [replace(window, targets=frame | {"target": target.input_ids}, num_cut_tokens=cut)]

    def collate(self, windows: Sequence[Window]) -> Batch:
        targets = {"frame": torch.tensor([windows[0].targets["first"], windows[0].targets["last"]])}
        ids = [window.targets["target"] for window in windows if "target" in window.targets]
        if not ids:
            return Batch(pack(windows), targets, {"seq2seq": 0}, stays={"frame"})
        # The decoder reads all but the last token and predicts all but the first.
        targets["labels"] = torch.from_numpy(concatenate(row[1:] for row in ids))
        decoder = Packed.of([row[:-1] for row in ids])
        return Batch(pack(windows), targets, {"seq2seq": decoder.num_tokens}, decoder, stays={"frame"})

    def build(self, config: EncoderConfig) -> Seq2SeqNetwork:
        return Seq2SeqNetwork(config)

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = network(batch.packed, batch.decoder).float()
        return {"seq2seq": F.cross_entropy(logits, batch.targets["labels"], reduction="sum")}

    def outputs(self, network: nn.Module, batch: Batch) -> list[Any]:
        assert isinstance(network, Seq2SeqNetwork)
        first, last = batch.targets["frame"].tolist()
        return list(
            greedy(
                network,
                batch.packed,
                first_id=first,
                last_id=last,
                max_new_tokens=self.settings.max_target_length - 1,
            )
        )

    def decode(self, window: Window, outputs: Any, tokenizer: Tokenizer) -> GeneratedText:
        probabilities = outputs.log_probabilities
        score = math.exp(math.fsum(probabilities) / len(probabilities)) if probabilities else 0.0
        return GeneratedText(tokenizer.decode(outputs.input_ids), score, outputs.finished, window.num_cut_tokens)

    def merge(self, request: SourceRequest, parts: Sequence[GeneratedText], num_cut_tokens: int) -> GeneratedText:
        (generated,) = parts
        return replace(generated, num_cut_tokens=num_cut_tokens)

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

    def marks(self, examples: Sequence[Example[SourceRequest]], predictions: Sequence[GeneratedText]) -> Marks:
        """Whether the target was reproduced, white space and case aside."""
        pairs = zip(examples, predictions, strict=True)
        return np.array([[_bare(example.answer) == _bare(given.text)] for example, given in pairs], dtype=float)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """exact_match: the share of targets reproduced."""
        return {"exact_match": float(marks.mean())}


def _bare(text: str) -> str:
    return "".join(text.split()).lower()
