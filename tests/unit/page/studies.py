"""A study of a few rows, for the page: every kind of text and number, and none of it computed."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from nashlens.findings.claims import ALL_CLAIMS
from nashlens.findings.conditions import above, as_text, at_least, at_most, case, told
from nashlens.findings.protocols import PROTOCOLS, RUNGS
from nashlens.games.table import build_games, games_table
from nashlens.page import StudyTables
from nashlens.page.study import TableSource
from workflow.command import Command

CONFIG = {
    "prompts": {"label_sets": {"jf": ["J", "F"], "words": "actions"}, "system": "Play."},
    "matches": {"history_window": None},
    "modes": {"cot": {"anchor": "Final answer: option"}},
}
ACTIONS = {"pd": ("help", "harm"), "hunt": ("stag", "hare")}
VERDICTS = ("supported", "contradicted", "inconclusive", "not_applicable")


def conditions(verdict: str, said: str) -> str:
    """Return what a rule tested that gave a verdict; nothing where it was not asked."""
    values = {"supported": 0.75, "contradicted": -0.75, "inconclusive": 0.0}
    if verdict not in values:
        return ""
    part = f"early action part {said}"
    cases = (
        case(
            "supported",
            at_least(part, values[verdict], 0.5),
            above("a control that was not made", float("nan"), 0.0),
            because=said,
        ),
        case("supported", at_least(part, values[verdict], 0.5), because=said),
        case("contradicted", at_most(part, values[verdict], -0.5), without=[told(said, False)]),
        case("inconclusive"),
    )
    return as_text(cases)


def findings(models: Sequence[str], said: str) -> pd.DataFrame:
    """Return a row for each claim and model, verdicts in turn."""
    rows = []
    for number, claim in enumerate(ALL_CLAIMS):
        for model in models if claim.about == "model" else ["all models"]:
            verdict = VERDICTS[(number + models.index(model) if model in models else number) % 4]
            judged = verdict != "not_applicable"
            rows.append(
                {
                    "claim": claim.id,
                    "model": model,
                    "statement": claim.statement,
                    "measure": claim.measure,
                    "unit": claim.unit,
                    "estimate": 0.5 if judged else np.nan,
                    "ci_low": 0.25 if judged else np.nan,
                    "ci_high": 0.75 if judged else np.nan,
                    "n": 32 if judged else pd.NA,
                    "n_matches": 8 if judged else pd.NA,
                    "control": 0.125 if judged else np.nan,
                    "control_measure": claim.control,
                    "p_value": 0.01,
                    "q_value": 0.02,
                    "detectable": 0.0625,
                    "spike_found": 1.0,
                    "spike_unit": "logits",
                    "spike_false": 0.1,
                    "verdict": verdict,
                    "reason": f"because {said}",
                    "sensitivity": "",
                    "fragile": "label_set" if number == 1 else "",
                    "paper": claim.paper,
                    "published": "",
                    "tables": ", ".join(claim.tables),
                    "conditions": conditions(verdict, said),
                    "detail": json.dumps({"peak_layer": 4, "word": said, "spread": None}),
                }
            )
    return pd.DataFrame(rows).astype({"n": "Int64", "n_matches": "Int64"})


def sensitivity(rows: pd.DataFrame, said: str) -> pd.DataFrame:
    """Return two parts of each finding."""
    parts = []
    for row in rows.to_dict("records"):
        for level, agreement in ((f"jf{said}", "agrees"), ("xy", "not_judged")):
            judged = agreement == "agrees" and row["verdict"] != "not_applicable"
            kept = {key: row[key] for key in ("claim", "model", "n", "n_matches", "reason")}
            numbers = {k: row[k] for k in ("estimate", "ci_low", "ci_high", "control", "p_value")}
            parts.append(
                {**kept, "factor": "label_set", "level": level, "interval": "student"}
                | {key: value if judged else np.nan for key, value in numbers.items()}
                | {"verdict": row["verdict"] if judged else "not_applicable"}
                | {"whole_estimate": row["estimate"], "whole_verdict": row["verdict"]}
                | {"agreement": agreement if judged else "not_judged"}
            )
    return pd.DataFrame(parts)


def ladder(models: Sequence[str], said: str) -> pd.DataFrame:
    """Return all rungs of all claims: supported as published, contradicted when controlled."""
    rows = [
        {
            "claim": claim, "model": model, "statement": "", "rung": number, "name": name,
            "adds": rung.adds, "estimate": 0.5, "ci_low": 0.25, "ci_high": 0.75, "unit": "logits",
            "control": f"word part {said}", "n": 32, "n_matches": 8,
            "concludes": "contradicted" if name == "controlled" else "supported",
            "because": "it follows the word" if name == "controlled" else "",
            "short": f"0.50 {said}", "reason": said,
        }
        for claim, protocol in PROTOCOLS.items()
        for model in models
        for number, (name, rung) in enumerate(RUNGS.items())
        if name in protocol
    ]  # fmt: skip
    return pd.DataFrame(rows)


def play(
    models: Sequence[str], said: str, repetitions: int, games: Sequence[str] = ("pd",)
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return matches of each model with a script, both ways of listing, and what it wrote.

    Two matches in one mode are followed by two in the other; four in one game by four in the next.
    """
    rows, texts = [], []
    for model in models:
        for repetition in range(repetitions):
            game = games[repetition // 4 % len(games)]
            mode = ("cot", f"direct{said}")[repetition // 2 % 2]
            player = f"{model}{said}"
            name = f"{game}/{player}--tft/{repetition}"
            moves = [(repetition % 2, 0), (1, repetition % 2)]
            for number, pair in enumerate(moves, start=1):
                for seat in (0, 1):
                    own = player if seat == 0 else "tft"
                    rows.append(
                        {
                            "match_id": name, "game": game, "variant": 0, "round": number,
                            "pairing": "scripted", "move_order": "simultaneous",
                            "horizon": "unknown", "match_rounds": 2, "repetition": repetition,
                            "row_agent": player, "column_agent": "tft",
                            "seat": ("row", "column")[seat], "agent": own,
                            "model": model if seat == 0 else None,
                            "mode": mode if seat == 0 else None,
                            "template": "neutral", "label_set": f"jf{said}",
                            "label_kind": "neutral",
                            "label_map": ("identity", "swapped")[repetition % 2],
                            "option_order": "forward",
                            "p_action_0": 0.25, "p_action_1": 0.75, "p_expected_0": np.nan,
                            "label_mass": 0.5 if seat == 0 else np.nan,
                            "action": pair[seat], "opponent_action": pair[1 - seat],
                            "payoff": 3.0, "opponent_payoff": 0.0,
                        }
                    )  # fmt: skip
                texts.append(
                    {
                        "match_id": name, "round": number, "seat": "row", "kind": "reasoning",
                        "attempt": 1, "text": f"I think {said}",
                    }
                )  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(texts)


def layers(models: Sequence[str], said: str) -> pd.DataFrame:
    """Return parts of the lens by layer."""
    rows = [
        {
            "model": model, "lens": "logit", "quantity": "prosocial over Nash", "part": part,
            "game": None, "layer": layer, "estimate": layer / 4, "ci_low": layer / 4 - 0.1,
            "ci_high": layer / 4 + 0.1, "n": 32,
        }
        for model in models
        for part in ("action", "word")
        for layer in range(1, 5)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def study(
    models: Sequence[str] = ("small",),
    said: str = "",
    title: str = "A game",
    repetitions: int = 4,
    games: Sequence[str] = ("pd",),
) -> StudyTables:
    """Return a study; `said` and `title` stand wherever a model, a user or a config writes."""
    rows = findings(models, said)
    spec = {
        game: {
            "payoffs": [[[3, 3], [0, 5]], [[5, 0], [1, 1]]],
            "actions": [f"{action}{said}" for action in ACTIONS[game]],
            "title": title if game == "pd" else f"{title} ({game})",
        }
        for game in games
    }
    decisions, texts = play(models, said, repetitions, games)
    tables = {
        "findings": rows,
        "sensitivity": sensitivity(rows, said),
        "ladder": ladder(models, said),
        "games": games_table(build_games(spec, 0)),
        "play": decisions,
        "texts": texts,
        "effects": layers(models, said),
    }
    sources = {
        "findings": [TableSource("results/mine/findings.parquet", "f" * 8, {"note": said}, "1")],
        "model_findings": [
            TableSource(f"results/mine/findings/{model}.parquet", "a" * 8, {"note": said}, "1")
            for model in models
        ],
    }
    sets = {f"jf{said}": [f"J{said}", f"F{said}"], f"words{said}": "actions"}
    config = {**CONFIG, "prompts": {"label_sets": sets, "system": f"Play. {said}"}}
    command = Command(["mine.yaml"], [f"note={said}"] if said else [])
    return StudyTables("mine", tables, sources, config, command)
