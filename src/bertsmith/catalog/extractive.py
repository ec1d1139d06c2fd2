"""Questions whose answer is a span of a passage: SQuAD 1.1 and 2.0, CMRC 2018 and XQuAD."""

from __future__ import annotations

from bertsmith.catalog.dataset import DataSet, Files, LeftOut, Record, Values, fields
from bertsmith.catalog.from_hub import Hub
from bertsmith.data.squad import read_squad

_SETTINGS = {"max_length": 384, "stride": 128}
_DEV_IS_TEST = "the test labels are secret: the dev set is the test set here, as in published results"
_FIELDS = fields(id="id", question="question", context="context", answers="answers")
XQUAD_LANGUAGES = {
    "ar": "Arabic",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "hi": "Hindi",
    "ro": "Romanian",
    "ru": "Russian",
    "th": "Thai",
    "tr": "Turkish",
    "vi": "Vietnamese",
    "zh": "Chinese",
}


def _with_title(values: Values) -> Values:
    """As above, and the article's title, by which questions belong together."""
    return {**_FIELDS(values), "title": values["title"]}


def _spans_alone(values: Values) -> Values:
    """Without the answers in words of the annotator's own, which stand nowhere in the passage."""
    filled = dict(_FIELDS(values))
    texts, starts = filled["answers"]["text"], filled["answers"]["answer_start"]
    spans = [(text, start) for text, start in zip(texts, starts, strict=True) if text.strip() in filled["context"]]
    if not spans:
        raise LeftOut("questions whose answers are not in their passage")
    filled["answers"] = {"text": [text for text, _ in spans], "answer_start": [start for _, start in spans]}
    return filled


def _files(*paths: str, record: Record = _with_title) -> Files:
    return Files(paths, read_squad, record)


def _xquad(language: str, title: str) -> DataSet:
    return DataSet(
        name=f"xquad_{language}",
        title=f"XQuAD: part of SQuAD 1.1's dev set, in {title}",
        task="question_answering",
        metric="f1",
        licence="CC BY-SA 4.0",
        source="https://github.com/google-deepmind/xquad",
        splits={"test": _files(f"qa/xquad/xquad.{language}.json")},
        task_settings=_SETTINGS,
        hub=Hub("google/xquad", {"test": "validation"}, _FIELDS, f"xquad.{language}"),
        notes=("a test set alone; train on squad, whose dev set holds its passages in English",),
    )


EXTRACTIVE = (
    DataSet(
        name="squad",
        title="SQuAD 1.1: questions on passages of Wikipedia",
        task="question_answering",
        metric="f1",
        licence="CC BY-SA 4.0",
        source="https://rajpurkar.github.io/SQuAD-explorer/",
        splits={
            "train": _files("squad/train-v1.1.json", "squad/train-v1.1.rebuilt.json"),
            "test": _files("squad/dev-v1.1.json", "squad/dev-v1.1.rebuilt.json"),
        },
        task_settings=_SETTINGS,
        hub=Hub("rajpurkar/squad", {"train": "train", "test": "validation"}, _with_title),
        notes=(
            _DEV_IS_TEST,
            "files named rebuilt: where an answer stands was inferred from its text (right for 97.6% of a sample)",
            "files named rebuilt: the ids of training questions are not the official ones",
        ),
    ),
    DataSet(
        name="squad_v2",
        title="SQuAD 2.0: questions on passages of Wikipedia, half of which have no answer there",
        task="question_answering",
        metric="f1",
        licence="CC BY-SA 4.0",
        source="https://rajpurkar.github.io/SQuAD-explorer/",
        splits={"test": _files("squad/dev-v2.0.json", "squad/dev-v2.0.rebuilt.json")},
        task_settings={**_SETTINGS, "allow_no_answer": True},
        hub=Hub("rajpurkar/squad_v2", {"train": "train", "test": "validation"}, _with_title),
        notes=(_DEV_IS_TEST, "from a folder: the test split alone"),
    ),
    DataSet(
        name="cmrc2018",
        title="CMRC 2018: questions on passages of the Chinese Wikipedia",
        task="question_answering",
        metric="f1",
        licence="CC BY-SA 4.0",
        source="https://github.com/ymcui/cmrc2018",
        splits={
            "train": _files("qa/cmrc2018/cmrc2018_dev.json", record=_spans_alone),
            "test": _files("qa/cmrc2018/cmrc2018_trial.json", record=_spans_alone),
        },
        task_settings={**_SETTINGS, "max_length": 512, "scoring": "cmrc2018"},
        hub=Hub("hfl/cmrc2018", {"train": "train", "validation": "validation", "test": "test"}, _spans_alone),
        notes=(
            "from a folder: the published dev set trains, the trial set tests, so results are no published ones",
            "answers in the annotator's own words, which no span can give, are not among the known ones",
        ),
    ),
    *(_xquad(language, title) for language, title in XQUAD_LANGUAGES.items()),
)
