"""Matches of planted players, measured by the study's own code."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from nashlens.findings import PLAY_CLAIMS, JudgeSettings, judge
from nashlens.findings.claim import ALL_MODELS
from nashlens.games.catalog import CATALOG
from nashlens.games.table import games_table
from nashlens.models.table import models_table
from nashlens.play.join import with_doses
from nashlens.play.metrics.steered import steered_matches
from nashlens.play.responses import hold_against_beliefs
from nashlens.strategies import cooperation
from tests.unit.play.metrics.fakes import measured_matches

PD, BOS, STAG, PENNIES = (
    CATALOG[name]
    for name in ("prisoners_dilemma", "battle_of_the_sexes", "stag_hunt", "matching_pennies")
)
FORMS = list(product(("identity", "swapped"), ("forward", "reversed")))
SETTINGS = JudgeSettings(ALL_MODELS, 0.95, 1000, 3)


def strategy(name):
    """A scripted strategy, in the guise of a model."""
    return lambda see: cooperation(name, see["own"], see["other"], None)


def constant(p):
    return lambda see: p


COIN = constant(0.5)
ALLC, ALLD, TFT, GRIM = (strategy(name) for name in ("ALLC", "ALLD", "TFT", "GRIM"))


def likes_a_label(p):
    """Takes the pair's first label, whatever it stands for."""
    return lambda see: p if see["label_map"] == "identity" else 1 - p


def likes_a_place(p):
    return lambda see: p if see["option_order"] == "forward" else 1 - p


def noisy(policy, error):
    return lambda see: (1 - error) * policy(see) + error * (1 - policy(see))


def play(*pairs, games=(PD,), **how):
    """Play pairs of (name, mode, policy) and return the matches table; as `decisions`."""
    return measured_matches(decisions(*pairs, games=games, **how), games)


def decisions(
    *pairs, games=(PD,), rounds=12, repetitions=24, orders=("simultaneous",), seed=0, label_set="jf"
):
    """Play pairs of (name, mode, policy) and return the play table.

    Repetitions come in blocks of the four `FORMS`, which share nothing else here.

    A policy is P(action 0) of what a seat sees, or None for an answer that is none, which ends the
    match; a name that is a strategy's in capitals stands for
    a scripted agent.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for number, (pair, game, order, r) in enumerate(
        product(pairs, games, orders, range(repetitions))
    ):
        frames += _match(pair, game, order, r, rounds, f"m{seed}-{number}", label_set, rng)
    return pd.DataFrame(frames).astype({"action": "Int64", "opponent_action": "Int64"})


def steered(own, partner=None, *, doses=(-1.0, 0.0, 1.0), random=None, layers=None, **how):
    """Play a steered player "s" whose policy is `own(dose)`; return its matches.

    It meets itself, or `partner` (a policy) where there is one; `random` is a policy, likewise, of
    a second player along a random direction.
    """
    layers = {"s": [1, 2], "r": [1, 2]} | (layers or {})
    players = {"s": ("abstract", own)} | ({"r": ("random", random)} if random else {})
    pairs, interventions = [], {}
    for (name, (direction, policy)), dose in product(players.items(), doses):
        agent = f"{name}{dose:g}"
        about = {"player": name, "direction": direction, "kind": "add", "value": dose}
        interventions[f"{agent}_direct"] = about | {"layers": layers[name]}
        if partner is None:
            pairs.append(itself(agent, policy(dose)))
        else:
            pairs += meeting(agent, policy(dose), "p", partner)
    table = with_doses(decisions(*pairs, **how), interventions)
    table = table.assign(model=table["model"].where(table["player"].isna(), "m"))
    return steered_matches(table, [PD], temperature=1.0, parsed=False)


def checks(doses=(-1.0, 0.0, 1.0), *, right=lambda dose: 0.8, kl=lambda dose: 0.1 * dose**2):
    """Return what player "s" answers in the quiz, and how it reads plain text."""
    rng = np.random.default_rng(5)
    quiz, text = [], []
    about = {"player": "s", "direction": "abstract", "model": "m"}
    ease = rng.uniform(size=(12, 12))
    for dose in doses:
        for history, question in product(range(12), range(12)):
            row = {"history_id": f"h{history}", "kind": f"k{question // 2}", "asked_round": pd.NA}
            row |= {"question": f"q{question}", "right": "a", "wrong": "b", "dose": dose}
            quiz.append(about | row | {"correct": bool(ease[history, question] < right(dose))})
        for passage in range(10):
            row = {"passage": passage, "dose": dose, "n_tokens": 36, "kl": kl(dose)}
            row["kl"] *= rng.uniform(0.8, 1.2)
            text.append(about | row | {"nll": 3.0 + row["kl"], "nll_unsteered": 3.0})
    quiz = pd.DataFrame(quiz).astype({"asked_round": "Int64", "correct": "boolean"})
    return {"steered_quiz": quiz, "steered_text": pd.DataFrame(text)}


def _match(pair, game, order, r, rounds, match_id, label_set, rng):
    label_map, option_order = FORMS[r % len(FORMS)]
    scenario = f"{game.name}/{game.variant}/{r // len(FORMS)}"
    views = (game, game.transpose())
    first = {"row_first": 0, "column_first": 1}.get(order)
    names = [f"{name}_{mode}" for name, mode, _ in pair]
    scripted = [name.isupper() for name, *_ in pair]
    kind = "scripted" if any(scripted) else "cross_play"
    kind = "self_play" if names[0] == names[1] else kind
    history, rows = ([], []), []
    for t in range(rounds):
        moves, chances = [None, None], [0.0, 0.0]
        for k in (0, 1) if first is None else (first, 1 - first):
            see = {
                "own": history[k], "other": history[1 - k], "game": views[k], "round": t,
                "now": None if first is None else moves[1 - k], "seat": k,
                "turn": None if first is None else ("first", "second")[int(k != first)],
                "label_map": label_map, "option_order": option_order, "repetition": r,
            }  # fmt: skip
            answer = pair[k][2](see)
            chances[k] = None if answer is None else float(answer)
            moves[k] = None if answer is None else int(rng.random() >= answer)
        whole = None not in moves
        for k in (0, 1):
            history[k].append(moves[k])
            rows.append(
                {
                    "match_id": match_id, "scenario_id": scenario,
                    "block_id": f"{scenario}/{'--'.join(names)}/{order}",
                    "game": game.name, "variant": game.variant, "label_kind": "neutral",
                    "repetition": r, "pairing": kind, "move_order": order, "horizon": "unknown",
                    "match_rounds": rounds, "round": t + 1, "seat": ("row", "column")[k],
                    "agent": names[k], "opponent": names[1 - k],
                    "model": None if scripted[k] else pair[k][0], "mode": pair[k][1],
                    "strategy": pair[k][0] if scripted[k] else None, "template": "neutral",
                    "label_set": label_set, "label_map": label_map, "option_order": option_order,
                    "label_mass": 0.5, "p_action_0": chances[k], "action": moves[k],
                    "opponent_action": moves[1 - k],
                    "payoff": views[k].payoff(moves[k], moves[1 - k])[0] if whole else None,
                }
            )  # fmt: skip
        if not whole:
            break
    return rows


def recorded(matches, p):
    """Say that the first label had probability p, whatever temperature made of it."""
    first = matches["label_map"].map({"identity": p, "swapped": 1 - p})
    return matches.assign(sum_p_action_0=first * matches["n_p_action_0"].astype(float))


def only_in(game, policy, otherwise):
    """One policy in a game, another in the others."""
    return lambda see: policy(see) if see["game"].name == game else otherwise(see)


def itself(name, policy, mode="direct"):
    return (name, mode, policy), (name, mode, policy)


def meeting(one, policy, two, other, mode="direct"):
    """Both orders of seats."""
    a, b = (one, mode, policy), (two, mode, other)
    return (a, b), (b, a)


def with_scripts(name, policy):
    pairs = [meeting(name, policy, script, strategy(script)) for script in ("ALLC", "ALLD")]
    return [pair for both in pairs for pair in both]


def models(**sizes):
    """NAME=(family, billions)."""
    manifests = {
        name: {"architecture": "A", "n_parameters": billions * 1e9}
        for name, (_, billions) in sizes.items()
    }
    return models_table(manifests, {name: family for name, (family, _) in sizes.items()})


def judged(claim, matches, known, games=(PD, BOS, STAG, PENNIES), **changes):
    """Return a claim's rows by subject."""
    if isinstance(matches, (list, tuple)):
        matches = pd.concat(matches, ignore_index=True)
    tables = {"matches": matches, "games": games_table(list(games)), "models": known}
    claims = [one for one in PLAY_CLAIMS if one.id == claim]
    return judge(tables, replace(SETTINGS, **changes), claims).set_index("model")


GAINS = {"stag": (-0.5, 0.5), "chicken": (0.5, -0.5), "hens": (-0.4, 0.6), "sexes": (-0.6, 0.4)}
"""What action 1 gains over action 0 where the other plays 0 and 1, by game."""


def beliefs(act, believe=None, histories=6, seed=3):
    """Rows of a model whose P(action 1) is `act(belief, gain)`; beliefs differ by history."""
    rng, rows = np.random.default_rng(seed), []
    for (game, gains), h in product(GAINS.items(), range(histories)):
        belief = rng.uniform(0.75, 0.95) if h % 2 else rng.uniform(0.05, 0.25)
        belief = belief if believe is None else believe
        gain = (1 - belief) * gains[0] + belief * gains[1]
        p = np.clip(act(belief, gain, rng), 0.01, 0.99)
        for form in product(("identity", "swapped"), ("forward", "reversed")):
            # A liking for the first label, in belief and in action, which the block cancels.
            sign = -1 if form[0] == "identity" else 1
            odds = np.log(belief / (1 - belief)) + 2 * sign
            rows.append(
                {"model": "m", "match_id": f"{game}/{h}", "block_id": f"{game}/{h}/b"}
                | {"game": game, "variant": 0, "seat": "row", "opponent": "ALLC"}
                | {"template": "neutral", "label_set": "jf", "label_kind": "neutral"}
                | {"label_map": form[0], "option_order": form[1], "dropped": "", "n_tokens": 9}
                | {"gain_0": gains[0], "gain_1": gains[1], "belief_mass": 0.9, "label_mass": 0.9}
                | {"p_expected_1": 1 / (1 + np.exp(-odds)), "belief_prompt_id": "", "prompt_id": ""}
                | {"p_action_1": p, "belief": np.nan, "loss": np.nan, "best_response": pd.NA}
            )
    return hold_against_beliefs(pd.DataFrame(rows))
