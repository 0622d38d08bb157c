"""The decode step: one token for each slot, in static shapes.

Everything that a step reads or writes stays on the device, the random numbers and the tokens made
so far included, so the host may launch steps ahead of what it has seen. On CUDA the step is
captured as a CUDA graph; where that cannot be, it runs kernel by kernel, and the log says why. On a
CPU only unfinished slots run.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from nashlens.engine import decode_attention
from nashlens.engine.blocks import Block, Blocks
from nashlens.engine.core import Engine
from nashlens.engine.sampling import draw
from nashlens.engine.slots import Slots

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
        Whether the rest of a block is compiled on CUDA (unquantised weights on one device alone).
    graph : bool
        Whether a step on CUDA is captured.
    kernel : dict of str to int
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
    ):
        self._blocks, self._temperature = engine.blocks, temperature
        self._tuning = tuning or Tuning()
        self.device = engine.blocks.embedding.weight.device
        cuda = self.device.type == "cuda"
        self._attention = _attention(self._tuning.attention, cuda)
        self._compiled = self._tuning.compiled and cuda and engine.blocks.whole
        self._captures = self._tuning.graph and cuda and self._attention != "slot"
        problem = uncapturable(engine.blocks)
        if self._captures and problem:
            self._captures = False
            log.warning("a decode step runs kernel by kernel: %s", problem)
        self.ahead = cuda
        self._last = capacity - 2  # where the last token that is ever run may stand
        self._slots = Slots(engine, slots, -(-capacity // _BUCKET) * _BUCKET)

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
    ) -> None:
        """Put prompts into slots and make each one's first token.

        Parameters
        ----------
        slots : sequence of int
        prompts : sequence of numpy.ndarray
            Token ids, those of new tokens made earlier included.
        made, limits : sequence of int
            New tokens made earlier, and how many there may be in all.
        uniforms : sequence of numpy.ndarray
            `sampling.uniforms` of each request, for all new tokens.
        """
        final = self._slots.prefill(slots, prompts)
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
        """Launch steps.

        Parameters
        ----------
        steps : int
        longest : int
            Tokens that any slot holds at most after them.
        """
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
        """Return the tokens made so far.

        Parameters
        ----------
        more : bool
            Whether to launch a further step before waiting for them; they are those before it.
        longest : int
            As in `advance`.

        Returns
        -------
        numpy.ndarray
            `(slots, most)` int64, `UNWRITTEN` where there is none yet; valid until the next look.
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
        # A finished slot must not turn the others at the rates of its own, later place (longrope).
        turned = position.clamp(max=self._last)
        h = blocks.embed(self._token[rows].clamp(min=0), turned)
        rotations = blocks.rotations(turned, h)
        here = rows
        for index, block in enumerate(blocks.blocks):
            device = blocks.device(index)
            if h.device != device:
                h, here, position = h.to(device), here.to(device), position.to(device)
                rotations = tuple(r.to(device) for r in rotations)
            h = self._block(index, block, h, rotations, here, position, length)
        self._record(h, rows)

    def _block(
        self,
        index: int,
        block: Block,
        h: torch.Tensor,
        rotations: tuple[torch.Tensor, ...],
        rows: torch.Tensor,
        position: torch.Tensor,
        length: int,
    ) -> torch.Tensor:
        project: Any = Block.project
        finish: Any = Block.finish
        if self._compiled:
            from nashlens.engine import decode_kernel

            project, finish = decode_kernel.project, decode_kernel.finish
        q, k, v = project(block, h, *rotations)
        keys, values = self._slots.keys[index], self._slots.values[index]
        if self._attention == "kernel":
            from nashlens.engine import decode_kernel

            options = dict(self._tuning.kernel)
            attended = decode_kernel.by_kernel(block, q, k, v, keys, values, position, **options)
        else:
            decode_attention.write(k, keys, rows, position)
            decode_attention.write(v, values, rows, position)
            if self._attention == "mask":
                attended = decode_attention.by_mask(block, q, keys, values, position, length)
            else:
                attended = decode_attention.by_slot(block, q, keys, values, rows, position)
        result: torch.Tensor = finish(block, h, attended)
        return result

    def _record(self, final: torch.Tensor, rows: torch.Tensor) -> None:
        """Make the next token of some slots from their last residuals, `(n, width)`."""
        made, limit, position = self._made[rows], self._limit[rows], self._position[rows]
        alive = made < limit
        # A finished slot of a static step goes on at its last place and changes nothing.
        at = made.clamp(max=self._new.shape[1] - 1)
        logits = self._blocks.logits(final).to(self.device)
        token = draw(logits, self._uniform[rows, at], self._temperature)
        self._new[rows, at] = torch.where(alive, token, self._new[rows, at])
        self._token[rows] = torch.where(alive, token, self._token[rows])
        made = made + alive
        ends = (token[:, None] == self._stop).any(dim=1) | (token < 0)
        self._made[rows] = made
        self._position[rows] = position + alive
        self._limit[rows] = torch.where(ends & alive, made, limit)


def uncapturable(blocks: Blocks) -> str | None:
    """Say why a step cannot be a CUDA graph, or None where nothing is known to be in the way.

    A capture that fails may leave torch's random state unusable, so it is better not tried.
    """
    if len(set(blocks.devices)) > 1:
        return "its blocks are on several devices"
    if blocks.short is not None:
        return "longrope asks the host which of its rates to use"
    if blocks.positions is not None:
        return "learned positions are checked on the host"
    if any(type(m).__name__ == "Linear8bitLt" for b in blocks.blocks for m in b.modules()):
        return "int8 products ask the host where the outliers are"
    return None


def _attention(wanted: str, cuda: bool) -> str:
    if wanted != "auto":
        return wanted
    if not cuda:
        return "slot"
    if importlib.util.find_spec("triton") is None:
        log.warning("Triton is not installed: decoding attends under a mask, which reads more")
        return "mask"
    return "kernel"
