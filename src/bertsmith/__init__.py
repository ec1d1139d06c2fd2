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
    from bertsmith.recipes.explain import explain_prediction
    from bertsmith.recipes.finetune import finetune
    from bertsmith.recipes.generate import generate
    from bertsmith.recipes.lexicon import lexicon
    from bertsmith.recipes.minimal_pairs import minimal_pairs
    from bertsmith.recipes.prepare import prepare
    from bertsmith.recipes.pretrain import pretrain
    from bertsmith.recipes.probe import probe_layers
    from bertsmith.recipes.robustness import robustness_of
    from bertsmith.recipes.seeds import finetune_seeds
    from bertsmith.recipes.verify import verify
    from bertsmith.text.wordpiece import learn_wordpiece

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
    "explain_prediction",
    "finetune",
    "finetune_seeds",
    "generate",
    "learn_wordpiece",
    "lexicon",
    "load",
    "minimal_pairs",
    "prepare",
    "pretrain",
    "probe_layers",
    "robustness_of",
    "verify",
]

_HOMES = {name: "bertsmith.hf" for name in __all__ if name.startswith("Bert")} | {
    "BertClassifier": "bertsmith.estimator",
    "compare": "bertsmith.recipes.compare",
    "evaluate": "bertsmith.recipes.evaluate",
    "explain_prediction": "bertsmith.recipes.explain",
    "finetune": "bertsmith.recipes.finetune",
    "finetune_seeds": "bertsmith.recipes.seeds",
    "generate": "bertsmith.recipes.generate",
    "learn_wordpiece": "bertsmith.text.wordpiece",
    "lexicon": "bertsmith.recipes.lexicon",
    "load": "bertsmith.inference.predictor",
    "minimal_pairs": "bertsmith.recipes.minimal_pairs",
    "prepare": "bertsmith.recipes.prepare",
    "pretrain": "bertsmith.recipes.pretrain",
    "probe_layers": "bertsmith.recipes.probe",
    "robustness_of": "bertsmith.recipes.robustness",
    "verify": "bertsmith.recipes.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bertsmith' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
