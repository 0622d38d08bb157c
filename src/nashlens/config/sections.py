"""The configuration's only definition: one pydantic model a section.

Every field carries its description, default and bounds; the JSON schema in `workflow/schemas/`
is generated from here. Sections stand in the order of `config.yaml`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

CANONICAL_GAMES = (
    "prisoners_dilemma",
    "stag_hunt",
    "chicken",
    "battle_of_the_sexes",
    "matching_pennies",
    "harmony",
    "deadlock",
    "concord",
)
STRATEGIES = ("ALLC", "ALLD", "TFT", "GRIM", "WSLS", "RANDOM", "TFT_ERRORS")
TEMPLATES = ("neutral", "named", "cover", "table")
TARGETS = ("own_last", "opponent_last", "nash_action", "prosocial_action", "best_response")
FIGURES = (
    "games",
    "cooperation",
    "rounds",
    "probes",
    "lens",
    "biases",
    "steering",
    "clamping",
    "findings",
)

SOURCES = "package:DIST/FILE.gguf, gguf:PATH, path:DIR, hub:ID@REVISION or planted:NAME"

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")
_SOURCE = re.compile(r"(package|gguf|path|hub|planted):\S.*")
# Windows and Samba refuse files of these names, whatever their ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value) or ".." in value:
        raise ValueError(
            "names become file names: use 1 to 64 of letters, digits, '_', '-' and single '.', "
            "with a letter or digit first and no '.' last"
        )
    if _DEVICES.fullmatch(value):
        raise ValueError("names become file names, and this one is reserved on some systems")
    return value


def _check_experiment(value: str) -> str:
    if value.lower() in ("models", "readme.md"):
        raise ValueError(f"results/{value} is taken: choose another name")
    return value


def _check_text(value: str) -> str:
    if any(ord(c) < 32 and c not in "\n\t" for c in value):
        raise ValueError("control characters are not allowed")
    return value


def _check_source(value: str) -> str:
    if not _SOURCE.fullmatch(value):
        raise ValueError(f"allowed: {SOURCES}")
    return value


Name = Annotated[str, AfterValidator(_check_name)]
Text = Annotated[str, AfterValidator(_check_text)]
# Strict: YAML's yes, no and true are ints to Python, and a payoff of `true` is always a slip.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Integer = Annotated[int, Field(strict=True)]
Boolean = Annotated[bool, Field(strict=True)]
Layers = Literal["all"] | Annotated[list[Integer], Field(min_length=1)]


def _distinct(values: list[Any]) -> list[Any]:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{value!r} stands twice")
    return values


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Experiment(Section):
    """What this run is called and where its randomness starts."""

    name: Annotated[Name, AfterValidator(_check_experiment)] = "default"
    """Results go to results/NAME/; experiments never overwrite one another."""
    seed: Annotated[Integer, Field(ge=0, lt=2**63)] = 20260427
    """Root of every random number; each use spawns its own stream by a stable name."""


class Model(Section):
    """One language model."""

    source: Annotated[Text, AfterValidator(_check_source)]
    """package:DIST/FILE.gguf, gguf:PATH, path:DIR, hub:ID@REVISION or planted:NAME."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Weights and activations; auto is bfloat16 on a GPU and float32 on a CPU."""
    quantization: Literal["none", "int8", "nf4"] = "none"
    """Weights through bitsandbytes; the unembedding stays unquantised."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N."""
    parallel: Literal["none", "pipeline", "tensor"] = "none"
    """Over all visible GPUs: pipeline spreads layers, for memory; tensor splits each, for speed."""
    gpus: Annotated[Integer, Field(ge=0, le=64)] = 0
    """GPUs that each of this model's jobs asks the scheduler for."""
    mem_mb: Annotated[Integer, Field(ge=100)] | None = None
    """Memory of this model's jobs; the default is resources.model_mem_mb."""


class Game(Section):
    """One two-player 2x2 game: a canonical one by name, or your own payoffs."""

    canonical: Literal[CANONICAL_GAMES] | None = None  # type: ignore[valid-type]
    """A game of the catalogue; leave out where payoffs are given."""
    payoffs: (
        Annotated[
            list[
                Annotated[
                    list[Annotated[list[Number], Field(min_length=2, max_length=2)]],
                    Field(min_length=2, max_length=2),
                ]
            ],
            Field(min_length=2, max_length=2),
        ]
        | None
    ) = None
    """payoffs[row action][column action] = [row's payoff, column's payoff]."""
    actions: Annotated[list[Text], Field(min_length=2, max_length=2)] | None = None
    """What the two actions mean, for tables and figures; agents see labels only."""
    title: Text | None = None
    """Name in figures; the named template shows it to the agents too."""
    variants: Annotated[Integer, Field(ge=0, le=100)] = 0
    """Further payoff variants, drawn by seed, that keep each player's order of outcomes."""


class Prompts(Section):
    """Decision prompts: their surface forms are fully crossed within each game."""

    templates: Annotated[
        list[Literal[TEMPLATES]],  # type: ignore[valid-type]
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = ["neutral", "named"]
    """neutral puts payoffs in sentences, named adds the title, cover a story, table a table."""
    label_sets: Annotated[
        dict[Name, Annotated[list[Text], Field(min_length=2, max_length=2)]], Field(min_length=1)
    ] = {"jf": ["J", "F"], "xy": ["X", "Y"], "pq": ["P", "Q"]}
    """What agents see in place of action names: pairs of distinct texts, at least three advised."""
    label_maps: Annotated[
        list[Literal["identity", "swapped"]], Field(min_length=1), AfterValidator(_distinct)
    ] = ["identity", "swapped"]
    """identity gives the first label to action 0, swapped to action 1."""
    option_orders: Annotated[
        list[Literal["forward", "reversed"]], Field(min_length=1), AfterValidator(_distinct)
    ] = ["forward", "reversed"]
    """Which action the prompt lists first: forward is action 0."""
    opponents: Annotated[
        list[Literal[STRATEGIES]],  # type: ignore[valid-type]
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = ["TFT", "ALLC", "RANDOM", "ALLD", "WSLS", "GRIM"]
    """Who plays the other seat in the histories; RANDOM samples both actions alike."""
    own_cooperation: Annotated[Number, Field(ge=0, le=1)] = 0.5
    """Chance of action 0 in each of the seat's own moves in a history."""
    rounds: Annotated[
        list[Annotated[Integer, Field(ge=1, le=1000)]],
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = [3, 5, 7, 9]
    """Rounds at which a history's decision is asked; round r shows r - 1 played rounds."""
    histories: Annotated[Integer, Field(ge=1, le=10000)] = 1
    """Histories for each game and surface form."""
    system: Text | None = "You are playing a game with another player."
    """System message; null for none."""
    assistant_prefix: Text = "I choose option"
    """Start of the answer, put after the template's generation prompt; the label comes next."""


class Agent(Section):
    """A player: a model with a mode, or a scripted strategy."""

    model: Name | None = None
    """A key of models; leave out for a scripted strategy."""
    mode: Literal["direct"] = "direct"
    """direct scores the labels at the decision position; nothing is generated."""
    strategy: Literal[STRATEGIES] | None = None  # type: ignore[valid-type]
    """A scripted strategy; leave out for a model."""
    p: Annotated[Number, Field(ge=0, le=1)] | None = None
    """RANDOM's chance of action 0 (default 0.5), or TFT_ERRORS' of an error (default 0.1)."""


class Matches(Section):
    """Repeated play."""

    rounds: Annotated[Integer, Field(ge=1, le=1000)] = 10
    """Rounds a match."""
    repetitions: Annotated[Integer, Field(ge=1, le=10000)] = 8
    """Matches for each game and ordered pair of models, each with another surface form."""
    scripted_repetitions: Annotated[Integer, Field(ge=1, le=10000)] = 1
    """Matches for each game, scripted agent and seat; the two seats mirror the surface form."""
    self_play: Boolean = True
    """Each model agent against itself."""
    cross_play: Boolean = True
    """Every ordered pair of distinct model agents."""
    scripted: Boolean = True
    """Each model agent against each scripted agent, in both seats."""
    temperature: Annotated[Number, Field(ge=0, le=100)] = 1.0
    """Sampling temperature on the two label probabilities; 0 is greedy."""
    horizon: Literal["unknown", "known"] = "unknown"
    """known tells the agents how many rounds there are."""


class Activations(Section):
    """The residual stream at the decision position, embedding and every layer."""

    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """How shards are stored; bfloat16 is kept as its uint16 bits."""
    shard_prompts: Annotated[Integer, Field(ge=1, le=100000)] = 64
    """Prompts a shard; the unit of resuming."""


class Probes(Section):
    """Linear probes, one for each layer and target."""

    targets: Annotated[
        list[Literal[TARGETS]],  # type: ignore[valid-type]
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = list(TARGETS)
    """What to decode at the decision position."""
    layers: Layers = "all"
    """0 is the embedding, l the residual after block l."""
    C: Annotated[Number, Field(gt=0)] = 0.01
    """Inverse strength of the L2 penalty, on features scaled within each training fold."""
    folds: Annotated[Integer, Field(ge=2, le=100)] = 5
    """Cross-validation folds; a match never stands in two of them."""
    permutations: Annotated[Integer, Field(ge=1, le=10000)] = 20
    """Label permutations for the control, each refitted over all folds."""


class Lens(Section):
    """The logit lens: final norm and the labels' rows of the unembedding, at every layer."""

    min_label_mass: Annotated[Number, Field(ge=0, le=1)] = 0.01
    """Layers whose median absolute label mass is smaller are shown as unreliable."""


class Steering(Section):
    """A difference-of-means Nash direction, added or clamped at the decision position."""

    train_games: Annotated[list[Name], Field(min_length=1), AfterValidator(_distinct)] = [
        "prisoners_dilemma",
        "harmony",
    ]
    """Games whose prompts the directions are fitted on; their Nash actions must differ."""
    test_games: Annotated[list[Name], Field(min_length=1), AfterValidator(_distinct)] = [
        "deadlock",
        "concord",
    ]
    """Games that are steered; none may be a training game."""
    layers: Layers = [1, 4, 8, 12, 16, 20, 24, 28]
    """Blocks after which the residual is changed; negative counts from the last block (-1)."""
    alphas: Annotated[list[Number], Field(min_length=1), AfterValidator(_distinct)] = [
        -1.0,
        -0.5,
        -0.25,
        0.0,
        0.25,
        0.5,
        1.0,
    ]
    """Multiples of the layer's mean residual norm, along the unit direction; 0 must be one."""
    clamps: Annotated[list[Number], Field(min_length=2), AfterValidator(_distinct)] = [
        -4.0,
        -2.0,
        0.0,
        2.0,
        4.0,
    ]
    """Values to clamp the projection to: standard deviations around its training mean."""
    random_directions: Annotated[Integer, Field(ge=1, le=1000)] = 20
    """Random directions of the same norm, as the control."""
    prompts: Annotated[Integer, Field(ge=1, le=100000)] = 24
    """Prompts of each test game, spread evenly over its surface forms."""


class Findings(Section):
    """How the claims are judged."""

    confidence: Annotated[Number, Field(gt=0, lt=1)] = 0.95
    """Coverage of every interval."""
    bootstrap: Annotated[Integer, Field(ge=100, le=1000000)] = 1000
    """Bootstrap resamples, clustered on matches."""
    q_value: Annotated[Number, Field(gt=0, lt=1)] = 0.05
    """False-discovery rate over the family of claims."""
    late_fraction: Annotated[Number, Field(gt=0, lt=1)] = 0.25
    """Share of the layers that counts as late, from the top."""


class FigureStyle(Section):
    """Overrides for one figure."""

    palette: Text | None = None
    """A seaborn or matplotlib palette in place of figures.palette."""
    width: Annotated[Number, Field(gt=1, le=40)] | None = None
    """Width in inches."""


class Figures(Section):
    """How figures look."""

    formats: Annotated[
        list[Literal["png", "svg", "pdf"]], Field(min_length=1), AfterValidator(_distinct)
    ] = ["png", "svg"]
    """File formats; bitmap and vector."""
    dpi: Annotated[Integer, Field(ge=50, le=1200)] = 200
    """Bitmap resolution."""
    palette: Text = "colorblind"
    """Seaborn palette of every figure."""
    styles: dict[Literal[FIGURES], FigureStyle] = {}  # type: ignore[valid-type]
    """Overrides by figure name; changing one redraws that figure alone."""


class Resources(Section):
    """What jobs ask for; none of it changes a result."""

    parts: Annotated[Integer, Field(ge=1, le=1000)] = 1
    """Jobs that a model's play and its activations are each split into."""
    threads: Annotated[Integer, Field(ge=1, le=1024)] = 2
    """CPU threads of a model's job."""
    batch_tokens: Annotated[Integer, Field(ge=64)] = 4096
    """Tokens that one forward pass packs at most (a longer prompt goes alone)."""
    model_mem_mb: Annotated[Integer, Field(ge=100)] = 5000
    """Memory of a model's job."""
    model_runtime: Annotated[Integer, Field(ge=1)] = 240
    """Minutes that a model's job may take."""
    light_mem_mb: Annotated[Integer, Field(ge=100)] = 2000
    """Memory of every other job."""
    light_runtime: Annotated[Integer, Field(ge=1)] = 30
    """Minutes that every other job may take."""


class Config(Section):
    """The whole experiment."""

    experiment: Experiment = Experiment()
    """What this run is called and where its randomness starts."""
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    """Models by name; only those that an agent uses are touched."""
    games: Annotated[dict[Name, Game], Field(min_length=1)]
    """Games by name."""
    prompts: Prompts = Prompts()
    """Decision prompts: their surface forms are fully crossed within each game."""
    agents: Annotated[dict[Name, Agent], Field(min_length=1)]
    """Players by name; each is a model with a mode, or a scripted strategy."""
    matches: Matches = Matches()
    """Repeated play between the agents."""
    activations: Activations = Activations()
    """The residual stream at the decision position, embedding and every layer."""
    probes: Probes = Probes()
    """Linear probes, one for each layer and target."""
    lens: Lens = Lens()
    """The logit lens at every layer."""
    steering: Steering = Steering()
    """A Nash direction, added or clamped at the decision position."""
    findings: Findings = Findings()
    """How the claims are judged."""
    figures: Figures = Figures()
    """How figures look."""
    resources: Resources = Resources()
    """What jobs ask for; none of it changes a result."""
