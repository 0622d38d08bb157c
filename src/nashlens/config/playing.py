"""The configuration's sections of prompts and play."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nashlens.config.values import (
    MOST_ENTRIES,
    Boolean,
    Count,
    Distinct,
    DistinctOrEmpty,
    Dose,
    Fraction,
    Integer,
    LayerList,
    Name,
    Names,
    Number,
    Pair,
    RoundCount,
    Section,
    Text,
    Title,
)
from nashlens.vocabulary.edits import PLAYER_DIRECTIONS, STEERED_TOKENS
from nashlens.vocabulary.play import MODES, STRATEGIES
from nashlens.vocabulary.prompts import (
    ACTION_LABELS,
    CROSSABLE,
    LABEL_MAPS,
    MOVE_ORDERS,
    OPTION_ORDERS,
    TEMPLATES,
)


class PromptsConfig(Section):
    """Decision prompts: each is asked in every label map and option order."""

    templates: Distinct[Literal[TEMPLATES]] = ["neutral", "named"]  # type: ignore[valid-type]
    """neutral puts payoffs in sentences, named adds the title, cover a story, table a table."""
    label_sets: Annotated[
        dict[Name, Literal[ACTION_LABELS] | Pair[Title]],  # type: ignore[valid-type]
        Field(min_length=1, max_length=MOST_ENTRIES),
    ] = {
        "jf": ["J", "F"],
        "xy": ["X", "Y"],
        "pq": ["P", "Q"],
        "words": "actions",
    }
    """Pairs of labels for the two actions; actions: each game's own names of them."""
    label_maps: Distinct[Literal[LABEL_MAPS]] = list(LABEL_MAPS)  # type: ignore[valid-type]
    """identity gives the first label to action 0, swapped to action 1."""
    option_orders: Distinct[Literal[OPTION_ORDERS]] = list(OPTION_ORDERS)  # type: ignore[valid-type]
    """Which action the prompt lists first: forward is action 0."""
    opponents: Distinct[Literal[STRATEGIES]] = [  # type: ignore[valid-type]
        "TFT",
        "ALLC",
        "RANDOM",
        "ALLD",
        "WSLS",
        "GRIM",
    ]
    """Who plays the other seat in the histories; RANDOM samples both actions alike."""
    own_cooperation: Fraction = 0.5
    """Chance of action 0 in each of the seat's own moves in a history."""
    rounds: Distinct[RoundCount] = [5]
    """Rounds at which a history's decision is asked; round r shows r - 1 played rounds."""
    histories: Count = 16
    """Histories of each game."""
    crossed: DistinctOrEmpty[Literal[CROSSABLE]] = []  # type: ignore[valid-type]
    """Of templates and label_sets, what each history is asked in all of; else in one of each."""
    system: Text | None = "You are playing a game with another player."
    """System message; null for none."""
    assistant_prefix: Text = "I choose option"
    """Start of the answer, put after the template's generation prompt; the label comes next."""


class BoundsConfig(Section):
    """Upper bounds of an agent's matches of one kind."""

    rounds: RoundCount | None = None
    """At most so many rounds in each; null for the agent's."""
    repetitions: Annotated[Integer, Field(ge=0, le=10000)] | None = None
    """At most so many with each opponent in each game, whole blocks; 0 for none."""
    sequential: Boolean = True
    """Whether they are played in row_first and column_first too, where the game is."""


class InterventionConfig(Section):
    """A steered player: its residuals are edited whenever it decides or writes."""

    direction: Literal[PLAYER_DIRECTIONS] = "abstract"  # type: ignore[valid-type]
    """Which of steering.directions; or random, as a control."""
    layers: LayerList
    """Blocks after each of which it is edited, as steering.layers: -1 is the last."""
    kind: Literal["add", "clamp", "ablate"] = "add"
    """As in the steering sweep: add the dose, clamp the projection to it, or remove it."""
    value: Dose | None = None
    """The dose: of add in steering.units, of clamp in standard deviations; ablate has none."""
    values: Distinct[Dose] | None = None
    """In place of value: one agent a dose, named NAME_DOSE."""
    positions: Literal[STEERED_TOKENS] = "all"  # type: ignore[valid-type]
    """Tokens: last of the prompt and the decision, the prompt, what is generated, or all."""


class AgentConfig(Section):
    """A player: a model with a mode, or a scripted strategy."""

    model: Name | None = None
    """A key of models; leave out for a scripted strategy."""
    mode: Literal[MODES] = "direct"  # type: ignore[valid-type]
    """direct scores the labels at once, cot after reasoning, scratchpad with private notes."""
    strategy: Literal[STRATEGIES] | None = None  # type: ignore[valid-type]
    """A scripted strategy; leave out for a model."""
    p: Fraction | None = None
    """RANDOM's chance of action 0 (default 0.5), or TFT_ERRORS' of an error (default 0.1)."""
    rounds: RoundCount | None = None
    """At most so many rounds in its matches; null for matches.rounds."""
    repetitions: Count | None = None
    """At most so many matches with each opponent in each game; null for those of matches."""
    games: Distinct[Name] | None = None
    """The only games that it plays, and a steered one is asked about; null for all of play."""
    self_play: BoundsConfig = BoundsConfig()
    """Bounds of its self-play."""
    cross_play: BoundsConfig = BoundsConfig()
    """Bounds of its matches with other models' agents."""
    scripted: BoundsConfig = BoundsConfig()
    """Bounds of its matches with scripts."""
    intervention: InterventionConfig | None = None
    """Makes a model a steered player; null for none."""


class CotConfig(Section):
    """Mode cot: free reasoning, then a final answer after an anchor."""

    tokens: Annotated[Integer, Field(ge=1, le=100000)] = 16
    """Length bound of the reasoning."""
    answer: Literal["scored", "parsed"] = "scored"
    """What decides: P(label) after the anchor, or the answer that the model wrote itself."""
    retries: Annotated[Integer, Field(ge=0, le=100)] = 2
    """Further attempts after an invalid answer, where the written answer decides."""
    anchor: Annotated[Text, Field(min_length=1)] = "Final answer: option"
    """Start of the final-answer line; the label comes next."""


class ScratchpadConfig(Section):
    """Mode scratchpad: private notes, carried from round to round."""

    tokens: Annotated[Integer, Field(ge=1, le=100000)] = 48
    """Length bound of the notes, which are written anew before each decision."""


class ModesConfig(Section):
    """How agents come to their decisions, where they write before they decide."""

    cot: CotConfig = CotConfig()
    """Free reasoning, then a final answer after an anchor."""
    scratchpad: ScratchpadConfig = ScratchpadConfig()
    """Private notes, carried from round to round."""


class MatchesConfig(Section):
    """Repeated play."""

    skip_games: DistinctOrEmpty[Name] = ["deadlock", "concord"]
    """Games that are not played: they serve only the prompts, the probes and steering."""
    templates: Distinct[Literal[TEMPLATES]] = list(TEMPLATES)  # type: ignore[valid-type]
    """As prompts.templates, for play and the quiz; label maps and orders are those of prompts."""
    label_sets: Distinct[Name] | None = None
    """Which of prompts.label_sets play uses; null for all neutral ones."""
    rounds: RoundCount = 6
    """Rounds a match."""
    repetitions: Count = 48
    """Matches for each game and ordered pair of models: blocks of every label map and order."""
    scripted_repetitions: Count = 4
    """Matches for each game, scripted agent and seat: whole blocks too."""
    self_play: Boolean = True
    """Each model agent against itself."""
    cross_play: Boolean = True
    """Every ordered pair of distinct model agents."""
    cross_modes: Boolean = True
    """Whether agents of different modes meet in cross-play."""
    scripted: Boolean = True
    """Each model agent against each scripted agent, in both seats."""
    move_orders: Distinct[Literal[MOVE_ORDERS]] = list(MOVE_ORDERS)  # type: ignore[valid-type]
    """Who moves when; a second mover sees the first. Scripted agents play in the first order."""
    sequential_games: Names = ["battle_of_the_sexes"]
    """Games that are played in row_first and column_first as well: all, a list, or [] for none."""
    sequential_repetitions: Count = 16
    """Matches of each pair of models in each of these two orders, at most: whole blocks."""
    temperature: Annotated[Number, Field(ge=0, le=100)] = 1.0
    """Sampling temperature of actions (on the two labels) and of generated text; 0 is greedy."""
    horizon: Literal["unknown", "known"] = "unknown"
    """known tells the agents how many rounds there are."""
    history_window: Annotated[Integer, Field(ge=0, le=1000)] | None = None
    """How many of the last rounds models see; null shows all."""
    talk_tokens: Annotated[Integer, Field(ge=0, le=10000)] = 0
    """Length bound of the message each model sends before a round's moves; 0 for no messages."""


class QuizConfig(Section):
    """Forced choices on the rules and the history, after the prompts of play."""

    histories: Count = 1
    """Histories for each game of play and template, twelve questions each."""
    cycles: Annotated[Integer, Field(ge=1, le=250)] = 1
    """How often each of the four outcomes occurs in a history: 4 x cycles rounds."""
    beliefs: Annotated[Integer, Field(ge=0, le=10000)] = 2
    """Histories for each game without a dominant action, after which beliefs are asked; 0: none."""
