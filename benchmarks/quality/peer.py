"""The peer: transformers' Trainer, as a user would run it, on the same rows with the same hyper-parameters.

bf16 by autocast where the machine has it, as in bertsmith; batches grouped by length and padded to their longest; eager
attention (with dropout, the fastest on a CPU). Question answering has no Trainer there: see `peer_answers.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForMultipleChoice,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from bertsmith.runtime.device import autocast
from quality.marks import label_marks, tag_marks, value_marks
from quality.peer_answers import answer_questions
from quality.peer_training import CPU, DTYPE, training_values
from quality.peer_vectors import embed_pairs
from quality.results import Answered
from quality.rows import Record, Rows
from quality.sets import BATCH_SIZE, QualitySet

PREDICT_BATCH_SIZE = 32
IGNORED = -100
NOTES = {"dtype": DTYPE, "attention": "eager"}
Feature = dict[str, Any]
Logits = list[NDArray[np.float32]]


def run_peer(quality: QualitySet, rows: Rows, seed: int, model: str) -> Answered:
    """Fine-tune the checkpoint in folder `model`, answer the test rows with the last weights."""
    set_seed(seed)
    marks, notes = PEERS[quality.task](quality, rows, seed, model)
    return Answered(marks, notes)


def _classify(quality: QualitySet, rows: Rows, seed: int, model: str) -> tuple[Any, dict[str, Any]]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    regression = isinstance(rows.train[0]["label"], float)
    labels = [] if regression else sorted({record["label"] for record in rows.train})

    def encode(records: Sequence[Record]) -> list[Feature]:
        texts = [record["text"] for record in records]
        pairs = [record["text_pair"] for record in records] if "text_pair" in records[0] else None
        encoded = tokenizer(texts, pairs, truncation=True, max_length=quality.max_length)
        answers = [record["label"] if regression else labels.index(record["label"]) for record in records]
        return _features(encoded, [{"labels": answer} for answer in answers])

    network = AutoModelForSequenceClassification.from_pretrained(
        model,
        num_labels=1 if regression else len(labels),
        problem_type="regression" if regression else "single_label_classification",
        attn_implementation="eager",
    )
    logits = _trained(network, tokenizer, encode, rows, DataCollatorWithPadding(tokenizer), quality, seed)
    known = [record["label"] for record in rows.test]
    if regression:
        return value_marks(known, [float(row[0]) for row in logits]), NOTES
    return label_marks(known, [labels[int(row.argmax())] for row in logits], labels), NOTES


def _tag(quality: QualitySet, rows: Rows, seed: int, model: str) -> tuple[Any, dict[str, Any]]:
    """Tags on the first piece of each word; a word that was cut off is no entity."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    labels = sorted({tag for record in rows.train for tag in record["tags"]})
    firsts: list[list[int]] = []

    def encode(records: Sequence[Record]) -> list[Feature]:
        encoded = tokenizer(
            [record["words"] for record in records],
            is_split_into_words=True,
            truncation=True,
            max_length=quality.max_length,
        )
        firsts.clear()
        targets = []
        for i, record in enumerate(records):
            words = encoded.word_ids(i)
            first = [place for place, word in enumerate(words) if word is not None and word != words[place - 1]]
            target = [IGNORED] * len(words)
            for place in first:
                target[place] = labels.index(record["tags"][words[place]])
            firsts.append(first)
            targets.append({"labels": target})
        return _features(encoded, targets)

    network = AutoModelForTokenClassification.from_pretrained(
        model, num_labels=len(labels), attn_implementation="eager"
    )
    logits = _trained(network, tokenizer, encode, rows, DataCollatorForTokenClassification(tokenizer), quality, seed)
    given = []
    for record, row, first in zip(rows.test, logits, firsts, strict=True):
        tags = [labels[tag] for tag in row[first].argmax(-1).tolist()]
        given.append(tags + ["O"] * (len(record["words"]) - len(tags)))
    return tag_marks([record["tags"] for record in rows.test], given), NOTES


def _choose(quality: QualitySet, rows: Rows, seed: int, model: str) -> tuple[Any, dict[str, Any]]:
    tokenizer = AutoTokenizer.from_pretrained(model)

    def encode(records: Sequence[Record]) -> list[Feature]:
        features = []
        for record in records:
            questions = [record["question"]] * len(record["choices"])
            encoded = tokenizer(questions, record["choices"], truncation=True, max_length=quality.max_length)
            features.append({**encoded, "labels": record["label"]})
        return features

    network = AutoModelForMultipleChoice.from_pretrained(model, attn_implementation="eager")
    logits = _trained(network, tokenizer, encode, rows, DataCollatorForMultipleChoice(tokenizer), quality, seed)
    known = [str(record["label"]) for record in rows.test]
    return label_marks(known, [str(int(row.argmax())) for row in logits], list("0123")), NOTES


def _answer(quality: QualitySet, rows: Rows, seed: int, model: str) -> tuple[Any, dict[str, Any]]:
    return answer_questions(quality, rows, seed, model), NOTES


def _embed(quality: QualitySet, rows: Rows, seed: int, model: str) -> tuple[Any, dict[str, Any]]:
    return embed_pairs(quality, rows, seed, model), NOTES | {"attention": "sdpa"}


PEERS: dict[str, Callable[[QualitySet, Rows, int, str], tuple[Any, dict[str, Any]]]] = {
    "classification": _classify,
    "token_classification": _tag,
    "multiple_choice": _choose,
    "question_answering": _answer,
    "embedding": _embed,
}


class _ByLength(Trainer):
    """`train_sampling_strategy="group_by_length"`, which by itself does not know how long a question's choices are."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        lengths = [_length(feature) for feature in self.train_dataset]
        return LengthGroupedSampler(BATCH_SIZE, lengths=lengths)


def _length(feature: Feature) -> int:
    """Tokens of a row, or of its longest choice."""
    ids = feature["input_ids"]
    return max(map(len, ids)) if isinstance(ids[0], list) else len(ids)


def _features(encoded: Any, targets: Sequence[Feature]) -> list[Feature]:
    return [{name: encoded[name][i] for name in encoded} | target for i, target in enumerate(targets)]


def _trained(
    network: Any,
    tokenizer: Any,
    encode: Callable[[Sequence[Record]], list[Feature]],
    rows: Rows,
    collate: Callable[[list[Feature]], Any],
    quality: QualitySet,
    seed: int,
) -> Logits:
    """Logits of every test row after training, in order. Test rows are encoded last."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = (_ByLength if quality.by_length else Trainer)(
            model=network,
            train_dataset=encode(rows.train),
            data_collator=collate,
            processing_class=tokenizer,
            args=TrainingArguments(folder, **training_values(quality, seed)),
        )
        trainer.train()
    return predict(network, encode(rows.test), collate)


@torch.inference_mode()
def predict(network: Any, features: Sequence[Feature], collate: Callable[[list[Feature]], Any]) -> Logits:
    """Logits of every feature, in the order given, computed in the order of their lengths."""
    network.eval()
    order = sorted(range(len(features)), key=lambda i: _length(features[i]))
    logits: Logits = [np.empty(0, np.float32)] * len(features)
    for start in range(0, len(order), PREDICT_BATCH_SIZE):
        chosen = order[start : start + PREDICT_BATCH_SIZE]
        with autocast(DTYPE, CPU):
            outputs = network(**collate([dict(features[i]) for i in chosen])).logits
        for i, row in zip(chosen, outputs, strict=True):
            logits[i] = row.float().numpy()
    return logits
