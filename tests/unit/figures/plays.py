"""Play of several agents in several modes, and what the real measures make of it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from nashlens.estimates import Bootstrap
from nashlens.games.catalog import CATALOG
from nashlens.models.table import models_table
from nashlens.play.metrics.table import measure_play

GAMES = ("prisoners_dilemma", "stag_hunt", "battle_of_the_sexes", "matching_pennies")
SIZES = (
    ("smol-135m", "smol", 1.35e8),
    ("llama-3-8b-instruct", "llama", 8e9),
    ("qwen2.5-32b-instruct", "qwen", 3.25e10),
    ("llama-3-70b-instruct", "llama", 7e10),
)
SCRIPTS = ("ALLC", "ALLD", "TFT", "GRIM", "WSLS", "RANDOM", "TFT_ERRORS")
SUFFIX = {"direct": "", "cot": "_cot", "scratchpad": "_pad"}
ORDERS = ("simultaneous", "row_first", "column_first")
QUIZ = ("all", 48, 0.71, 0.6, 0.8)
MAPS, OPTIONS = ("identity", "swapped"), ("forward", "reversed")


def agents_of(models, modes):
    """Return each agent's model and mode."""
    return {f"{m}{SUFFIX[mode]}": (m, mode) for m, mode in product(models, modes)}


def make_plays(
    models,
    modes,
    *,
    games=GAMES,
    scripts=SCRIPTS,
    rounds=6,
    repetitions=2,
    cross_modes=True,
    seed=6,
):
    """Play everyone against everyone; cot takes half as many rounds and fails to answer once."""
    rng = np.random.default_rng(seed)
    agents = agents_of(models, modes)
    pairs = [(a, b, "self_play" if a == b else "cross_play") for a, b in product(agents, agents)
             if cross_modes or agents[a][1] == agents[b][1]]  # fmt: skip
    meet = product(agents, (s.lower() for s in scripts))
    pairs += [p for a, s in meet for p in ((a, s, "scripted"), (s, a, "scripted"))]
    parts = []
    for game, (row, column, pairing) in product(games, pairs):
        orders = ORDERS if game == "battle_of_the_sexes" and pairing != "scripted" else ORDERS[:1]
        cot = any(agents.get(name, ("", ""))[1] == "cot" for name in (row, column))
        for order, k in product(orders, range(repetitions)):
            n = rounds // 2 if cot else rounds
            moves = _match(rng, game, (row, column), agents, order, n)
            # A written answer that names no option ends its match.
            if cot and pairing == "self_play" and k == 0:
                moves[-1, 0] = -1
            parts.append(_table(game, row, column, pairing, order, k, moves, agents))
    return pd.concat(parts, ignore_index=True)


def _match(rng, game, names, agents, order, rounds):
    moves = np.zeros((rounds, 2), dtype=int)
    for t in range(rounds):
        seats = (1, 0) if order == "column_first" else (0, 1)
        for seat in seats:
            own, other = moves[:t, seat], moves[:t, 1 - seat]
            name = names[seat]
            if name not in agents:
                moves[t, seat] = _script(rng, name.upper(), own, other)
                continue
            size, mode = agents[name]
            p = 0.75 - 0.15 * len(size) / 20 - (0.3 if mode == "cot" else 0.0)
            if t and mode != "direct" and game != "matching_pennies":
                p = 0.9 if other[-1] == 0 else 0.15
            if order != "simultaneous" and game == "battle_of_the_sexes":
                first = seat == seats[0]
                # The first mover takes its own equilibrium, the second one follows.
                p = (0.85 if seat == 0 else 0.15) if first else (0.9, 0.1)[moves[t, 1 - seat]]
            moves[t, seat] = int(rng.random() > p)
    return moves


def _script(rng, name, own, other):
    last = other[-1] if len(other) else 0
    flip = int(rng.random() < 0.1)
    return {
        "ALLC": 0,
        "ALLD": 1,
        "TFT": last,
        "GRIM": int(1 in other),
        "WSLS": abs((own[-1] if len(own) else 0) - last),
        "RANDOM": int(rng.random() < 0.5),
        "TFT_ERRORS": abs(last - flip),
    }[name]


def _table(game, row, column, pairing, order, k, moves, agents):
    n = len(moves)
    names, both = (row, column), np.where(moves < 0, np.nan, moves)
    payoffs = np.array(CATALOG[game].payoffs, dtype=float)
    whole = ~np.isnan(both).any(axis=1)
    frames = []
    for seat in (0, 1):
        model, mode = agents.get(names[seat], (None, None))
        pay = np.full(n, np.nan)
        pay[whole] = payoffs[tuple(both[whole].astype(int).T)][:, seat]
        turn = "" if order == "simultaneous" else f"{order}/"
        frames.append(
            pd.DataFrame(
                {
                    "match_id": f"{game}/{row}--{column}/{turn}{k}",
                    # Each match is a block of its own here.
                    "block_id": f"{game}/{row}--{column}/{turn}{k}", "scenario_id": f"{game}/{k}",
                    "label_kind": "neutral", "game": game, "variant": 0,
                    "repetition": k, "pairing": pairing, "move_order": order,
                    "horizon": "unknown", "match_rounds": n, "round": np.arange(1, n + 1),
                    "seat": ("row", "column")[seat], "agent": names[seat],
                    "opponent": names[1 - seat], "model": model, "mode": mode,
                    "strategy": None if model else names[seat].upper(), "template": "neutral",
                    "label_set": "jf", "label_map": MAPS[k % 2],
                    "option_order": OPTIONS[k // 2 % 2],
                    "label_mass": 0.6 if model else np.nan, "p_action_0": 1 - both[:, seat],
                    "action": both[:, seat], "opponent_action": both[:, 1 - seat], "payoff": pay,
                }
            )
        )  # fmt: skip
    return pd.concat(frames)


def measures_of(play, games=GAMES, *, resamples=20):
    """Return `matches` and `metrics` of a play table."""
    played = [CATALOG[name] for name in games]
    play = play.astype({"action": "Int64", "opponent_action": "Int64"})
    quiz = pd.DataFrame(
        [(model, "neutral", *QUIZ) for model in sorted(play["model"].dropna().unique())],
        columns=["model", "template", "kind", "n", "accuracy", "ci_low", "ci_high"],
    )
    sizes = {name: (family, n) for name, family, n in SIZES}
    models = models_table(
        {m: {"n_parameters": sizes[m][1]} for m in sizes}, {m: sizes[m][0] for m in sizes}
    )
    matches, metrics = measure_play(
        play, played, quiz, Bootstrap(0.95, resamples, 6), models=models
    )
    return {"matches": matches, "metrics": metrics}


def plays_of(models):
    """Return `matches` and `metrics`: one model in two modes, or several in three.

    Several models meet in their own mode alone, so that some pairs are not played.
    """
    games = (*GAMES[:1], *GAMES[2:])
    if len(models) == 1:
        play = make_plays(models, ["direct", "cot"], games=games)
    else:
        few = {"scripts": ("ALLD", "RANDOM"), "repetitions": 1, "rounds": 4}
        play = make_plays(models, list(SUFFIX), games=games, cross_modes=False, **few)
    return measures_of(play, games)
