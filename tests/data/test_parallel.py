"""Lines of several files, put together by their numbers; rows of a table; what is told where they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertsmith.data.lines import Reading
from bertsmith.data.parallel import UNTRANSLATED, read_parallel, read_translations
from bertsmith.errors import DataError, SettingsError


def write(folder: Path, **texts: str | bytes) -> list[Path]:
    for name, text in texts.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return [folder / name for name in texts]


def test_lines_of_one_number_belong_together(tmp_path: Path) -> None:
    texts = {"en": "a dog\n\na cat\n\n", "de": "ein Hund\nallein\neine Katze\n\n", "fr": "un chien\n\nun chat\n\n"}
    files = write(tmp_path, **texts)
    reading = Reading()
    found = list(read_parallel(files, reading))
    assert [(pair.texts, pair.line) for pair in found] == [
        (("a dog", "ein Hund", "un chien"), 1),
        (("a cat", "eine Katze", "un chat"), 3),
    ]
    assert reading.skipped == {UNTRANSLATED: 1}


def test_a_line_that_is_skipped_takes_its_translation_with_it(tmp_path: Path) -> None:
    files = write(tmp_path, en="one\ntwo\nthree\n", de=b"eins\nzw\xff\ndrei\n")
    reading = Reading("skip")
    assert [pair.texts for pair in read_parallel(files, reading)] == [("one", "eins"), ("three", "drei")]
    assert reading.skipped == {"invalid UTF-8": 1, UNTRANSLATED: 1}


def test_a_last_line_that_is_skipped_or_blank_is_no_missing_one(tmp_path: Path) -> None:
    files = write(tmp_path, en="one\ntwo\nthree\n", de=b"eins\nzwei\ndr\xffi\n\n \n")
    reading = Reading("skip")
    assert [(pair.texts, pair.line) for pair in read_parallel(files, reading)] == [
        (("one", "eins"), 1),
        (("two", "zwei"), 2),
    ]
    assert reading.skipped == {"invalid UTF-8": 1, UNTRANSLATED: 1}
    with pytest.raises(DataError, match=r"de, line 3: invalid UTF-8"):
        list(read_parallel(files, Reading()))


def test_a_line_in_parts_is_one(tmp_path: Path) -> None:
    files = write(tmp_path, en="a long line\ntwo\n", de="eins\nzwei\n")
    assert [pair.texts for pair in read_parallel(files, Reading("replace", max_line_bytes=6))] == [
        ("a long", "eins"),
        ("two", "zwei"),
    ]
    reading = Reading("skip", max_line_bytes=6)
    assert [pair.texts for pair in read_parallel(files, reading)] == [("two", "zwei")]
    assert reading.skipped[UNTRANSLATED] == 1


@pytest.mark.parametrize(("en", "de", "longer"), [("1\n2\n3\n", "1\n2\n", "en"), ("1\n", "1\n2\n3\n", "de")])
def test_files_of_other_lengths_are_refused(tmp_path: Path, en: str, de: str, longer: str) -> None:
    files = write(tmp_path, en=en, de=de)
    line = 3 if longer == "en" else 2
    with pytest.raises(DataError, match=rf"{tmp_path / longer}: line {line} has no translation"):
        list(read_parallel(files, Reading()))


def test_nothing_in_common(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no line with a translation"):
        list(read_parallel(write(tmp_path, en="a\n\n", de="\nb\n"), Reading()))


def test_a_table(tmp_path: Path) -> None:
    (table,) = write(tmp_path, **{"pairs.tsv": "en\tde\tfr\na dog\tein Hund\tun chien\na cat\t\tun chat\n"})
    reading = Reading()
    assert [pair.texts for pair in read_translations([table], (), reading)] == [("a dog", "ein Hund")]
    assert reading.skipped == {UNTRANSLATED: 1}
    assert [p.texts for p in read_translations([table], ("fr", "en"), Reading())] == [
        ("un chien", "a dog"),
        ("un chat", "a cat"),
    ]
    with pytest.raises(DataError, match=r"row 1 \(line 2\): no column 'deu'; did you mean 'de'"):
        list(read_translations([table], ("en", "deu"), Reading()))


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    files = write(tmp_path, **{"en.txt": "a\n", "de.txt": "b\n", "fr.txt": "c\n"})
    for given in (files, files[:1]):
        with pytest.raises(SettingsError, match=f"found {len(given)} files, 0 columns"):
            list(read_translations(given, (), Reading()))
