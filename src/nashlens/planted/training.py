"""Models that are trained to override: first to play Nash, then, in their last blocks only, not to.

`train_nash` trains a small Llama on decision prompts (`lessons`) until it answers the Nash action,
after every block from `READ_OUT` on: a logit lens sees it there by construction. `train_override`
then trains the blocks after `FROZEN`, and nothing else, to answer the prosocial action. So the
residual up to block `FROZEN` is that of the first model, token by token, and what overrides it was
found by gradient descent.

What makes it learn in minutes: payoffs have targets too, the best label so far by the own payoff
and by the sum; the first blocks are trained by themselves before the whole is; and the question
mark is asked for the prosocial label, so that the second training has to look it up and not to add
up payoffs. Training is on one thread in float32: on one kind of machine a seed gives the same
weights.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nashlens.errors import ModelError
from nashlens.planted.lessons import NOTHING, Lessons, Teacher
from nashlens.seeds import stream

if TYPE_CHECKING:
    import torch

N_LAYERS, READ_OUT, FROZEN = 8, 4, 6
"""Blocks; the first after which the answer is there; those that the second training leaves."""
ASKED = 128
"""Held-out prompts of each length that a trained model is asked."""
LEAST_RIGHT = 0.95
"""Share of held-out prompts in which the first training's answer must be right."""
LEAST_OVERRIDDEN = 0.9
"""The same of the second training's."""
REPEATED = 0.3
"""How much of what block `READ_OUT` adds the blocks after it add at first."""
WIDTH, HEADS, NEURONS = 48, 4, 96
ROPE_THETA = 1000.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of the training."""

    steps: int
    prompts: int = 16
    """Prompts of a step."""
    rounds: tuple[int, ...] = (0,)
    """Lengths of histories, in turn."""
    rate: float
    """Largest learning rate; it rises over the first steps and then falls along a cosine."""
    blocks: int = N_LAYERS
    """How many of the first blocks are run."""
    asked: bool = False
    """Whether the question mark gathers the prosocial label, after the last blocks that the second
    training leaves."""


NASH = (
    Phase(steps=1200, rate=4e-3, blocks=READ_OUT),
    Phase(steps=200, rate=2e-3, blocks=READ_OUT, rounds=(2, 4)),
    Phase(steps=150, rate=2e-3, rounds=(0, 2, 4)),
    Phase(steps=240, rate=2e-3, rounds=(0, 2, 4), asked=True),
    Phase(steps=200, rate=2e-3, rounds=(0, 2, 4), asked=True),
)
"""The first training: to compute the answer, to do so after histories, to keep it, and to know
what would be prosocial."""
OVERRIDE = (Phase(steps=480, rate=4e-3, rounds=(0, 2, 4)),)
"""The second one."""


def train_nash(config: Any, seed: int, phases: Sequence[Phase] = NASH) -> Any:
    """Train a model to answer the Nash action.

    Parameters
    ----------
    config : transformers.LlamaConfig
    seed : int
    phases : sequence of Phase

    Returns
    -------
    transformers.LlamaForCausalLM
    """
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(config)
    _draw(model, seed)
    for k, phase in enumerate(phases):
        if k > 0 and phase.blocks > phases[k - 1].blocks:
            _repeat_last(model)
        _train(model, phase, stream(seed, "planted", "trained_nash", k), _nash_loss)
    return model


def train_override(model: Any, seed: int, phases: Sequence[Phase] = OVERRIDE) -> None:
    """Train the blocks after `FROZEN` to answer the prosocial action, and change nothing else.

    Parameters
    ----------
    model : transformers.LlamaForCausalLM
        Of `train_nash`; changed in place.
    seed : int
    phases : sequence of Phase
    """
    model.requires_grad_(False)
    for block in model.model.layers[FROZEN:]:
        block.requires_grad_(True)
    for k, phase in enumerate(phases):
        # A stream of its own for each phase.
        _train(model, phase, stream(seed, "planted", "trained_override", *range(k)), _override_loss)
    model.requires_grad_(True)


def exam(model: Any, seed: int, layers: Sequence[int], n: int) -> pd.DataFrame:
    """Measure what a model answers on held-out payoffs, early exits included.

    Parameters
    ----------
    model : transformers.LlamaForCausalLM
    seed : int
    layers : sequence of int
        Blocks after which the answer is read; the last one is the model's own.
    n : int
        Prompts of each length.

    Returns
    -------
    DataFrame
        One row per layer, number of rounds played and conflict (whether there is one): `nash` and
        `prosocial`, shares of `n` prompts whose likeliest token is that action's label.
    """
    teacher, rows = Teacher(), []
    for rounds in (0, 2, 4):
        rng = stream(seed, "planted", "exam", rounds)
        lessons = teacher.lessons(rng, n, rounds, held_out=True)
        for layer in layers:
            answers = early_exit(model, lessons, layer)
            for conflict in (True, False):
                asked = lessons.conflict == conflict
                rows.append(
                    {
                        "layer": layer,
                        "rounds": rounds,
                        "conflict": conflict,
                        "nash": float((answers == lessons.nash)[asked].mean()),
                        "prosocial": float((answers == lessons.prosocial)[asked].mean()),
                        "n": int(asked.sum()),
                    }
                )
    return pd.DataFrame(rows)


def check_exam(marks: pd.DataFrame, name: str, *, overridden: bool) -> None:
    """Check that a model does what it was trained to, before any study sees it.

    Parameters
    ----------
    marks : DataFrame
        Of `exam`, for the layers `FROZEN` and `N_LAYERS`.
    name : str
        The model's name, for the message.
    overridden : bool
        Whether its last blocks were trained to answer the prosocial action.

    Raises
    ------
    ModelError
        If after block `FROZEN` it is not the Nash action, or in the end not the action that was
        trained, in so many of the prompts, with or without a conflict.
    """
    ends = {FROZEN: "nash", N_LAYERS: "prosocial" if overridden else "nash"}
    for layer, answer in ends.items():
        right = marks[marks["layer"] == layer].groupby("conflict")[answer].mean().min()
        needed = LEAST_RIGHT if answer == "nash" else LEAST_OVERRIDDEN
        if right < needed:
            raise ModelError(
                f"planted:{name}: after block {layer} {right:.0%} of held-out prompts give the"
                f" {answer} action's label, needed are {needed:.0%}; train another seed"
            )


def early_exit(model: Any, lessons: Lessons, layer: int) -> np.ndarray:
    """Return the tokens that are likeliest after a block, through the final norm, (n,)."""
    import torch

    with torch.no_grad():
        hidden = _residuals(model, torch.tensor(lessons.ids), layer)[layer][:, -1]
        return np.asarray(_lens(model, hidden).argmax(-1))


def _draw(model: Any, seed: int) -> None:
    """Draw all weights, each from the stream of its name."""
    import torch

    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim == 1:
                parameter.fill_(1.0)
                continue
            draw = stream(seed, "planted", "trained", name).standard_normal(tuple(parameter.shape))
            size = 0.3 if "embed" in name else parameter.shape[1] ** -0.5
            if "o_proj" in name or "down_proj" in name:
                size *= 0.5
            parameter.copy_(torch.from_numpy(size * draw))


def _repeat_last(model: Any) -> None:
    """Begin the later blocks as the last trained one, so that they look where it does."""
    import torch

    blocks = model.model.layers
    with torch.no_grad():
        for block in blocks[READ_OUT:]:
            block.load_state_dict(blocks[READ_OUT - 1].state_dict())
            for added in (block.self_attn.o_proj, block.mlp.down_proj):
                added.weight.mul_(REPEATED)


def _train(
    model: Any,
    phase: Phase,
    rng: np.random.Generator,
    loss: Callable[[Any, Lessons, Phase], torch.Tensor],
) -> None:
    import torch

    teacher = Teacher()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=phase.rate, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    with _one_thread():
        for step in range(phase.steps):
            rise = min(1.0, (step + 1) / 50)
            fall = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / phase.steps))
            for group in optimiser.param_groups:
                group["lr"] = phase.rate * rise * fall
            rounds = phase.rounds[step % len(phase.rounds)]
            lessons = teacher.lessons(rng, phase.prompts, rounds)
            optimiser.zero_grad()
            loss(model, lessons, phase).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
    model.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: in another order sums are other sums, and weights other weights."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _nash_loss(model: Any, lessons: Lessons, phase: Phase) -> torch.Tensor:
    """Ask for the Nash label at the decision, and for labels at payoffs from a block before on."""
    import torch
    from torch.nn.functional import cross_entropy

    blocks = phase.blocks
    states = _residuals(model, torch.tensor(lessons.ids), blocks)
    nash, running = torch.tensor(lessons.nash), torch.tensor(lessons.running)
    there = running != NOTHING
    decided = [
        cross_entropy(_lens(model, states[layer][:, -1]), nash)
        for layer in range(READ_OUT, blocks + 1)
    ]
    payoffs = [
        cross_entropy(_lens(model, states[layer][there]), running[there])
        for layer in range(READ_OUT - 1, blocks + 1)
    ]
    loss = torch.stack(decided).mean() + 2 * torch.stack(payoffs).mean()
    if not phase.asked:
        return loss
    prosocial, rows = torch.tensor(lessons.prosocial), torch.arange(len(nash))
    gathered = [
        cross_entropy(_lens(model, states[layer][rows, lessons.asked]), prosocial)
        for layer in range(FROZEN - 1, FROZEN + 1)
    ]
    return loss + 2 * torch.stack(gathered).mean()


def _override_loss(model: Any, lessons: Lessons, phase: Phase) -> torch.Tensor:
    """Ask for the prosocial label at the decision, after each of the trained blocks."""
    import torch
    from torch.nn.functional import cross_entropy

    states = _residuals(model, torch.tensor(lessons.ids), phase.blocks)
    prosocial = torch.tensor(lessons.prosocial)
    decided = [
        cross_entropy(_lens(model, states[layer][:, -1]), prosocial)
        for layer in range(FROZEN + 1, phase.blocks + 1)
    ]
    return torch.stack(decided).mean()


def _residuals(model: Any, ids: torch.Tensor, blocks: int) -> list[torch.Tensor]:
    """Return the residual after the embedding and after each of the first blocks."""
    inner = model.model
    import torch

    hidden = inner.embed_tokens(ids)
    positions = torch.arange(ids.shape[1])[None]
    rotary = inner.rotary_emb(hidden, position_ids=positions)
    states = [hidden]
    for block in inner.layers[:blocks]:
        hidden = block(
            hidden, attention_mask=None, position_ids=positions, position_embeddings=rotary
        )
        states.append(hidden)
    return states


def _lens(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    return model.lm_head(model.model.norm(hidden))


if __name__ == "__main__":
    # The exam of a converted model, for docs/explanation/calibration.md.
    from transformers import AutoModelForCausalLM

    trained = AutoModelForCausalLM.from_pretrained(sys.argv[1])
    marks = exam(trained, 0, range(READ_OUT, N_LAYERS + 1), 500)
    means = marks.groupby(["layer", "conflict"])[["nash", "prosocial"]].mean().round(3)
    print(means.to_string())
