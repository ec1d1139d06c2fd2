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
    """The fields, and the article's title, by which questions belong together."""
    return {**_FIELDS(values), "title": values["title"]}


def _extractive(values: Values) -> Values:
    """Some annotators answered in words of their own, which stand nowhere; all known answers count where one does."""
    filled = _FIELDS(values)
    if not any(text.strip() in filled["context"] for text in filled["answers"]["text"]):
        raise LeftOut("questions whose answers are not in their passage")
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
            "train": _files("qa/cmrc2018/cmrc2018_dev.json", record=_extractive),
            "test": _files("qa/cmrc2018/cmrc2018_trial.json", record=_extractive),
        },
        task_settings={**_SETTINGS, "max_length": 512, "scoring": "cmrc2018"},
        hub=Hub("hfl/cmrc2018", {"train": "train", "validation": "validation", "test": "test"}, _extractive),
        notes=("from a folder: the published dev set trains, the trial set tests, so results are no published ones",),
    ),
    *(_xquad(language, title) for language, title in XQUAD_LANGUAGES.items()),
)
