"""Small players for the tests: tokens are characters, and a label after its space is one token."""

import re
from collections.abc import Callable

import numpy as np

from nashlens.engine.generation import Generated
from nashlens.games.catalog import CATALOG
from nashlens.play.player import Cot, Player, PlaySettings, Scratchpad
from nashlens.play.run import decisions_table, play_rounds
from nashlens.play.schedule import Agent, schedule
from nashlens.prompts.design import surfaces
from nashlens.prompts.templates import ANCHOR, TEMPLATES
from nashlens.strategies import cooperation

PD = CATALOG["prisoners_dilemma"]
FORMS = surfaces(["neutral"], {"jf": ["J", "F"]}, ["identity", "swapped"], ["forward", "reversed"])
ALL_FORMS = surfaces(
    list(TEMPLATES),
    {"jf": ["J", "F"], "xy": ["X", "Y"]},
    ["identity", "swapped"],
    ["forward", "reversed"],
)
MODEL = Agent("a", model="m")
COT = Agent("c", model="m", mode="cot")
PAD = Agent("s", model="m", mode="scratchpad")


def settings(**changes):
    base = {
        "rounds": 4,
        "temperature": 1.0,
        "horizon_known": False,
        "system": None,
        "assistant_prefix": "I choose option",
        "seed": 3,
        "window": None,
        "talk_tokens": 0,
        "cot": cot(),
        "scratchpad": Scratchpad(tokens=128),
    }
    return PlaySettings(**(base | changes))


def cot(**changes):
    base = {"tokens": 256, "answer": "scored", "retries": 2, "anchor": ANCHOR}
    return Cot(**(base | changes))


def play_matches(matches, players, options):
    """Play matches to their ends and return the play table."""
    return decisions_table(play_rounds(matches, lambda: players, options))


def matches_of(*pairs, games=(PD,), forms=FORMS, repetitions=1, seed=3, **more):
    """The first so many repetitions of each pair, whole blocks or not."""
    size = len({(form.label_map, form.option_order) for form in forms})
    whole = size * -(-repetitions // size)
    matches = schedule(
        list(games),
        list(pairs),
        forms,
        repetitions=whole,
        scripted_repetitions=whole,
        seed=seed,
        **more,
    )
    return [match for match in matches if match.repetition < repetitions]


def moves(frame, seat):
    return frame[frame["seat"] == seat].sort_values("round")["action"].tolist()


class Letters:
    """A tokenizer: one token a character; a capital at the end after a space is one token."""

    name, bos_id, special_tokens = "letters", None, ("<bos>",)

    def __init__(self, max_length=None):
        self.max_length = max_length

    def encode(self, text):
        ids = [ord(c) for c in text]
        if re.search(r" [A-Z]$", text):
            ids[-2:] = [1000 + ids[-1]]
        return ids

    def encode_many(self, texts):
        return [self.encode(text) for text in texts]

    def last_piece(self, text):
        return text

    def text(self, ids):
        return "".join(chr(i) if i < 1000 else " " + chr(i - 1000) for i in ids)

    def chat(self, messages):
        return "\n".join(message["content"] for message in messages) + "\n"


class Scorer:
    """P(label) by a function of the prompt's text and the two labels; `mass` is what they have."""

    def __init__(self, p_action_0: Callable, mass=0.8):
        self.p_action_0, self.mass, self.calls = p_action_0, mass, []

    def label_logprobs(self, prompts, kept=None):
        texts = [Letters().text(prompt.ids) for prompt in prompts]
        self.calls.append((texts, kept))
        labels = [tuple(chr(label[0] - 1000) for label in prompt.labels) for prompt in prompts]
        p = np.array([self.p_action_0(t, pair) for t, pair in zip(texts, labels, strict=True)])
        with np.errstate(divide="ignore"):
            return np.log(self.mass * np.stack([p, 1 - p], axis=1))


class WritesLines:
    """Writes a function of the prompt's text and the seed; keeps what it was asked."""

    def __init__(self, write: Callable):
        self.write, self.asked = write, []

    def __call__(self, wanted, *, temperature):
        self.asked += [(Letters().text(w.ids), w.seed, w.max_new_tokens) for w in wanted]
        texts = [self.write(Letters().text(w.ids), w.seed) for w in wanted]
        return [
            Generated([ord(c) for c in text[: w.max_new_tokens]], len(text) <= w.max_new_tokens)
            for text, w in zip(texts, wanted, strict=True)
        ]


def likes(letter, p=0.9):
    """P(action 0) of a player that likes a letter, whatever it stands for."""
    return lambda text, labels: p if labels[0] == letter else 1 - p


def same(p):
    return lambda text, labels: p


PLAYED = re.compile(r"Round \d+: you chose option (\w+) .*; the other \w+ chose option (\w+) ")


def plays(strategy, p=None):
    """P(action 0) of a player that reads its prompt and plays a scripted strategy."""

    def p_action_0(text, labels):
        lines = PLAYED.findall(text)
        own, other = ([labels.index(line[i]) for line in lines] for i in (0, 1))
        return cooperation(strategy, own, other, p)

    return p_action_0


def players(p_action_0=None, write=None, max_length=None):
    scorer = Scorer(p_action_0 or same(0.5))
    return {"m": Player(Letters(max_length), scorer, None if write is None else WritesLines(write))}
