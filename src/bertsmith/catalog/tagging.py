"""Sentences with a tag a word: CoNLL-2003, MSRA and Weibo names, parts of speech of UD English EWT."""

from __future__ import annotations

import re

from bertsmith.catalog.dataset import DataSet, Files, Values, fields
from bertsmith.catalog.from_hub import CONVERTED, Hub
from bertsmith.data.conll import read_conll

_IN_DOCUMENT = fields(words="words", tags="tags", before="before", after="after")
_ALONE = fields(words="words", tags="tags")
_THREE = {"train": "train", "validation": "validation", "test": "test"}
_HUB_NAMES = fields(words="tokens", tags="ner_tags")
_NUMBERED = re.compile(r"(.)\d+", re.DOTALL)


def _unnumbered(values: Values) -> Values:
    """Weibo's characters carry their place in the word that they belong to: `\u79d10 \u62801`."""
    matches = [_NUMBERED.fullmatch(word) for word in values["words"]]
    return {
        **values,
        "words": [match[1] if match else word for match, word in zip(matches, values["words"], strict=True)],
    }


def _weibo(values: Values) -> Values:
    return _unnumbered(_ALONE(values))


def _weibo_on_hub(values: Values) -> Values:
    return _unnumbered(_HUB_NAMES(values))


def _written_words(values: Values) -> Values:
    """The hub also holds tokens of several words (don't, beside do and n't), without a tag."""
    pairs = [(word, tag) for word, tag in zip(values["tokens"], values["upos"], strict=True) if tag not in (None, "_")]
    return {"words": [word for word, _ in pairs], "tags": [tag for _, tag in pairs]}


TAGGING = (
    DataSet(
        name="conll2003",
        title="CoNLL-2003: persons, organizations, places and others in English news",
        task="token_classification",
        metric="overall_f1",
        licence="research use only (Reuters RCV1)",
        source="https://www.clips.uantwerpen.be/conll2003/ner/",
        splits={
            "train": Files(("ner/conll2003_en/train.txt",), read_conll, _IN_DOCUMENT),
            "validation": Files(("ner/conll2003_en/valid.txt",), read_conll, _IN_DOCUMENT),
            "test": Files(("ner/conll2003_en/test.txt",), read_conll, _IN_DOCUMENT),
        },
        hub=Hub("eriktks/conll2003", _THREE, _HUB_NAMES, "conll2003", CONVERTED),
        notes=("from the hub: without the borders of documents, so without context from neighbouring sentences",),
    ),
    DataSet(
        name="msra_ner",
        title="MSRA: persons, organizations and places in Chinese news, by character",
        task="token_classification",
        metric="overall_f1",
        licence="none stated; research use (SIGHAN bakeoff 2006)",
        source="https://aclanthology.org/W06-0115/",
        splits={
            "train": Files(("ner/msra_zh/dh_msra.txt",), read_conll, _ALONE, without="test"),
            "test": Files(("ner/msra_zh/msra_test_bio.txt",), read_conll, _ALONE),
        },
        hub=Hub("levow/msra_ner", {"train": "train", "test": "test"}, _HUB_NAMES, "msra_ner", CONVERTED),
        notes=("from a folder: sentences of the test split are left out of the training file, and counted",),
    ),
    DataSet(
        name="weibo_ner",
        title="Weibo: named and nominal mentions in Chinese microblog posts, by character",
        task="token_classification",
        metric="overall_f1",
        licence="CC BY-SA 3.0 (Peng and Dredze 2015)",
        source="https://github.com/hltcoe/golden-horse",
        splits={
            "train": Files(("ner/weibo_zh/train.conll",), read_conll, _weibo),
            "validation": Files(("ner/weibo_zh/dev.conll",), read_conll, _weibo),
            "test": Files(("ner/weibo_zh/test.conll",), read_conll, _weibo),
        },
        hub=Hub("hltcoe/weibo_ner", _THREE, _weibo_on_hub, revision=CONVERTED),
        notes=("as published, 42 of the validation posts and 40 of the test posts occur in the training file too",),
    ),
    DataSet(
        name="ud_pos",
        title="UD English EWT: universal parts of speech in English of the web",
        task="token_classification",
        metric="accuracy",
        licence="CC BY-SA 4.0",
        source="https://github.com/UniversalDependencies/UD_English-EWT",
        splits={
            "train": Files(
                ("pos/ud_english_ewt/en_ewt-ud-train.conllu", "pos/ud_english_ewt/train.rebuilt.conllu"),
                read_conll,
                _IN_DOCUMENT,
            ),
            "validation": Files(
                ("pos/ud_english_ewt/en_ewt-ud-dev.conllu", "pos/ud_english_ewt/dev.conllu"), read_conll, _IN_DOCUMENT
            ),
            "test": Files(
                ("pos/ud_english_ewt/en_ewt-ud-test.conllu", "pos/ud_english_ewt/test.conllu"), read_conll, _IN_DOCUMENT
            ),
        },
        task_settings={"scheme": "plain"},
        hub=Hub("universal-dependencies/universal_dependencies", _THREE, _written_words, "en_ewt", CONVERTED),
        notes=("files named rebuilt: the training sentences are in the order of their documents' names",),
    ),
)
