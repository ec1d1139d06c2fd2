"""Several languages side by side: which file is of which, and how often each is drawn. Knows no tokens, no samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import SettingsError


def sampling_shares(sizes: Sequence[int], alpha: float) -> NDArray[np.float64]:
    """[n]: the share of what is drawn from corpora of these sizes, p_i ~ sizes_i^alpha.

    Conneau et al. 2020, section 3.1.

    1 draws as the corpora are, 0 from each alike; the smaller alpha, the more of the small ones.

    >>> sampling_shares([900, 100], 0.5).tolist()
    [0.75, 0.25]
    """
    assert min(sizes) > 0
    powers = np.asarray(sizes, dtype=np.float64) ** alpha
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def by_language(files: Sequence[Path], languages: Sequence[str]) -> dict[str, list[Path]]:
    """The files of each language, in the order of their first; `languages` names that of each file.

    Raises `SettingsError` where there are not as many names as files, or a name is none.
    """
    if len(languages) != len(files):
        raise SettingsError(
            f"languages: {len(languages)} names ({' '.join(languages)}) for {len(files)} files: name one for each "
            "file, in the order of the files; files of one language get its name each"
        )
    found: dict[str, list[Path]] = {}
    for file, language in zip(files, languages, strict=True):
        if not language or not language.isprintable() or language != language.strip():
            raise SettingsError(f"languages: {language!r} is no name of a language; write en, de, zh or the like")
        found.setdefault(language, []).append(file)
    return found
