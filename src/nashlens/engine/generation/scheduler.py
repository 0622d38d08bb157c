"""Generation: many prompts continued at once, in a fixed number of slots.

Waiting requests are taken in lexicographic order of their prompts, so that those which share a
prefix are neighbours; the prefix is computed once (`slots`). A slot whose request is finished takes
the next one. The host looks at the tokens every few steps, while the device continues.

A request's sample depends only on its prompt, its seed and the temperature (`sampling`), up to
rounding of the probabilities. So where memory runs out, requests are taken up again where they
stood, in half as many slots, and end as they would have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nashlens.engine.core import Engine
from nashlens.engine.forest import sort_key
from nashlens.engine.generation.decoder import UNWRITTEN, Decoder, Tuning
from nashlens.engine.generation.sampling import INVALID, uniforms
from nashlens.engine.session import Session
from nashlens.errors import DataError

_EVERY = 4  # steps between two looks at what a GPU made


@dataclass(frozen=True)
class Request:
    """A prompt to be continued.

    Attributes
    ----------
    ids : sequence of int
        The prompt's token ids.
    seed : int
        This request's own, at least 0: token t is drawn with a number that depends on the seed and
        t.
    max_new_tokens : int
        At least 1.
    kept : int
        How many leading tokens later prompts may share; a session keeps them.
    """

    ids: Sequence[int]
    seed: int
    max_new_tokens: int
    kept: int = 0


class Generated(NamedTuple):
    """What followed a prompt: new tokens without the stop token, and whether one ended them."""

    ids: list[int]
    stopped: bool


@dataclass
class _Work:
    """A request on its way."""

    index: int
    request: Request
    limit: int = 0  # new tokens until it leaves its slot
    new: list[int] = field(default_factory=list)
    stopped: bool = False

    @property
    def done(self) -> bool:
        return self.stopped or len(self.new) == self.request.max_new_tokens

    @property
    def leaves(self) -> bool:
        return self.stopped or len(self.new) == self.limit

    @property
    def prompt(self) -> np.ndarray:
        return np.array([*self.request.ids, *self.new], dtype=np.int64)

    @property
    def length(self) -> int:
        return len(self.request.ids) + len(self.new)

    def take(self, made: np.ndarray, stop: Collection[int]) -> None:
        """Take up the tokens of its slot, `(most,)`, that are new."""
        for token in made[len(self.new) : self.limit].tolist():
            if token == UNWRITTEN:
                return
            if token == INVALID:
                raise DataError(
                    f"request {self.index}: the logits after {len(self.new)} new tokens are not "
                    "finite: check the model's weights, or load it in bfloat16 or float32"
                )
            if token in stop:
                self.stopped = True
                return
            self.new.append(token)


def generate(
    engine: Engine,
    requests: Sequence[Request],
    *,
    temperature: float,
    stop: Collection[int],
    slots: int = 128,
    tuning: Tuning | None = None,
    session: Session | None = None,
) -> list[Generated]:
    """Continue every request's prompt.

    Parameters
    ----------
    engine : Engine
    requests : sequence of Request
    temperature : float
        0 takes the likeliest token, otherwise tokens are drawn from softmax(logits / temperature)
        in float32 over the whole vocabulary.
    stop : collection of int
        A request ends before the first of these tokens; may be empty.
    slots : int, default 128
        Requests that run at once at most. Halved where memory runs out.
    tuning : Tuning, optional
        How a step computes.
    session : Session, optional
        Of the same engine. What it knows of a prompt, such as a match's rules and history, is not
        computed anew.

    Returns
    -------
    list of Generated
        One for each request, in order.

    Raises
    ------
    DataError
        If a request cannot be run: it has no tokens, asks for none, has a negative seed or does
        not fit the model's context; if the temperature or the slots are out of range; or if the
        model's logits are not finite.
    """
    _check(engine, requests, temperature, slots)
    works = [_Work(i, request) for i, request in enumerate(requests)]
    stop = frozenset(int(token) for token in stop)
    if engine.blocks.input_device.type == "cuda":
        # A GPU compiles, or captures, for each number of slots: powers of two are few.
        slots = min(slots, 1 << max(0, len(works) - 1).bit_length())
    else:
        slots = min(slots, len(works))
    while unfinished := [work for work in works if not work.done]:
        together = _runnable_together(unfinished, engine.blocks.short)
        at_once = min(slots, engine.slots.size)
        with engine.slots(at_once):
            _serve(engine, together, temperature, stop, at_once, tuning, session)
    return [Generated(work.new, work.stopped) for work in works]


def _check(engine: Engine, requests: Sequence[Request], temperature: float, slots: int) -> None:
    if not (np.isfinite(temperature) and temperature >= 0):
        raise DataError(f"temperature is {temperature}; a finite number of at least 0 is needed")
    if slots < 1:
        raise DataError(f"slots is {slots}; at least 1 is needed")
    context = engine.blocks.context
    for index, request in enumerate(requests):
        n, new = len(request.ids), request.max_new_tokens
        problem = None
        if n == 0:
            problem = "its prompt has no tokens"
        elif new < 1:
            problem = f"max_new_tokens is {new}; at least 1 is needed"
        elif request.seed < 0:
            problem = f"its seed is {request.seed}; at least 0 is needed"
        elif n + new > context:
            problem = (
                f"{n} prompt tokens and {new} new ones exceed the model's context of {context}: "
                "shorten the prompt or lower max_new_tokens"
            )
        if problem:
            raise DataError(f"request {index}: {problem}")


def _runnable_together(works: Sequence[_Work], short: int | None) -> list[_Work]:
    """Choose works that may run at the same time, and set their limits.

    Where longer sequences have other rotations, a work that grows past `short` tokens is prefilled
    anew, as the model's own forward of the longer sequence has it. The shorter ones come first.
    """
    for work in works:
        work.limit = work.request.max_new_tokens
    below = [work for work in works if short is not None and work.length <= short]
    for work in below:
        # The token after `short` ones is still theirs to predict.
        work.limit = min(work.limit, (short or 0) + 1 - len(work.request.ids))
    return below or list(works)


def _serve(
    engine: Engine,
    works: Sequence[_Work],
    temperature: float,
    stop: Collection[int],
    slots: int,
    tuning: Tuning | None,
    session: Session | None,
) -> None:
    """Run works to their limits; what is made by then stays in them where memory runs out."""
    works = sorted(works, key=lambda work: sort_key(work.prompt))
    decoder = Decoder(
        engine,
        slots=slots,
        capacity=max(len(work.request.ids) + work.limit for work in works),
        most=max(work.limit for work in works),
        temperature=temperature,
        stop=stop,
        tuning=tuning,
        session=session,
    )
    waiting, free = deque(works), list(range(slots))
    live: dict[int, _Work] = {}
    launched: dict[int, int] = {}  # tokens that each slot's request may have by now
    while waiting or live:
        if waiting and free:
            count = min(len(waiting), len(free))
            entering = {free.pop(0): waiting.popleft() for _ in range(count)}
            _admit(decoder, entering, temperature)
            live |= entering
            launched |= {slot: len(work.new) + 1 for slot, work in entering.items()}
        left = [work.limit - launched[slot] for slot, work in live.items()]
        # Where others wait, a slot is looked at when it is surely finished.
        steps = max(0, min(min(left) if waiting else max(left), _EVERY if decoder.ahead else 1))
        more = decoder.ahead and max(left) > steps
        launched = {slot: n + steps for slot, n in launched.items()}
        longest = max(len(w.request.ids) + launched[s] for s, w in live.items())
        decoder.advance(steps, longest)
        made = decoder.look(more=more, longest=longest + 1)
        launched = {slot: n + more for slot, n in launched.items()}
        for slot, work in list(live.items()):
            work.take(made[slot], stop)
            if work.leaves:
                del live[slot], launched[slot]
                free.append(slot)


def _admit(decoder: Decoder, entering: dict[int, _Work], temperature: float) -> None:
    works = list(entering.values())
    decoder.admit(
        list(entering),
        [work.prompt for work in works],
        [len(work.new) for work in works],
        [work.limit for work in works],
        [uniforms(w.request.seed, w.limit) for w in works] if temperature else [],
        [work.request.kept for work in works],
    )
