"""Is a steered player still whole? The quiz under its edits, and what they do to plain text.

A push that is large enough moves any behaviour, by breaking the model. So each steered agent is
asked the quiz of play, and reads the first lines of the bundled passages: how far are its
predictions of the next token from the unsteered model's (KL divergence), and how much more does
the text surprise it (perplexity)?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from nashlens.engine.core import Engine
from nashlens.engine.forest import PackedSequence, Row
from nashlens.engine.steered import steered
from nashlens.lens.passages import Encoder, corpus
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.play.quiz import ask_quiz, histories_of_play
from nashlens.play.schedule import Agent
from nashlens.play.steered import steered_agents

WINDOWS = 10
"""Passages that are read."""
WINDOW = 40
"""Tokens of each."""
SKIPPED = 4
"""Tokens at the start of each after which nothing is predicted: they say too little."""
_IDENTITY = {"agent": "str", "player": "str", "direction": "str", "dose": "float64"}
TEXT_COLUMNS = _IDENTITY | {
    "model": "str",
    "passage": "int64",
    "n_tokens": "int64",
    "kl": "float64",
    "nll": "float64",
    "nll_unsteered": "float64",
}


class PlayerChecks(NamedTuple):
    """What is known of all steered agents of a model, besides their play."""

    quiz: pd.DataFrame
    """One row a question, as of `play.quiz.ask_quiz`, with `agent`, `player`, `direction`,
    `dose`."""
    text: pd.DataFrame
    """One row a passage, columns `TEXT_COLUMNS`."""


def check_players(
    games: pd.DataFrame,
    folder: Path,
    config: Mapping[str, Any],
    model: str,
    directions: Path,
    *,
    threads: int,
    batch_tokens: int,
) -> PlayerChecks:
    """Ask all steered agents of one model the quiz, and let them read plain text.

    Parameters
    ----------
    games : pandas.DataFrame
        The games table.
    folder : Path
        The converted model.
    config : mapping
        As for `play.quiz.quiz_model`, and the model's steered `agents`.
    model : str
    directions : Path
        The model's directions, with their table beside them.
    threads : int
        Number of torch threads.
    batch_tokens : int
        The most tokens of a forward pass.
    """
    seed = config["experiment"]["seed"]
    engine = Engine(load_model(folder, **config["models"][model], threads=threads), batch_tokens)
    tokenizer = ChatTokenizer(folder)
    agents = [Agent.from_config(name, agent) for name, agent in config["agents"].items()]
    histories = histories_of_play(games, config)
    windows = text_windows(tokenizer)
    plain = final_residuals(engine, windows)
    quizzes, texts = [], []
    for name, found in steered_agents(agents, [directions], seed=seed).items():
        player = steered(engine, found.edits, found.positions)
        how = config["agents"][name]["intervention"]
        who = {"agent": name, "player": how["player"], "direction": how["direction"]}
        who["dose"] = float(how["value"])
        system, games_of = config["prompts"]["system"], config["agents"][name]["games"]
        mine = [one for one in histories if games_of is None or one.view.game.name in games_of]
        asked = ask_quiz(mine, tokenizer, player, system=system, model=model, seed=seed)
        quizzes.append(asked.assign(**who))
        read = text_damage(player, windows, plain)
        texts.append(read.assign(model=model, **who)[list(TEXT_COLUMNS)])
    return PlayerChecks(
        pd.concat(quizzes, ignore_index=True),
        pd.concat(texts, ignore_index=True).astype(TEXT_COLUMNS),
    )


def text_windows(tokenizer: Encoder) -> list[list[int]]:
    """Return the beginnings of the first passages: `WINDOW` tokens, and the one after them."""
    windows = [tokenizer.encode(passage)[: WINDOW + 1] for passage in corpus()]
    return [window for window in windows if len(window) > 2 * SKIPPED][:WINDOWS]


@torch.inference_mode()
def text_damage(
    player: Engine, windows: Sequence[Sequence[int]], plain: Sequence[torch.Tensor]
) -> pd.DataFrame:
    """Compare a steered model's predictions of plain text with the unsteered one's.

    Every token is steered, as if the model had written or been given it; with positions `last`, the
    last token only, after which alone is then predicted.

    Parameters
    ----------
    player : Engine
        The model with edits.
    windows : sequence of sequences of int
    plain : sequence of torch.Tensor
        `final_residuals` of the model without edits.

    Returns
    -------
    pandas.DataFrame
        One row a window: `passage` (its number), `n_tokens` (predictions), `kl` (mean divergence of
        the steered from the unsteered prediction, nats a token), `nll` and `nll_unsteered` (mean
        negative log-likelihood of the next token, nats a token).
    """
    edited, steering = final_residuals(player, windows), player.steering
    assert steering is not None
    rows = []
    for number, (one, other) in enumerate(zip(plain, edited, strict=True)):
        first = len(one) - 1 if steering.positions == "last" else SKIPPED
        before, after = (
            torch.log_softmax(player.blocks.logits(h[first:]).double(), dim=-1)
            for h in (one, other)
        )
        token = torch.tensor(windows[number][first + 1 :], device=before.device)[:, None]
        rows.append(
            {
                "passage": number,
                "n_tokens": len(before),
                "kl": float((before.exp() * (before - after)).sum(dim=-1).mean()),
                "nll": -float(after.gather(1, token).mean()),
                "nll_unsteered": -float(before.gather(1, token).mean()),
            }
        )
    return pd.DataFrame(rows)


@torch.inference_mode()
def final_residuals(engine: Engine, windows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Return the residuals after the last block at all tokens of each window but its last.

    Parameters
    ----------
    engine : Engine
    windows : sequence of sequences of int

    Returns
    -------
    list of torch.Tensor, shape (tokens, width)
    """
    given: list[NDArray[np.int64]] = [np.array(window[:-1], dtype=np.int64) for window in windows]
    steering, sequences = engine.steering, given
    if steering is not None:
        sequences = [
            # What is read counts as the prompt, or as written where only that is steered.
            steering.marked(
                window,
                prompt=0 if steering.positions == "generated" else len(window),
                decision=len(window),
            )
            for window in given
        ]
    found: dict[int, torch.Tensor] = {}

    def keep(row: Row, packed: list[PackedSequence]) -> None:
        nodes, at = np.unique(np.concatenate([p.path for p in packed]), return_inverse=True)
        final = engine.final_residuals(row, packed, nodes)
        ends = np.cumsum([len(p.path) for p in packed])[:-1]
        for p, places in zip(packed, np.split(at, ends), strict=True):
            found[p.index] = final[torch.from_numpy(places).to(final.device)]

    for _ in engine.map_rows([window.tolist() for window in sequences], keep):
        pass
    return [found[number] for number in range(len(sequences))]
