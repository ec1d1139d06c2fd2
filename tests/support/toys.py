"""Small real things that many tests need: a tokenizer over made-up words, sentences, a corpus, one of each task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertsmith.data.passages import Passages
from bertsmith.model.config import EncoderConfig
from bertsmith.model.presets import preset
from bertsmith.runtime.progress import Progress
from bertsmith.tasks import TASKS, Example, Task
from bertsmith.text.tokenizer import Tokenizer

WORDS = tuple(first + second for first in "bdfgklmn" for second in ("a", "e", "i", "o", "u"))


class Notes(Progress):
    """Remembers what was noted."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def toy_tokenizer() -> Tokenizer:
    return Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "##t"])


def toy_config(**changes: Any) -> EncoderConfig:
    return preset(
        "tiny",
        **{
            "vocab_size": toy_tokenizer().vocab_size,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 64,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            **changes,
        },
    )


def toy_text(rng: np.random.Generator, num_words: int, words: tuple[str, ...] = WORDS) -> str:
    return " ".join(rng.choice(words, size=num_words))


@dataclass
class ToyCorpus:
    """Documents of random sentences; each has words of its own, so that what follows can be told."""

    num_documents: int = 20
    sentences_per_document: int = 10

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self._sentences = [
            (5 + rng.integers(8) + 8 * (i // self.sentences_per_document % 4)) * np.ones(rng.integers(2, 9), np.int64)
            for i in range(self.num_documents * self.sentences_per_document)
        ]

    @property
    def sentence_lengths(self) -> NDArray[Any]:
        return np.array([len(sentence) for sentence in self._sentences])

    def document_sentences(self, document: int) -> range:
        first = document * self.sentences_per_document
        return range(first, first + self.sentences_per_document)

    def sentence(self, index: int) -> NDArray[Any]:
        return self._sentences[index]

    def marks(self, index: int) -> NDArray[Any] | None:
        return None


@dataclass
class ToyTask:
    """A task with eight examples that it can learn by heart, and a request of the same kind."""

    task: Task[Any, Any]
    samples: list[Any]
    requests: list[Any]


def toy_task(name: str) -> ToyTask:
    """One of each entry of `TASKS`; a new task adds its rows here and every test of the harness runs on it."""
    rng = np.random.default_rng(1)
    texts = [toy_text(rng, 3 + i) for i in range(8)]
    match name:
        case "pretraining":
            passages = Passages(ToyCorpus(), max_tokens=29)
            task: Task[Any, Any] = TASKS[name].from_dict({"max_length": 32}, "toy")
            requests = [text.replace(text.split()[1], "[MASK]", 1) for text in texts]
            return ToyTask(task, passages[:8], [task.request(text) for text in requests])
        case "classification":
            records = [{"text": text, "text_pair": texts[-i], "label": str(i % 3)} for i, text in enumerate(texts)]
        case "seq2seq":
            records = [{"text": text, "target": " ".join(text.split()[::-1][:4])} for text in texts]
        case "multiple_choice":
            records = [
                {
                    "question": text,
                    "choices": [*WORDS[: 2 + i % 3]],
                    "context": texts[-i] if i % 2 else None,
                    "label": i % 2,
                }
                for i, text in enumerate(texts)
            ]
        case "question_answering":
            records = [
                {
                    "question": texts[i - 1],
                    "context": text,
                    "answers": {"text": [text[3 * i : 3 * i + 5]] * (i > 0), "answer_start": [3 * i] * (i > 0)},
                }
                for i, text in enumerate(texts)
            ]
        case "reranking":
            records = [
                {"query": text, "passages": [texts[i - 1], texts[i - 2], texts[i - 3]], "labels": [i % 2, 1 - i % 2, 0]}
                for i, text in enumerate(texts)
            ]
        case "embedding":
            records = [
                {"text": text, "text_pair": toy_text(rng, 4), "negatives": [texts[i - 1]]}
                for i, text in enumerate(texts)
            ]
        case "token_classification":
            tags = ("O", "B-A", "I-A", "B-B")
            records = [
                {
                    "words": text.split(),
                    "tags": [tags[j % (2 + i % 3)] for j in range(3 + i)],
                    "before": texts[i - 1].split(),
                }
                for i, text in enumerate(texts)
            ]
        case _:
            raise AssertionError(f"no toy examples for the task {name!r}: add them here")
    # What measures written texts is an extra; and a loss that is smoothed never reaches zero.
    plain = {"measure": "exact_match", "label_smoothing": 0.0, "truncation": "head"}
    task = TASKS[name].from_dict(plain if name == "seq2seq" else {}, "toy")
    samples: list[Example[Any]] = [task.example(record, f"row {i}") for i, record in enumerate(records)]
    task = task.fitted(samples).within(toy_config().max_position_embeddings)
    return ToyTask(task, samples, [sample.request for sample in samples])
