"""bertsmith: one package for the whole life of a BERT.

This index is public; the modules behind it load on first use, so that `import bertsmith` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bertsmith.estimator import BertClassifier
    from bertsmith.hf import (
        BertConfig,
        BertForMaskedLM,
        BertForMultipleChoice,
        BertForNextSentencePrediction,
        BertForPreTraining,
        BertForQuestionAnswering,
        BertForSequenceClassification,
        BertForTokenClassification,
        BertModel,
        BertTokenizer,
    )
    from bertsmith.inference.predictor import load
    from bertsmith.recipes.compare import compare
    from bertsmith.recipes.evaluate import evaluate
    from bertsmith.recipes.finetune import finetune
    from bertsmith.recipes.prepare import prepare
    from bertsmith.recipes.pretrain import pretrain
    from bertsmith.recipes.seeds import finetune_seeds
    from bertsmith.recipes.verify import verify

__version__ = "0.1.0"

__all__ = [
    "BertClassifier",
    "BertConfig",
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertModel",
    "BertTokenizer",
    "compare",
    "evaluate",
    "finetune",
    "finetune_seeds",
    "load",
    "prepare",
    "pretrain",
    "verify",
]

_HOMES = {name: "bertsmith.hf" for name in __all__ if name.startswith("Bert")} | {
    "BertClassifier": "bertsmith.estimator",
    "compare": "bertsmith.recipes.compare",
    "evaluate": "bertsmith.recipes.evaluate",
    "finetune": "bertsmith.recipes.finetune",
    "finetune_seeds": "bertsmith.recipes.seeds",
    "load": "bertsmith.inference.predictor",
    "prepare": "bertsmith.recipes.prepare",
    "pretrain": "bertsmith.recipes.pretrain",
    "verify": "bertsmith.recipes.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bertsmith' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
