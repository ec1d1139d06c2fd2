"""The words of text files and how often each occurs, exactly as BERT's tokenizer separates them.

Exact for any amount of text in bounded memory: what does not fit is sorted, written to temporary files and merged at
the end. Knows nothing of pieces or vocabularies.
"""

from __future__ import annotations

import codecs
import heapq
import itertools
import lzma
import re
import tempfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Final, Literal, TypeAlias

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bertsmith.errors import DataError
from bertsmith.files import COMPRESSIONS, open_bytes
from bertsmith.text.vocabulary import MAX_WORD_CHARACTERS

BadUtf8: TypeAlias = Literal["error", "replace", "skip"]
# Called with a phase, how much of it is done, and its whole where that is known.
OnProgress: TypeAlias = Callable[[str, int, "int | None"], None]

BLOCK_BYTES: Final = 8 << 20  # read at once: small enough that its distinct chunks weigh little beside the words
BATCH_BYTES: Final = 1 << 18  # normalized at once: the core holds some 100 bytes for each
MAX_RUNS: Final = 64  # temporary files open at once
FOREIGN_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)

# BERT's cleaning drops control characters and joins what they stood between; `bytes.split` would separate it at two.
DROPPED_BYTES: Final = b"\0\x0b\x0c"
BLANKS: Final = (b" ", b"\n", b"\t", b"\r")
# The ideographs from U+4E00 to U+9FFF, each a word of its own, and ASCII punctuation, which ends a word.
IDEOGRAPH: Final = re.compile(rb"(?:\xe4[\xb8-\xbf]|[\xe5-\xe9][\x80-\xbf])[\x80-\xbf]")
SEPARATOR: Final = re.compile(rb"[!-/:-@\[-`{-~]|" + IDEOGRAPH.pattern)


@dataclass(frozen=True, slots=True)
class WordCounts:
    """Words with their counts, most frequent first, equal ones by string.

    num_words: all words read, of which not in `counts`: num_overlong_words, with more characters than the tokenizer
    takes, and num_rare_words, the occurrences of num_rare_distinct_words beyond the cap. num_bad_chunks: stretches
    between blanks that were not valid UTF-8. num_bytes: bytes read, after decompression.
    """

    counts: dict[str, int]
    num_words: int
    num_overlong_words: int
    num_rare_words: int
    num_rare_distinct_words: int
    num_bad_chunks: int
    num_bytes: int


def count_words(
    files: Sequence[Path],
    normalizer: BertNormalizer,
    *,
    max_distinct_words: int,
    bad_utf8: BadUtf8 = "error",
    on_progress: OnProgress | None = None,
) -> WordCounts:
    """Count the words of `files`, of which the `max_distinct_words` most frequent are kept.

    The result is a function of the words alone, not of the order of files or lines. Raises `DataError` naming file and
    line for text that is not UTF-8, unless `bad_utf8` says to replace bad bytes (which BERT then drops) or to skip
    the stretch between blanks that holds them.
    """
    sizes = [path.stat().st_size for path in files if path.is_file() and path.suffix.lower() not in COMPRESSIONS]
    total = sum(sizes) if len(sizes) == len(files) else None
    num_bytes = 0
    with tempfile.TemporaryDirectory(prefix="bertsmith-words-") as folder:
        tally = _Tally(normalizer, max_distinct_words, bad_utf8, Path(folder))
        for path in files:
            for block in _blocks(path):
                tally.add(block)
                num_bytes += len(block.content)
                if on_progress is not None:
                    on_progress("count words", num_bytes, total)
        return tally.result(num_bytes)


def together(parts: Sequence[WordCounts]) -> WordCounts:
    """What counting the files of all parts at once would have found, but for each part's cap on distinct words."""
    if len(parts) == 1:
        return parts[0]
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
    return WordCounts(
        dict(sorted(counts.items(), key=_rank)),
        num_words=sum(part.num_words for part in parts),
        num_overlong_words=sum(part.num_overlong_words for part in parts),
        num_rare_words=sum(part.num_rare_words for part in parts),
        num_rare_distinct_words=sum(part.num_rare_distinct_words for part in parts),
        num_bad_chunks=sum(part.num_bad_chunks for part in parts),
        num_bytes=sum(part.num_bytes for part in parts),
    )


@dataclass(frozen=True, slots=True)
class _Block:
    """Some whole words of a file; `first_line` is the number of the line that it starts in."""

    content: bytes
    path: Path
    first_line: int


def _blocks(path: Path) -> Iterator[_Block]:
    """A file in blocks that end where a word ends; a stretch of a block without any such place is cut somewhere."""
    first_line, rest = 1, b""
    with open_bytes(path) as file:
        while read := _read(file, path):
            if not rest and first_line == 1 and read.startswith(FOREIGN_MARKS):
                raise DataError(f"{path}: starts with a byte order mark of UTF-16 or UTF-32; save it as UTF-8")
            content = rest + read
            end = _last_boundary(content)
            rest = content[end:]
            yield _Block(content[:end], path, first_line)
            first_line += content.count(b"\n", 0, end)
    if rest:
        yield _Block(rest, path, first_line)


def _read(file: IO[bytes], path: Path) -> bytes:
    try:
        return file.read(BLOCK_BYTES)
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}; it is cut short, or not what its suffix says") from None


def _last_boundary(content: bytes) -> int:
    """Where the last whole word ends: after a blank, else near the end where BERT separates words, else anywhere."""
    blank = max(content.rfind(blank) for blank in BLANKS)
    if blank >= 0:
        return blank + 1
    end = max(0, len(content) - 1000)
    for separator in SEPARATOR.finditer(content, end):
        end = separator.end()
    while end < len(content) and content[end] & 0xC0 == 0x80:  # never within a character
        end += 1
    return end


def _batches(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks joined by blanks to stretches that the core can take at once; longer ones are cut."""
    batch: list[bytes] = []
    size = 0
    for chunk in chunks:
        while len(chunk) > BATCH_BYTES:
            end = _last_boundary(chunk[:BATCH_BYTES])
            yield chunk[:end]
            chunk = chunk[end:]
        batch.append(chunk)
        size += len(chunk)
        if size > BATCH_BYTES:
            yield b" ".join(batch)
            batch, size = [], 0
    yield b" ".join(batch)


class _Tally:
    """Words counted so far: in memory, and in sorted runs on disk once there have been more than the cap."""

    def __init__(self, normalizer: BertNormalizer, max_distinct_words: int, bad_utf8: BadUtf8, folder: Path):
        self.normalizer = normalizer
        self.pre_tokenizer = BertPreTokenizer()
        self.max_distinct_words = max_distinct_words
        self.bad_utf8 = bad_utf8
        self.folder = folder
        self.counts: dict[str, int] = {}
        self.runs: list[Path] = []
        self.num_runs = 0
        self.num_words = self.num_overlong_words = self.num_bad_chunks = 0

    def add(self, block: _Block) -> None:
        """Separating words is slow and the chunks between blanks repeat, so each distinct chunk is done once."""
        chunks = self._chunks(block)
        by_count: defaultdict[int, list[bytes]] = defaultdict(list)
        for chunk, count in chunks.items():
            by_count[count].append(chunk)
        counts, get = self.counts, self.counts.get
        for count, alike in by_count.items():
            for batch in _batches(alike):
                text = self.normalizer.normalize_str(batch.decode("utf-8"))
                words = self.pre_tokenizer.pre_tokenize_str(text)
                self.num_words += count * len(words)
                for word, _ in words:
                    if len(word) <= MAX_WORD_CHARACTERS:
                        counts[word] = get(word, 0) + count
                    else:
                        self.num_overlong_words += count
        if len(counts) > self.max_distinct_words:
            self._spill(sorted(counts.items()))
            counts.clear()

    def result(self, num_bytes: int) -> WordCounts:
        if self.runs:
            self._spill(sorted(self.counts.items()))
            distinct = itertools.count()
            merged = (entry for entry, _ in zip(_merged(self.runs), distinct, strict=False))
            counts = dict(heapq.nsmallest(self.max_distinct_words, merged, key=_rank))
            num_rare_distinct = next(distinct) - len(counts)
        else:
            counts = dict(sorted(self.counts.items(), key=_rank))
            num_rare_distinct = 0
        num_rare = self.num_words - self.num_overlong_words - sum(counts.values())
        return WordCounts(
            counts, self.num_words, self.num_overlong_words, num_rare, num_rare_distinct, self.num_bad_chunks, num_bytes
        )

    def _chunks(self, block: _Block) -> Mapping[bytes, int]:
        content = block.content.translate(None, DROPPED_BYTES)
        try:
            block.content.decode("utf-8")
        except UnicodeDecodeError as error:
            if self.bad_utf8 != "error":
                return self._mended(Counter(content.split()))
            line = block.first_line + block.content.count(b"\n", 0, error.start)
            raise DataError(
                f"{block.path}: line {line}: not valid UTF-8 ({error.reason}, byte 0x{error.object[error.start]:02x}); "
                "save the file as UTF-8, or set bad_utf8 to replace or skip"
            ) from None
        if self.normalizer.handle_chinese_chars:
            content = IDEOGRAPH.sub(rb" \g<0> ", content)
        return Counter(content.split())

    def _mended(self, chunks: Mapping[bytes, int]) -> Mapping[bytes, int]:
        mended: Counter[bytes] = Counter()
        for chunk, count in chunks.items():
            text = chunk.decode("utf-8", "replace")
            is_bad = text.encode("utf-8") != chunk
            self.num_bad_chunks += count * is_bad
            if not is_bad or self.bad_utf8 == "replace":
                mended[text.encode("utf-8")] += count
        return mended

    def _spill(self, entries: Iterable[tuple[str, int]]) -> None:
        """Write entries, sorted by their words, as one more run; fold all runs into one when there are many."""
        run = self.folder / str(self.num_runs)
        self.num_runs += 1
        try:
            with run.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{word}\t{count}\n" for word, count in entries)
        except OSError as error:
            raise DataError(f"{run}: {error.strerror or error}; set TMPDIR to a folder with more room") from None
        self.runs.append(run)
        if len(self.runs) == MAX_RUNS:
            merged, self.runs = self.runs, []
            self._spill(_merged(merged))
            for old in merged:
                old.unlink()


def _rank(entry: tuple[str, int]) -> tuple[int, str]:
    word, count = entry
    return -count, word


def _merged(runs: Sequence[Path]) -> Iterator[tuple[str, int]]:
    """The words of all runs in order of their strings, each once with its whole count."""
    with ExitStack() as stack:
        streams = [_entries(stack.enter_context(run.open(encoding="utf-8", newline="\n"))) for run in runs]
        for word, entries in groupby(heapq.merge(*streams), key=itemgetter(0)):
            yield word, sum(count for _, count in entries)


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    for line in lines:
        word, _, count = line.rstrip("\n").partition("\t")
        yield word, int(count)
