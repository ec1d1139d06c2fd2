"""The peer's sentence vectors: sentence-transformers' own trainer with cosine regression, on the same rows."""

from __future__ import annotations

import tempfile

import numpy as np
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import CosineSimilarityLoss

from quality.marks import Marks, value_marks
from quality.peer_training import training_values
from quality.rows import Rows
from quality.sets import QualitySet

HIGHEST_SCORE = 5.0


def embed_pairs(quality: QualitySet, rows: Rows, seed: int, model: str) -> Marks:
    """Known scores and cosines of the test pairs after training towards score / 5."""
    encoder = SentenceTransformer(model, device="cpu")
    encoder.max_seq_length = quality.max_length
    train = Dataset.from_dict(
        {
            "sentence1": [record["text"] for record in rows.train],
            "sentence2": [record["text_pair"] for record in rows.train],
            "score": [record["score"] / HIGHEST_SCORE for record in rows.train],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        SentenceTransformerTrainer(
            model=encoder,
            train_dataset=train,
            loss=CosineSimilarityLoss(encoder),
            args=SentenceTransformerTrainingArguments(folder, **training_values(quality, seed)),
        ).train()
    sides = [
        encoder.encode([record[field] for record in rows.test], normalize_embeddings=True, show_progress_bar=False)
        for field in ("text", "text_pair")
    ]
    return value_marks([record["score"] for record in rows.test], np.sum(sides[0] * sides[1], axis=1).tolist())
