"""The decode step: one token for each slot, in static shapes.

Everything that a step reads or writes stays on the device, the random numbers and the tokens made
so far included, so the host may launch steps ahead of what it has seen. On CUDA the step is
captured as a CUDA graph; where that cannot be, it runs kernel by kernel, and the log says why. On a
CPU only unfinished slots run.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch

from nashlens.engine.block import AS_WRITTEN
from nashlens.engine.core import Engine
from nashlens.engine.generation import decode_attention
from nashlens.engine.generation.sampling import draw_tokens
from nashlens.engine.generation.slots import Slots
from nashlens.engine.session import Session
from nashlens.engine.stack import BlockStack, own_rotations

log = logging.getLogger(__name__)

UNWRITTEN = -1
"""In place of a token that is not made yet."""

_BUCKET = 64  # masked attention reads whole buckets of tokens


@dataclass(frozen=True)
class Tuning:
    """How a step computes; the results are the same up to rounding.

    Attributes
    ----------
    attention : {"auto", "slot", "mask", "kernel"}
        auto is slot on a CPU, and on CUDA kernel where Triton is installed, else mask.
    compiled : bool
        Whether the rest of a block is compiled, where the engine's blocks are (only with
        unquantised weights).
    graph : bool
        Whether a step on CUDA is captured.
    kernel : tuple of (str, int)
        Keyword arguments of `decode_kernel.by_kernel`.
    """

    attention: Literal["auto", "slot", "mask", "kernel"] = "auto"
    compiled: bool = True
    graph: bool = True
    kernel: tuple[tuple[str, int], ...] = ()


class Decoder:
    """Slots that each make one token a step.

    Parameters
    ----------
    engine : Engine
    slots : int
    capacity : int
        Tokens, old and new, that a request has at most.
    most : int
        New tokens that a slot makes at most.
    temperature : float
        0 is greedy.
    stop : collection of int
        Tokens after which a slot is finished.
    tuning : Tuning, optional
    session : Session, optional
        As for `Slots`.

    Attributes
    ----------
    ahead : bool
        Whether a look at the tokens launches a further step, so that the device does not wait.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        slots: int,
        capacity: int,
        most: int,
        temperature: float,
        stop: Collection[int],
        tuning: Tuning | None = None,
        session: Session | None = None,
    ):
        self._blocks, self._temperature = engine.blocks, temperature
        self._steering = engine.steering
        self._tuning = tuning or Tuning()
        self.device = engine.blocks.input_device
        cuda = self.device.type == "cuda"
        self._attention = _attention(self._tuning.attention, cuda)
        compiled = self._tuning.compiled and bool(engine.blocks.pieces)
        compiled = compiled and not engine.blocks.quantised
        self._steps = AS_WRITTEN
        self._kernel: Callable[..., torch.Tensor] | None = None
        if compiled or self._attention == "kernel":
            # Triton comes only with CUDA builds, and the compiler takes seconds to import.
            from nashlens.engine.generation import decode_kernel

            if compiled:
                self._steps = decode_kernel.STEPS
            if self._attention == "kernel":
                kernel: Callable[..., torch.Tensor] = decode_kernel.by_kernel
                self._kernel = functools.partial(kernel, **dict(self._tuning.kernel))
        self._captures = self._tuning.graph and cuda and self._attention != "slot"
        problem = uncapturable(engine.blocks)
        if self._captures and problem:
            self._captures = False
            log.warning("a decode step runs kernel by kernel: %s", problem)
        self.ahead = cuda
        self._last = capacity - 2  # the last position that is ever run
        self._slots = Slots(engine, slots, -(-capacity // _BUCKET) * _BUCKET, session)

        def state(fill: int, *shape: int) -> torch.Tensor:
            return torch.full(shape, fill, dtype=torch.long, device=self.device)

        self._all = torch.arange(slots, device=self.device)
        self._stop = torch.tensor(sorted(stop), dtype=torch.long, device=self.device)
        # A slot that made as many tokens as its limit is finished; at first all are.
        self._token, self._position = state(0, slots), state(0, slots)
        self._made, self._limit = state(0, slots), state(0, slots)
        self._new = state(UNWRITTEN, slots, most)
        self._uniform = torch.zeros(slots, most, device=self.device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._host = torch.empty_like(self._new, device="cpu", pin_memory=cuda)

    @torch.inference_mode()
    def admit(
        self,
        slots: Sequence[int],
        prompts: Sequence[np.ndarray],
        made: Sequence[int],
        limits: Sequence[int],
        uniforms: Sequence[np.ndarray],
        kept: Sequence[int] = (),
    ) -> None:
        """Put prompts into slots and make each one's first token.

        Prompts include new tokens made earlier, of which there are `made`; `limits` says how many
        new tokens there may be in all. `uniforms` are `sampling.uniforms` of each request, for all
        new tokens, and `kept` is as for `Slots.prefill`.
        """
        given = prompts
        if self._steering is not None:
            given = [
                self._steering.marked(ids, prompt=len(ids) - n, decision=len(ids) - n)
                for ids, n in zip(prompts, made, strict=True)
            ]
        final = self._slots.prefill(slots, given, kept)
        drawn = np.zeros((len(slots), self._uniform.shape[1]), dtype=np.float32)
        for i, uniform in enumerate(uniforms):
            drawn[i, : len(uniform)] = uniform
        rows = torch.tensor(slots, device=self.device)
        self._uniform[rows] = torch.from_numpy(drawn).to(self.device)
        self._new[rows] = UNWRITTEN
        # As if the last token of the prompt had just been run.
        before = [len(prompt) - 1 for prompt in prompts]
        self._position[rows] = torch.tensor(before, device=self.device)
        self._made[rows] = torch.tensor(made, device=self.device)
        self._limit[rows] = torch.tensor(limits, device=self.device)
        self._record(final, rows)

    @torch.inference_mode()
    def advance(self, steps: int, longest: int) -> None:
        """Launch steps; `longest` is how many tokens any slot holds at most after them."""
        length = self._slots.capacity
        if self._attention == "mask":
            length = min(length, -(-longest // _BUCKET) * _BUCKET)
        for _ in range(steps):
            if length in self._graphs:
                self._graphs[length].replay()
            else:
                # What compiles, compiles here; then the steps that follow are captured.
                self._step(length)
                if self._captures:
                    self._capture(length)

    def look(self, *, more: bool, longest: int) -> np.ndarray:
        """Return the tokens made so far, `(slots, most)` int64, valid until the next look.

        They are `UNWRITTEN` where there is none yet. With `more`, a further step is launched before
        waiting for them; they are those before it. `longest` is as for `advance`.
        """
        self._host.copy_(self._new, non_blocking=True)
        if self.device.type == "cuda":
            copied = torch.cuda.Event()
            copied.record()
            if more:
                self.advance(1, longest)
            copied.synchronize()
        return self._host.numpy()

    def _capture(self, length: int) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use the device meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._step(length)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._captures = False
            reason = str(error).strip().splitlines()[0]
            log.warning("a decode step cannot be captured (%s); it runs kernel by kernel", reason)
            return
        self._graphs[length] = graph

    def _step(self, length: int) -> None:
        """Run each slot's newest token, and make the next one."""
        rows = self._all
        if self._attention == "slot":
            rows = torch.nonzero(self._made < self._limit)[:, 0]
        blocks, position = self._blocks, self._position[rows]
        # A finished slot's later place must not set the rates of the others' rotations (longrope).
        place = position.clamp(max=self._last)
        # A token may be the mark of logits that were not finite.
        h = blocks.embed(self._token[rows].clamp(min=0), place)
        step = _Step(rows, position, blocks.rotations(place, h), length, len(blocks.shards))
        steering = self._steering
        edited = steering.layers if steering is not None and steering.writing else ()
        if steering is not None and 0 in edited:
            h = steering.apply(0, h)
        for index in range(len(blocks)):

            def attend(shard: int, h: torch.Tensor, index: int = index) -> torch.Tensor:
                return self._attended(shard, index, h, step)

            h = blocks.forward_around(index, h.to(blocks.device(index)), attend, self._steps)
            if steering is not None and index + 1 in edited:
                h = steering.apply(index + 1, h)
        self._record(h, rows)

    def _attended(self, shard: int, index: int, h: torch.Tensor, step: _Step) -> torch.Tensor:
        """Return `(heads, n, head)`, what one shard's heads of a block attend to."""
        block = self._blocks.shards[shard][index]
        keys, values = self._slots.keys[shard][index], self._slots.values[shard][index]
        rows, position, rotations = step.on(shard, h.device)
        q, k, v = self._steps.project(block, h, *rotations)
        if self._kernel is not None:
            return self._kernel(block, q, k, v, keys, values, position)
        decode_attention.write(k, keys, rows, position)
        decode_attention.write(v, values, rows, position)
        if self._attention == "mask":
            return decode_attention.by_mask(block, q, keys, values, position, step.length)
        return decode_attention.by_slot(block, q, keys, values, rows, position)

    def _record(self, final: torch.Tensor, rows: torch.Tensor) -> None:
        """Make the next token of some slots from their last residuals, `(n, width)`."""
        made, limit, position = self._made[rows], self._limit[rows], self._position[rows]
        alive = made < limit
        # A finished slot of a static step repeats its last place and changes nothing.
        at = made.clamp(max=self._new.shape[1] - 1)
        logits = self._blocks.logits(final).to(self.device)
        token = draw_tokens(logits, self._uniform[rows, at], self._temperature)
        self._new[rows, at] = torch.where(alive, token, self._new[rows, at])
        self._token[rows] = torch.where(alive, token, self._token[rows])
        made = made + alive
        ends = (token[:, None] == self._stop).any(dim=1) | (token < 0)
        self._made[rows] = made
        self._position[rows] = position + alive
        self._limit[rows] = torch.where(ends & alive, made, limit)


class _Tokens(NamedTuple):
    """A step's new tokens on one device: slots, positions there `(n,)` each, and rotations."""

    rows: torch.Tensor
    position: torch.Tensor
    rotations: tuple[torch.Tensor, ...]


@dataclass
class _Step:
    """What the blocks of a step ask for, copied to each device once.

    `rotations` are one shard's, then the next one's; `length` is how many tokens masked attention
    reads.
    """

    rows: torch.Tensor
    position: torch.Tensor
    rotations: tuple[torch.Tensor, ...]
    length: int
    shards: int
    copies: dict[tuple[int, torch.device], _Tokens] = field(default_factory=dict)

    def on(self, shard: int, device: torch.device) -> _Tokens:
        """Return the new tokens for one shard of the model on a device."""
        if (shard, device) not in self.copies:
            self.copies[shard, device] = _Tokens(
                self.rows.to(device),
                self.position.to(device),
                own_rotations(self.rotations, shard, self.shards, device),
            )
        return self.copies[shard, device]


def uncapturable(blocks: BlockStack) -> str | None:
    """Say why a step cannot be a CUDA graph, or None where nothing is known to be in the way.

    A capture that fails may leave torch's random state unusable, so it is better not tried.
    """
    if len({block.device for shard in blocks.shards for block in shard}) > 1:
        return "its blocks are on several devices"
    if blocks.short is not None:
        return "longrope asks the host which of its rates to use"
    if blocks.learned_positions:
        return "learned positions are checked on the host"
    if any(type(m).__name__ == "Linear8bitLt" for b in blocks.shards[0] for m in b.modules()):
        return "int8 products ask the host where the outliers are"
    return None


def _attention(chosen: str, cuda: bool) -> str:
    """Return the kind of attention that a tuning asks for."""
    if chosen != "auto":
        return chosen
    if not cuda:
        return "slot"
    if importlib.util.find_spec("triton") is None:
        log.warning("Triton is not installed: decoding attends under a mask, which reads more")
        return "mask"
    return "kernel"
