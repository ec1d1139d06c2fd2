"""The tokenizer in the shape that users of `transformers` know: one call from texts to padded model inputs.

Padding lives here, at the border, and nowhere below; what the ids are is `bertsmith.text.Tokenizer`'s business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias

import numpy as np

from bertsmith.errors import DataError, SettingsError, nearest
from bertsmith.hf.batch_encoding import BatchEncoding, PaddingSide, TensorKind, as_tensors, pad_row
from bertsmith.hub import resolve_folder
from bertsmith.text.tokenizer import Encoding, Text, Tokenizer
from bertsmith.text.vocabulary import CLS, MASK, PAD, SEP, UNK

Padding: TypeAlias = bool | Literal["longest", "max_length", "do_not_pad"]
Truncation: TypeAlias = bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"]

PADDINGS: Final[dict[Any, str | None]] = {
    False: None,
    "do_not_pad": None,
    True: "longest",
    "longest": "longest",
    "max_length": "max_length",
}
TRUNCATIONS: Final[dict[Any, Any]] = {
    False: None,
    "do_not_truncate": None,
    True: "longest_first",
    "longest_first": "longest_first",
    "only_first": "only_first",
    "only_second": "only_second",
}
NO_LIMIT: Final = int(1e30)  # what transformers calls the length of a model that states none
# What stands at padded places; every name that `pad` knows.
PAD_VALUES: Final = {
    "token_type_ids": 0,
    "attention_mask": 0,
    "special_tokens_mask": 1,
    "offset_mapping": 0,
}
# Options of from_pretrained, and what they are called in a tokenizer's definition.
OVERRIDES: Final = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
    "model_max_length": "model_max_length",
}


class BertTokenizer:
    """BERT's tokenizer under the names of `transformers`; equal ids, offsets, masks and padding.

    tokenizer: the tokenizer that does the work. model_max_length: in tokens; padding_side: where padding goes.
    """

    pad_token, unk_token, cls_token, sep_token, mask_token = PAD, UNK, CLS, SEP, MASK
    model_input_names = ("input_ids", "token_type_ids", "attention_mask")
    is_fast = True

    def __init__(self, tokenizer: Tokenizer, *, padding_side: PaddingSide = "right"):
        if padding_side not in ("right", "left"):
            raise SettingsError(f"padding_side is {padding_side!r}, expected 'right' or 'left'")
        self.tokenizer = tokenizer
        self.padding_side: PaddingSide = padding_side
        self.model_max_length = tokenizer.spec.model_max_length or NO_LIMIT
        self.vocab_size = len(tokenizer.spec.vocabulary)
        self.pad_token_id, self.unk_token_id, self.mask_token_id = tokenizer.pad_id, tokenizer.unk_id, tokenizer.mask_id
        self.cls_token_id, self.sep_token_id = tokenizer.cls_id, tokenizer.sep_id
        self.all_special_ids = list(tokenizer.special_ids)
        self.all_special_tokens = [tokenizer.vocab[number] for number in tokenizer.special_ids]

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, padding_side: PaddingSide = "right", **overrides: Any
    ) -> Self:
        """From a folder, or from the Hugging Face hub by name.

        overrides: `do_lower_case`, `strip_accents`, `tokenize_chinese_chars`, `model_max_length`.
        """
        unknown = next((name for name in overrides if name not in OVERRIDES), None)
        if unknown is not None:
            raise SettingsError(f"from_pretrained: unknown option {unknown!r}; {nearest(unknown, OVERRIDES)}")
        folder = resolve_folder(name_or_folder)
        tokenizer = Tokenizer.load(folder)
        if overrides:
            changed = {OVERRIDES[name]: value for name, value in overrides.items()}
            tokenizer = Tokenizer(dataclasses.replace(tokenizer.spec, **changed), str(folder))
        return cls(tokenizer, padding_side=padding_side)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `tokenizer.json`, `vocab.txt` and `tokenizer_config.json`."""
        self.tokenizer.save(folder)

    def __len__(self) -> int:
        return self.tokenizer.vocab_size

    def __call__(
        self,
        text: Text | Sequence[Text],
        text_pair: Text | Sequence[Text] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: Padding = False,
        truncation: Truncation | None = None,
        max_length: int | None = None,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        return_tensors: TensorKind | None = None,
        return_token_type_ids: bool = True,
        return_attention_mask: bool = True,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
    ) -> BatchEncoding:
        """A text, a pair, or a list of either as model inputs.

        padding: `True` or `"longest"` to the longest of the batch, `"max_length"` to `max_length`; truncation: `True`
        cuts the longer text of a pair first; max_length: in tokens, by default the model's; given alone, it truncates
        too. One text without `return_tensors` gives plain lists; everything else has one row a text.
        """
        texts, pairs, is_batch = _as_batch(text, text_pair, is_split_into_words)
        if truncation is None:
            truncation = max_length is not None and padding is False
        strategy = _choice("truncation", truncation, TRUNCATIONS)
        if max_length is None and self.model_max_length < NO_LIMIT:
            max_length = self.model_max_length
        encodings = self.tokenizer.encode_batch(
            texts,
            pairs,
            max_length=max_length if strategy else None,
            truncation=strategy or "longest_first",
            add_special_tokens=add_special_tokens,
        )
        wanted = {
            "input_ids": True,
            "token_type_ids": return_token_type_ids,
            "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
        }
        rows = {name: [VIEWS[name](encoding) for encoding in encodings] for name in VIEWS if wanted[name]}
        rows = self._padded(rows, padding, max_length, pad_to_multiple_of)
        if return_tensors is not None:
            return BatchEncoding(as_tensors(rows, return_tensors), encodings)
        lists = {name: [_as_list(name, row) for row in values] for name, values in rows.items()}
        return BatchEncoding(lists if is_batch else {name: values[0] for name, values in lists.items()}, encodings)

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: Padding = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool = True,
        return_tensors: TensorKind | None = None,
    ) -> BatchEncoding:
        """Encoded texts, one mapping of lists or a list of mappings, filled up to one length: what collators call."""
        if not isinstance(encoded_inputs, Mapping):
            encoded_inputs = {name: [row[name] for row in encoded_inputs] for name in encoded_inputs[0]}
        if "input_ids" not in encoded_inputs:
            raise DataError(f"pad: expected input_ids, found {', '.join(encoded_inputs) or 'nothing'}")
        is_batch = len(encoded_inputs["input_ids"]) == 0 or np.ndim(encoded_inputs["input_ids"][0]) > 0
        rows = {name: list(values) if is_batch else [values] for name, values in encoded_inputs.items()}
        if return_attention_mask and "attention_mask" not in rows:
            rows["attention_mask"] = [np.ones(len(ids), dtype=np.int64) for ids in rows["input_ids"]]
        rows = self._padded(rows, padding, max_length or self.model_max_length, pad_to_multiple_of)
        if return_tensors is not None:
            return BatchEncoding(as_tensors(rows if is_batch else {n: v[0] for n, v in rows.items()}, return_tensors))
        lists = {name: [_as_list(name, row) for row in values] for name, values in rows.items()}
        return BatchEncoding(lists if is_batch else {name: values[0] for name, values in lists.items()})

    def encode(self, text: Text, text_pair: Text | None = None, **options: Any) -> list[int]:
        """The ids of one text or pair; options as of a call."""
        ids: list[int] = self(text, text_pair, **options)["input_ids"]
        return ids

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False) -> list[str]:
        """The tokens of one text or pair as strings."""
        return [
            self.tokenizer.vocab[number] for number in self.encode(text, pair, add_special_tokens=add_special_tokens)
        ]

    def decode(self, token_ids: Any, skip_special_tokens: bool = False) -> str:
        """Readable text from ids: a list, an array, a tensor or a single id."""
        return self.tokenizer.decode(np.atleast_1d(np.asarray(token_ids)), skip_special_tokens)

    def batch_decode(self, sequences: Sequence[Any], skip_special_tokens: bool = False) -> list[str]:
        """`decode` for each row."""
        return [self.decode(row, skip_special_tokens) for row in sequences]

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The id of a token, or the ids of several; unknown ones get that of `[UNK]`."""
        if isinstance(tokens, str):
            return self.tokenizer.ids.get(tokens, self.unk_token_id)
        return [self.tokenizer.ids.get(token, self.unk_token_id) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or the tokens of several."""
        if np.ndim(ids) == 0:
            return self.tokenizer.vocab[int(ids)]
        left_out = self.all_special_ids if skip_special_tokens else ()
        return [self.tokenizer.vocab[number] for number in np.asarray(ids).tolist() if number not in left_out]

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id."""
        return dict(self.tokenizer.ids)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many tokens of a text or pair are not its own."""
        return 3 if pair else 2

    def _padded(
        self, rows: dict[str, list[Any]], padding: Padding, max_length: int | None, multiple: int | None
    ) -> dict[str, Any]:
        strategy = _choice("padding", padding, PADDINGS)
        if strategy == "max_length" and (max_length is None or max_length >= NO_LIMIT):
            strategy = None  # as there: nothing says how long
        if strategy is None or not rows["input_ids"]:
            return rows
        length = max_length if strategy == "max_length" and max_length else max(map(len, rows["input_ids"]))
        if multiple:
            length = -(-length // multiple) * multiple
        values = PAD_VALUES | {"input_ids": self.pad_token_id}
        return {
            name: [pad_row(row, length, values[name], self.padding_side) for row in column]
            if name in values
            else column
            for name, column in rows.items()
        }


def _special_tokens_mask(encoding: Encoding) -> list[int]:
    return [int(text is None) for text in encoding.sequence_ids]


VIEWS: Final[dict[str, Callable[[Encoding], Any]]] = {
    "input_ids": lambda encoding: encoding.input_ids,
    "token_type_ids": lambda encoding: encoding.token_type_ids,
    "attention_mask": lambda encoding: np.ones(len(encoding), dtype=np.int64),
    "special_tokens_mask": _special_tokens_mask,
    "offset_mapping": lambda encoding: encoding.offsets,
}


def _as_list(name: str, row: Any) -> list[Any]:
    values: list[Any] = np.asarray(row).tolist()
    return [tuple(span) for span in values] if name == "offset_mapping" else values


def _as_batch(text: Any, text_pair: Any, is_split_into_words: bool) -> tuple[list[Text], list[Text] | None, bool]:
    """The texts, their pairs, and whether the caller gave several."""
    is_list = isinstance(text, (list, tuple))
    is_batch = is_list and (not is_split_into_words or (len(text) > 0 and isinstance(text[0], (list, tuple))))
    if not is_batch:
        return [text], [text_pair] if text_pair else None, False
    if text_pair is not None and (isinstance(text_pair, str) or len(text_pair) != len(text)):
        raise DataError("text_pair: a list of texts needs a list of as many pairs")
    return list(text), None if text_pair is None else list(text_pair), True


def _choice(option: str, given: Any, known: Mapping[Any, Any]) -> Any:
    if given not in known:
        names = [str(name) for name in known]
        raise SettingsError(f"{option} is {given!r}; {nearest(str(given), names)}")
    return known[given]
