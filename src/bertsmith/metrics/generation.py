"""What written texts are worth beside their references, through sacrebleu and rouge-score (extra `seq2seq`).

Rows of numbers a text, from which the figure of any selection of texts follows: BLEU is a figure of a whole corpus.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import SettingsError

Rows = NDArray[np.float64]

NGRAMS = 4
ROUGES = ("rouge1", "rouge2", "rougeL")
_HAN = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+")


def require_measures() -> None:
    """A `SettingsError` that names the extra, where the packages are not installed."""
    _package("sacrebleu.metrics")
    _package("rouge_score.rouge_scorer")


def bleu_rows(texts: Sequence[str], references: Sequence[str], tokenize: str = "13a") -> Rows:
    """[n, 2 + 2 * 4]: lengths of text and reference in words, n-grams found and n-grams in all, of 1 to 4 words."""
    bleu = _bleu(tokenize)
    rows = []
    for text, reference in zip(texts, references, strict=True):
        score = bleu.sentence_score(text, [reference])
        rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
    return np.array(rows, dtype=np.float64).reshape(len(rows), 2 + 2 * NGRAMS)


def bleu_of(rows: Rows) -> float:
    """Corpus BLEU, 0 to 100 (Papineni et al. 2002, as sacreBLEU, Post 2018, computes it), of any rows."""
    sums = rows.sum(0).astype(int).tolist()
    found, total = sums[2 : 2 + NGRAMS], sums[2 + NGRAMS :]
    score = _package("sacrebleu.metrics").BLEU.compute_bleu(found, total, sums[0], sums[1], smooth_method="exp")
    return float(score.score)


def sentence_bleu(row: Rows) -> float:
    """Of one row, 0 to 100; orders that the text is too short for are left out."""
    numbers = row.astype(int).tolist()
    score = _package("sacrebleu.metrics").BLEU.compute_bleu(
        numbers[2 : 2 + NGRAMS],
        numbers[2 + NGRAMS :],
        numbers[0],
        numbers[1],
        smooth_method="exp",
        effective_order=True,
    )
    return float(score.score)


def rouge_rows(texts: Sequence[str], references: Sequence[str]) -> Rows:
    """[n, 3]: the F1 of ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004), 0 to 1, without stemming."""
    scorer = _rouge()
    scores = (scorer.score(reference, text) for text, reference in zip(texts, references, strict=True))
    rows = [[score[name].fmeasure for name in ROUGES] for score in scores]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(ROUGES))


def geometric_mean(probabilities: Sequence[float]) -> float:
    """Of probabilities from 0 to 1, where 0 counts as the least number above it; 0 of none."""
    logarithms = [math.log(max(value, sys.float_info.min)) for value in probabilities]
    return math.exp(math.fsum(logarithms) / len(logarithms)) if logarithms else 0.0


class _Words:
    """Words of any script in lower case, Chinese characters one by one; rouge-score's own knows a to z alone."""

    def tokenize(self, text: str) -> list[str]:
        return _WORDS.findall(text.lower())


@cache
def _bleu(tokenize: str) -> Any:
    return _package("sacrebleu.metrics").BLEU(tokenize=tokenize, effective_order=True)


@cache
def _rouge() -> Any:
    return _package("rouge_score.rouge_scorer").RougeScorer(ROUGES, tokenizer=_Words())


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise SettingsError(
            f"written texts are measured with {name.partition('.')[0].replace('_', '-')}, which is not installed: "
            "pip install 'bertsmith[seq2seq]', or set measure to exact_match"
        ) from None
