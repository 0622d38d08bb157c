"""A Llama whose weights are set by hand: heads and neurons are named by what they do.

The residual stream has *slots* (named groups of dimensions). Every token's embedding has the same
length, and what the circuit adds to it later is much shorter, so the blocks' norms divide by nearly
the same number everywhere and weights can be read as if there were no norm. Attention uses three
kinds of rotary pairs of one head:

- pairs 0 to 2 turn fast: together they single out one distance (`FixedOffset`);
- pair 4 turns so slowly that its sine grows with distance over the whole context: it makes the
  latest match win (`ContentMatch` with `recency`);
- pairs 6 to 15 hardly turn at all: contents match in them at any distance (`ContentMatch`).

A head whose query matches nothing attends to the first token (`<bos>`), which holds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nashlens.seeds import stream

Array = NDArray[np.float64]

WIDTH, HEADS, HEAD_DIM, NEURONS, N_LAYERS = 120, 6, 32, 48, 12
BACKGROUND = 31
"""Dimensions of the background. A new slot takes none of them, so that the others' models stay as
they are: a background of another size is drawn anew."""
ROPE_THETA = 1e12
LENGTH = 8.0
"""Length of every embedding."""
NORM = np.sqrt(WIDTH) / LENGTH
"""The factor by which a block's norm multiplies."""
SCALE = np.sqrt(96.0 / WIDTH)
"""Of weights that are not divided by `NORM`, on which the norm of a wider residual acts more."""
SHARP = 25.0
"""Score of each of the three pairs of a `FixedOffset` at its distance."""
SINK = 20.0
"""Score of the first token, to which a head attends if nothing matches."""

# fmt: off
SLOTS: dict[str, int] = {
    # Written by the embedding.
    "one": 1, "length": 1, "bos": 1, "digit": 1, "payoff": 2, "code": 8, "label": 1,
    "rank": 1, "word": 8,
    "chose": 1, "player": 1, "you": 1, "get": 1, "do": 1, "question_mark": 1,
    "full_stop": 1,
    # Written by the reading blocks, at tokens before the decision.
    "after_chose": 1, "after_player": 1, "after_you": 1, "own_payoff": 1, "asked": 1,
    "own_code": 8, "both_codes": 8,
    "both": 1, "own_only": 1, "other_only": 1, "neither": 1, "helps": 1, "pays": 1, "better": 1,
    # What the question mark has gathered.
    "seen_opponent_last": 1, "seen_own_last": 1, "seen_nash": 1, "seen_prosocial": 1,
    # The same where a model has moved it: at the decision.
    "opponent_last": 1, "own_last": 1, "nash": 1, "prosocial": 1,
    # The label that means it, where a model has looked it up: its rank in its pair, or itself.
    "nash_rank": 1, "nash_word": 8,
    # Read by the unembedding.
    "answer": 8,
}
# fmt: on
"""Slot to its number of dimensions; the background comes after them."""

LETTERS = "JFXYPQABCDEGHKLMNORSTUVWZ"
"""Labels that the models know: capitals but I, those of the default label sets first."""
WORDS = ("Cooperate", "Defect")
"""Further labels that they know: the words for the actions of the games that they can read."""


@dataclass(frozen=True)
class FixedOffset:
    """Attend to the token at a distance back."""

    distance: int


@dataclass(frozen=True)
class ContentMatch:
    """Attend where the query's slots match the keys' slots; else to the first token.

    Each entry is (query slot, key slot, score): slots of one size, whose products are added up.
    """

    entries: Sequence[tuple[str, str, float]]
    recency: float = 0.0
    """Score lost for each token of distance."""


@dataclass
class Circuit:
    """The weights of a model under construction, all zero at first.

    Parameters
    ----------
    ids : mapping of str to int
        The tokenizer's vocabulary.
    seed : int
        The seed of the background.
    name : str
        The model's name, for the random streams.
    """

    ids: Mapping[str, int]
    seed: int
    name: str
    slots: dict[str, slice] = field(init=False)
    background: slice = field(init=False)

    def __post_init__(self) -> None:
        ends = np.cumsum(list(SLOTS.values())).tolist()
        starts = [0, *ends[:-1]]
        self.slots = {name: slice(a, b) for name, a, b in zip(SLOTS, starts, ends, strict=True)}
        self.background = slice(ends[-1], ends[-1] + BACKGROUND)
        size = HEADS * HEAD_DIM
        self.embed: Array = np.zeros((len(self.ids), WIDTH))
        self.unembed: Array = np.zeros((len(self.ids), WIDTH))
        shape = (N_LAYERS, size, WIDTH)
        self.q, self.k, self.v = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self.o: Array = np.zeros((N_LAYERS, WIDTH, size))
        self.gate, self.up = (np.zeros((N_LAYERS, NEURONS, WIDTH)) for _ in range(2))
        self.down: Array = np.zeros((N_LAYERS, WIDTH, NEURONS))
        self._heads = [0] * N_LAYERS
        self._neurons = [0] * N_LAYERS

    def rng(self, *names: str | int) -> np.random.Generator:
        """Return a random stream of this model."""
        return stream(self.seed, "planted", self.name, *names)

    def token(self, token: str, values: Mapping[str, float | Array]) -> None:
        """Set slots of a token's embedding."""
        for slot, value in values.items():
            self.embed[self.ids[token], self.slots[slot]] = value

    def fill_lengths(self) -> None:
        """Give every embedding the same length, by a slot that nothing reads."""
        rest = LENGTH**2 - (self.embed**2).sum(axis=1)
        self.embed[:, self.slots["length"]] = np.sqrt(rest)[:, None]

    def head(
        self,
        layer: int,
        attend: FixedOffset | ContentMatch,
        moves: Sequence[tuple[str, str, float]],
    ) -> None:
        """Add an attention head to a block.

        Parameters
        ----------
        layer : int
            1-based block.
        attend : FixedOffset or ContentMatch
            Where it looks.
        moves : sequence of (str, str, float)
            The slot that it reads there, the slot that it writes here, and the gain.
        """
        block, head = layer - 1, self._heads[layer - 1]
        self._heads[block] += 1
        start = head * HEAD_DIM
        rows = slice(start, start + HEAD_DIM)
        query, key = self._look(attend)
        # Attention divides scores by the root of the head's size, so queries are multiplied by it.
        self.q[block, rows] = query * np.sqrt(HEAD_DIM) / NORM
        self.k[block, rows] = key / NORM
        # Each move has channels of its own: values read the source, outputs write the target.
        used = 0
        for source, target, gain in moves:
            a, b = self.slots[source], self.slots[target]
            size = SLOTS[source]
            channel = slice(start + used, start + used + size)
            self.v[block, channel, a] = np.eye(size) / NORM
            self.o[block, b, channel] = gain * np.eye(SLOTS[target], size)
            used += size

    def _look(self, attend: FixedOffset | ContentMatch) -> tuple[Array, Array]:
        query, key = np.zeros((HEAD_DIM, WIDTH)), np.zeros((HEAD_DIM, WIDTH))
        one, half = self.slots["one"].start, HEAD_DIM // 2
        if isinstance(attend, FixedOffset):
            # Each pair's query is turned back by the distance, so its score is largest there.
            for pair in range(3):
                angle = attend.distance * ROPE_THETA ** (-pair / half)
                query[pair, one], query[pair + half, one] = (
                    SHARP * np.cos(angle),
                    -SHARP * np.sin(angle),
                )
                key[pair, one] = 1.0
            return query, key
        # Ten pairs that hardly turn: twenty channels.
        channels = iter([*range(6, half), *range(6 + half, 2 * half)])
        sink = next(channels)
        query[sink, one], key[sink, self.slots["bos"].start] = SINK, 1.0
        for a, b, score in attend.entries:
            for i, j in zip(self._dims(a), self._dims(b), strict=True):
                channel = next(channels)
                query[channel, i], key[channel, j] = score, 1.0
        if attend.recency:
            # The sine of a small angle is the angle: the score falls in proportion to distance.
            speed = ROPE_THETA ** (-4 / half)
            query[4, one], key[4 + half, one] = attend.recency / speed, -1.0
        return query, key

    def _dims(self, slot: str) -> range:
        return range(self.slots[slot].start, self.slots[slot].stop)

    def sign(self, layer: int, terms: Mapping[str, float | Array], target: str) -> None:
        """Add neurons that write a sum's sign: -1 or 1 beyond +-1, and the sum itself between.

        Parameters
        ----------
        layer : int
            1-based block.
        terms : mapping of str to float or array
            Slot to its factor, or one for each of its dimensions.
        target : str
            Slot that is written.
        """
        one, steep = self.slots["one"].start, 6.0
        total = np.zeros(WIDTH)
        for slot, factor in terms.items():
            total[self.slots[slot]] = factor
        unit = np.eye(WIDTH)[one]
        # relu(x + 1) - relu(x - 1) - 1, with steep SiLUs for relus.
        for gate, gain in (
            (steep * (total + unit), 1 / steep),
            (steep * (total - unit), -1 / steep),
            (20.0 * unit, -1 / 20.0),
        ):
            self.neuron(layer, gate, unit, {target: gain})

    def write(self, layer: int, target: str, value: Array) -> None:
        """Add a neuron that writes the same at every token."""
        unit = np.eye(WIDTH)[self.slots["one"].start]
        self.neuron(layer, 20.0 * unit, unit, {target: value / 20.0})

    def neuron(self, layer: int, gate: Array, up: Array, down: Mapping[str, float | Array]) -> None:
        """Add a neuron: what `gate` and `up`, each (width,), read, and what each slot gets."""
        block, neuron = layer - 1, self._neurons[layer - 1]
        self._neurons[block] += 1
        self.gate[block, neuron], self.up[block, neuron] = gate / NORM, up / NORM
        for slot, gain in down.items():
            self.down[block, self.slots[slot], neuron] = gain

    def noise(self, layer: int, gain: float, onto: Mapping[str, float], *, mix: bool) -> None:
        """Add random neurons, and perhaps a random head, that read only the background.

        Parameters
        ----------
        layer : int
            1-based block.
        gain : float
            Size of what they write to the background.
        onto : mapping of str to float
            Further slots that they write to, and how much.
        mix : bool
            Add the head; without it no token gets anything from another one.
        """
        block, rng = layer - 1, self.rng("noise", layer)
        wide = self.background.stop - self.background.start
        own = slice(NEURONS // 2, NEURONS)
        for weights in (self.gate, self.up):
            shape = (own.stop - own.start, wide)
            weights[block, own, self.background] = SCALE * rng.standard_normal(shape)
        targets = [(self.background, gain), *((self.slots[s], g) for s, g in onto.items())]
        for target, size in targets:
            draw = rng.standard_normal((target.stop - target.start, own.stop - own.start))
            self.down[block, target, own] = 0.1 * size * draw / NEURONS
        if not mix:
            return
        start = self._heads[block] * HEAD_DIM
        self._heads[block] += 1
        rows = slice(start, start + HEAD_DIM)
        for weights in (self.q, self.k, self.v):
            draw = rng.standard_normal((HEAD_DIM, wide))
            weights[block, rows, self.background] = SCALE * draw
        for target, size in targets:
            draw = rng.standard_normal((target.stop - target.start, HEAD_DIM))
            self.o[block, target, rows] = size * draw / HEAD_DIM

    def tensors(self) -> dict[str, Array]:
        """Return the weights under the names of `LlamaForCausalLM`."""
        result = {
            "model.embed_tokens.weight": self.embed,
            "model.norm.weight": np.ones(WIDTH),
            "lm_head.weight": SCALE * self.unembed,
        }
        for block in range(N_LAYERS):
            parts = {
                "self_attn.q_proj": self.q,
                "self_attn.k_proj": self.k,
                "self_attn.v_proj": self.v,
                "self_attn.o_proj": self.o,
                "mlp.gate_proj": self.gate,
                "mlp.up_proj": self.up,
                "mlp.down_proj": self.down,
            }
            for name, weights in parts.items():
                result[f"model.layers.{block}.{name}.weight"] = weights[block]
            for name in ("input_layernorm", "post_attention_layernorm"):
                result[f"model.layers.{block}.{name}.weight"] = np.ones(WIDTH)
        return result
