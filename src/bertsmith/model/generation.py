"""Writing a target to each source, token by token: greedy, by beams, by chance. Knows ids; what they spell is not here.

Shapes: n sources, k beams to a source, R rows being written, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from bertsmith.kernels.scores import ScoreRows, best_of, score_rows
from bertsmith.model.decoder import DecoderCache
from bertsmith.model.networks import Seq2SeqNetwork
from bertsmith.model.packed import Packed
from bertsmith.settings import Settings

NEVER = float("-inf")
MAX_ROWS = 512
"""That are written at a time: of more the scores over a vocabulary do not stay in a processor's cache."""
MAX_STORE_BYTES = 2**30
"""That the keys and values of what is written at a time take: of a large model fewer rows."""


class GenerationSettings(Settings):
    """How targets are written; what transformers has too is named as there."""

    num_beams: int = Field(1, ge=1, le=64, description="targets that are pursued at once; 1: the likeliest next token")
    length_penalty: float = Field(
        1.0,
        ge=-10,
        le=10,
        description="a beam's log-probability is divided by its length to this power; above 0 favours longer ones",
    )
    coverage_penalty: float = Field(
        0.0, ge=0, description="weight of the penalty for source tokens that were not looked at (Wu et al. 2016)"
    )
    no_repeat_ngram_size: int = Field(0, ge=0, description="tokens in a row that are not written twice; 0: any may be")
    do_sample: bool = Field(False, description="draw tokens by their probability instead of taking the likeliest")
    temperature: float = Field(1.0, gt=0, description="below 1 sharpens what is drawn from, above 1 flattens it")
    top_k: int | None = Field(None, ge=1, description="draw from the so many likeliest tokens only; None: from all")
    top_p: float = Field(1.0, gt=0, le=1, description="draw from the likeliest tokens that make up this probability")
    min_new_tokens: int = Field(0, ge=0, description="tokens that are written at least")
    max_new_tokens: int | None = Field(
        None, ge=1, description="tokens that are written at most; None: as the model's max_target_length has it"
    )
    sampling_seed: int = Field(0, ge=0, lt=2**63, description="decides what is drawn, with the source's own tokens")

    @model_validator(mode="after")
    def _agree(self) -> GenerationSettings:
        if self.do_sample and self.num_beams > 1:
            raise ValueError("do_sample draws one target: leave num_beams at 1, or leave do_sample out")
        drawn = [name for name in ("temperature", "top_k", "top_p") if getattr(self, name) not in (None, 1.0)]
        if drawn and not self.do_sample:
            raise ValueError(f"{', '.join(drawn)}: without a meaning where no token is drawn; add do_sample")
        chosen = [n for n, unset in (("length_penalty", 1.0), ("coverage_penalty", 0.0)) if getattr(self, n) != unset]
        if chosen and self.num_beams == 1:
            raise ValueError(f"{', '.join(chosen)}: of a meaning between beams alone; set num_beams above 1")
        if self.max_new_tokens is not None and self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens {self.min_new_tokens} exceeds max_new_tokens {self.max_new_tokens}")
        return self


@dataclass(frozen=True)
class Generated:
    """One generated sequence: its ids without the first and the last special token, and each token's log-probability.

    finished: whether it ended by itself, its end having a log-probability too; False where the length limit cut it.
    """

    input_ids: list[int]
    log_probabilities: list[float]
    finished: bool


@dataclass(frozen=True)
class Frame:
    """What every target begins and ends with, and what each has to begin with behind that.

    prefixes: of each source its forced first tokens, whose probability then is 1.
    """

    first_id: int
    last_id: int
    prefixes: Sequence[Sequence[int]] = ()


@torch.inference_mode()
def generate(
    network: Seq2SeqNetwork, source: Packed, settings: GenerationSettings, frame: Frame, max_new_tokens: int
) -> list[Generated]:
    """The target of each source, in order; as `settings` say, but for its `max_new_tokens`."""
    states, ids = source.split(network.encode(source)), source.split(source.input_ids)
    number = max(1, _most_rows(network, states[0].element_size(), max_new_tokens) // settings.num_beams)
    results: list[Generated] = []
    for start in range(0, len(states), number):
        part = slice(start, start + number)
        lengths, prefixes = source.lengths[part], frame.prefixes[part] if frame.prefixes else ()
        some = replace(frame, prefixes=prefixes)
        writer = _Writer(network, torch.cat(states[part]), lengths, settings, some, max_new_tokens)
        results += _beams(writer) if settings.num_beams > 1 else _singly(writer, ids[part])
    return results


def _most_rows(network: Seq2SeqNetwork, element_bytes: int, num_steps: int) -> int:
    """As many as `MAX_STORE_BYTES` hold the keys and values of, at most `MAX_ROWS`."""
    step_bytes = 2 * len(network.decoder.layers) * network.config.hidden_size * element_bytes
    return min(MAX_ROWS, MAX_STORE_BYTES // (DecoderCache.num_places(num_steps) * step_bytes))


class _Writer:
    """The rows that are being written, `num_beams` to each source that is not done.

    alive: the sources' places. written, log_probabilities: [R, steps].
    """

    def __init__(
        self,
        network: Seq2SeqNetwork,
        states: Tensor,
        lengths: tuple[int, ...],
        settings: GenerationSettings,
        frame: Frame,
        max_new_tokens: int,
    ):
        self.network, self.settings, self.frame, self.max_new_tokens = network, settings, frame, max_new_tokens
        self.states, self.lengths = states, lengths
        self.device = states.device
        self.num_beams = settings.num_beams
        self.alive = list(range(len(lengths)))
        rows = len(lengths) * self.num_beams
        self.written = torch.empty(rows, 0, dtype=torch.int64, device=self.device)
        self.log_probabilities = torch.empty(rows, 0, device=self.device)
        self.cache = DecoderCache(want_coverage=settings.coverage_penalty > 0)
        self.looked: list[Tensor] = []

    @property
    def step(self) -> int:
        return self.written.shape[1]

    @property
    def is_last_step(self) -> bool:
        return self.step == self.max_new_tokens

    def next_scores(self) -> tuple[Tensor, ScoreRows]:
        """[R, V]: the score of each token to come next, -inf for what may not; and what `ScoreRows` says of each row.

        Of beams the best 2k tokens of each row, among which are the best 2k of all rows of a source; else the best one.

        A token's log-probability is its score less the row's `log_sums`: few are asked for, of a whole vocabulary.
        """
        rows = len(self.alive) * self.num_beams
        last = self.written[:, -1] if self.step else torch.full((rows,), self.frame.first_id, device=self.device)
        target = Packed(last, torch.zeros_like(last), torch.full_like(last, self.step), (1,) * rows)
        lengths = tuple(self.lengths[place] for place in self.alive)
        scores = self.network.decode(target, self.states, lengths, self.cache)
        if self.cache.want_coverage:
            looked = self.cache.coverage
            self.looked = [a + b for a, b in zip(self.looked, looked, strict=True)] if self.looked else looked
        num_best = 2 * self.num_beams if self.num_beams > 1 else 1
        found = score_rows(scores, num_best)
        if not self._is_bound():
            return scores, found
        scores = scores.float()
        if self.step < self.settings.min_new_tokens:
            scores[:, self.frame.last_id] = NEVER
        if self.settings.no_repeat_ngram_size:
            self._forbid_repeats(scores, self.settings.no_repeat_ngram_size)
        if self.frame.prefixes:
            self._force(scores, found.log_sums)
        return scores, ScoreRows(*best_of(scores, num_best), found.log_sums)

    def _is_bound(self) -> bool:
        """Whether there are tokens that may not, or must, come next."""
        settings = self.settings
        return self.step < settings.min_new_tokens or settings.no_repeat_ngram_size > 0 or bool(self.frame.prefixes)

    def append(self, tokens: Tensor, log_probabilities: Tensor) -> None:
        """[R] each."""
        self.written = torch.cat((self.written, tokens[:, None]), 1)
        self.log_probabilities = torch.cat((self.log_probabilities, log_probabilities[:, None]), 1)

    def keep(self, rows: Tensor, sources: Sequence[bool]) -> None:
        """Go on with these rows, [R'], in this order, of the alive sources that are marked."""
        self.written = self.written.index_select(0, rows)
        self.log_probabilities = self.log_probabilities.index_select(0, rows)
        self.cache.keep_rows(rows)
        if self.looked:
            self.looked = self._kept_coverage(rows.tolist(), sources)
        if not all(sources):
            lengths = torch.tensor([self.lengths[place] for place in self.alive])
            marks = torch.tensor(sources).repeat_interleave(lengths)
            self.cache.keep_sources(marks.nonzero().squeeze(1).to(self.device))
            self.alive = [place for place, is_kept in zip(self.alive, sources, strict=True) if is_kept]

    def _kept_coverage(self, rows: Sequence[int], sources: Sequence[bool]) -> list[Tensor]:
        kept = [place for place, is_kept in enumerate(sources) if is_kept]
        k = self.num_beams
        return [
            self.looked[place][[row - place * k for row in rows[i * k : (i + 1) * k]]] for i, place in enumerate(kept)
        ]

    def _forbid_repeats(self, scores: Tensor, size: int) -> None:
        """No token that would end the same `size` tokens in a row a second time, with the first, as in transformers."""
        for row, written in enumerate(self.written.tolist()):
            ids = [self.frame.first_id, *written]
            before = ids[len(ids) - size + 1 :]
            seen = [ids[i + size - 1] for i in range(len(ids) - size + 1) if ids[i : i + size - 1] == before]
            scores[row, seen] = NEVER

    def _force(self, scores: Tensor, norms: Tensor) -> None:
        for i, place in enumerate(self.alive):
            prefix = self.frame.prefixes[place]
            if self.step < len(prefix):
                rows = slice(i * self.num_beams, (i + 1) * self.num_beams)
                scores[rows] = NEVER
                scores[rows, prefix[self.step]] = norms[rows]


def _singly(writer: _Writer, sources: Sequence[Tensor]) -> list[Generated]:
    """One row a source: the likeliest token at every step, or one that is drawn."""
    settings, last_id = writer.settings, writer.frame.last_id
    draws = _draws(sources, settings.sampling_seed, writer.max_new_tokens) if settings.do_sample else None
    results: dict[int, Generated] = {}
    while writer.alive:
        scores, found = writer.next_scores()
        best, tokens = found.best[:, 0], found.places[:, 0]
        if draws is not None:
            chances = torch.from_numpy(draws[writer.alive, writer.step]).to(scores.device)
            tokens = drawn(scores.float(), chances, settings)
            best = scores.gather(-1, tokens[:, None]).squeeze(-1)
        writer.append(tokens, best.float() - found.log_sums)
        ends = (tokens == last_id).tolist()
        over = [True] * len(ends) if writer.is_last_step else ends
        if not any(over):
            continue
        written, probable = writer.written.tolist(), writer.log_probabilities.tolist()
        for row, place in enumerate(writer.alive):
            if over[row]:
                ids = written[row][:-1] if ends[row] else written[row]
                results[place] = Generated(ids, probable[row], ends[row])
        going_on = [not is_over for is_over in over]
        writer.keep(torch.tensor(going_on).nonzero().squeeze(1).to(writer.device), going_on)
    return [results[place] for place in range(len(sources))]


def _draws(sources: Sequence[Tensor], seed: int, num_steps: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """[n, steps]: a number from 0 to 1 for each token of a source, the same in whatever batch it is."""
    keys = [[seed, *ids.tolist()] for ids in sources]
    return np.stack([np.random.default_rng(key).random(num_steps, dtype=np.float32) for key in keys])


def drawn(scores: Tensor, chances: Tensor, settings: GenerationSettings) -> Tensor:
    """[R]: of the tokens in falling probability the one at which their sum passes the chance.

    The likeliest are kept first by number, then by probability (Holtzman et al. 2020).
    """
    # Less the largest, and by a number that single precision has, no score overflows.
    temperature = max(settings.temperature, torch.finfo(torch.float32).tiny)
    ordered, tokens = ((scores - scores.amax(-1, keepdim=True)) / temperature).sort(-1, descending=True)
    if settings.top_k is not None:
        ordered, tokens = ordered[:, : settings.top_k], tokens[:, : settings.top_k]
    sums = ordered.softmax(-1).cumsum(-1)
    if settings.top_p < 1:
        before = sums - sums.diff(dim=-1, prepend=torch.zeros_like(sums[:, :1]))
        sums = ordered.masked_fill(before >= settings.top_p, NEVER).softmax(-1).cumsum(-1)
    place = (sums < (chances * sums[:, -1])[:, None]).sum(-1, keepdim=True)
    return tokens.gather(-1, place.clamp(max=tokens.shape[-1] - 1)).squeeze(-1)


@dataclass
class _Finished:
    """The finished targets of one source, at most k, with the scores that they are compared by."""

    best: list[tuple[float, Generated]] = field(default_factory=list)

    def add(self, score: float, generated: Generated, size: int) -> None:
        self.best = sorted([*self.best, (score, generated)], key=lambda pair: -pair[0])[:size]


def _beams(writer: _Writer) -> list[Generated]:
    """The best of k targets pursued at once (Sutskever et al. 2014), finished ones being compared as transformers does.

    A source is done once it has k finished targets and no unfinished one is better as it stands.
    """
    k, last_id, device = writer.num_beams, writer.frame.last_id, writer.device
    finished = [_Finished() for _ in writer.alive]
    # The rows of a source begin alike: all but the first are put out of the running.
    totals = torch.full((len(writer.alive), k), -1e9, device=device)
    totals[:, 0] = 0.0
    while writer.alive:
        num_alive = len(writer.alive)
        _, candidates = writer.next_scores()
        tokens, found = candidates.places, candidates.best.float() - candidates.log_sums[:, None]
        best, places = (totals.view(-1, 1) + found).view(num_alive, -1).topk(2 * k, dim=-1)
        rows = places // tokens.shape[1] + torch.arange(num_alive, device=device)[:, None] * k
        tokens = tokens.view(num_alive, -1).gather(1, places)
        log_probabilities = found.view(num_alive, -1).gather(1, places)
        ends = tokens == last_id
        length = writer.step + 1
        for i, j in ends[:, :k].nonzero().tolist():
            row = int(rows[i, j])
            ids = writer.written[row].tolist()
            own = [*writer.log_probabilities[row].tolist(), float(log_probabilities[i, j])]
            score = _score(writer, row, float(best[i, j]), length)
            finished[writer.alive[i]].add(score, Generated(ids, own, True), k)
        # Of 2k candidates at least k go on.
        order = ends.long().argsort(dim=-1, stable=True)[:, :k]
        totals, rows, tokens = best.gather(1, order), rows.gather(1, order), tokens.gather(1, order)
        log_probabilities = log_probabilities.gather(1, order)
        going_on = [True] * num_alive
        writer.keep(rows.flatten(), going_on)
        writer.append(tokens.flatten(), log_probabilities.flatten())
        leading = [_per_length(writer.settings, total, length) for total in totals[:, 0].tolist()]
        for i, place in enumerate(writer.alive):
            done = finished[place].best
            going_on[i] = not writer.is_last_step and (len(done) < k or done[-1][0] < leading[i])
            if writer.is_last_step:
                _add_unfinished(writer, finished[place], i, totals[i].tolist())
        if not all(going_on):
            marks = torch.tensor(going_on)
            totals = totals[marks.to(device)]
            writer.keep(marks.repeat_interleave(k).nonzero().squeeze(1).to(device), going_on)
    return [found.best[0][1] for found in finished]


def _add_unfinished(writer: _Writer, finished: _Finished, i: int, totals: Sequence[float]) -> None:
    """At the length limit what is unfinished is compared too."""
    for j, total in enumerate(totals):
        row = i * writer.num_beams + j
        ids, found = writer.written[row].tolist(), writer.log_probabilities[row].tolist()
        score = _score(writer, row, total, writer.step)
        finished.add(score, Generated(ids, found, False), writer.num_beams)


def _score(writer: _Writer, row: int, total: float, length: int) -> float:
    """What finished targets are compared by (Wu et al. 2016, section 7, with transformers' form of the length)."""
    score = _per_length(writer.settings, total, length)
    if writer.looked:
        source, beam = divmod(row, writer.num_beams)
        covered = writer.looked[source][beam].clamp(max=1.0)
        score += writer.settings.coverage_penalty * float(covered.log().sum())
    return score


def _per_length(settings: GenerationSettings, total: float, length: int) -> float:
    value: float = total / length**settings.length_penalty
    return value
