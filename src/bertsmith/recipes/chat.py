"""An assistant from its settings: one file names the models, the indexes and what is said."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pydantic import Field

from bertsmith.assistant.dialogue import Assistant, DialogueSettings
from bertsmith.assistant.transcripts import RememberedTranscripts, TranscriptFile
from bertsmith.errors import SettingsError
from bertsmith.inference.predictor import Predictor, load
from bertsmith.recipes.ask import Reader, open_answerer
from bertsmith.runtime.progress import Progress
from bertsmith.search.searcher import open_index
from bertsmith.settings import Settings, read_settings_file


class AssistantSettings(Settings):
    """What an assistant is made of; every part may be left out. Paths are beside the file that names them."""

    intents: Path | None = Field(None, description="model for classification: what a message wants")
    replies: dict[str, str] = Field({}, description="what is said to each intent")
    faq: Path | None = Field(None, description="index of questions with vectors; each one's metadata has its answer")
    index: Path | None = Field(None, description="index of documents, to answer from")
    reader: Path | None = Field(
        None, description="model for question_answering; None: the one the index was tuned with"
    )
    selector: Path | None = Field(None, description="model for reranking over turns: which reply comes next")
    candidates: Path | None = Field(None, description="file of replies to choose from, one a line")
    transcripts: Path | None = Field(None, description="file in which conversations are kept; None: nowhere")
    dialogue: DialogueSettings = DialogueSettings()


class ChatSettings(Settings):
    """A conversation in a terminal."""

    assistant: Path = Field(description="settings of the assistant: a .toml or .json file; or the folder of an index")
    message: tuple[str, ...] = Field((), description="what the user says, turn by turn; without any: asked for")
    conversation: str | None = Field(None, description="of an earlier one, to go on with")
    no_transcripts: bool = Field(False, description="keep nothing, whatever the assistant's settings say")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")


def open_assistant(
    path: Path, *, no_transcripts: bool = False, device: str = "auto", progress: Progress | None = None
) -> Assistant:
    """Everything that the file names, loaded. A folder is an index to answer from, by itself. progress: hears warnings.

    Raises `SettingsError` for parts that do not go together, and what loading raises for parts that are not there.
    """
    settings, place = _read(path)

    def at(name: str) -> Path | None:
        value: Path | None = getattr(settings, name)
        return None if value is None else place / value

    def model(name: str, task: str) -> Predictor | None:
        folder = at(name)
        return None if folder is None else load(folder, device=device).for_task(task, f"{path}: {name}")

    intents = model("intents", "classification")
    _check_replies(settings, intents, path)
    selector, candidates = model("selector", "reranking"), _lines(at("candidates"))
    if (selector is None) != (not candidates):
        raise SettingsError(f"{path}: selector and candidates go together: a model, and the replies it chooses from")
    faq_folder, index_folder = at("faq"), at("index")
    faq = None if faq_folder is None else open_index(faq_folder)
    if faq is not None and not faq.index.has_vectors:
        raise SettingsError(f"{path}: faq: {faq_folder} was made without a model; questions are compared by vectors")
    answerer = None
    if index_folder is not None:
        answerer, warnings = open_answerer(
            index_folder, reader=at("reader"), load_reader=partial(Reader.load, device=device)
        )
        for warning in warnings:
            (progress or Progress()).note(f"warning: {index_folder}: {warning}")
    if not (settings.replies or faq or answerer or selector):
        raise SettingsError(
            f"{path}: nothing that could reply: name replies to intents, a faq, an index, or a selector"
        )
    kept = at("transcripts")
    transcripts = RememberedTranscripts() if no_transcripts or kept is None else TranscriptFile(kept)
    return Assistant(transcripts, settings.dialogue, intents, settings.replies, faq, answerer, selector, candidates)


def _read(path: Path) -> tuple[AssistantSettings, Path]:
    """The settings, and where their paths begin."""
    if path.is_dir():
        return AssistantSettings(index=path.absolute()), path
    if not path.is_file():
        raise SettingsError(f"{path}: no such file; an assistant is a .toml or .json file, or the folder of an index")
    return AssistantSettings.of(read_settings_file(path), str(path)), path.absolute().parent


def _check_replies(settings: AssistantSettings, intents: Predictor | None, path: Path) -> None:
    if intents is None:
        if settings.replies:
            raise SettingsError(f"{path}: replies to intents need a model that tells them: intents")
        return
    known = intents.task.labels() or ()
    for name in settings.replies:
        if name not in known:
            raise SettingsError(
                f"{path}: replies: the model knows no intent {name!r}; it knows {', '.join(known[:20])}"
            )


def _lines(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: no replies could be read: {error}") from None
    return tuple(line.strip() for line in text.splitlines() if line.strip())
