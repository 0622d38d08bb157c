"""The configuration's only definition: one pydantic model a section.

Every field carries its description, default and bounds; the JSON schema in `workflow/schemas/`
is generated from here. Sections are in the order of `config.yaml`; those of prompts and play are
in `playing`, and the kinds of values in `values`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from nashlens.config.playing import (
    AgentConfig,
    MatchesConfig,
    ModesConfig,
    PromptsConfig,
    QuizConfig,
)
from nashlens.config.values import (
    MOST_ENTRIES,
    AtLeastTwo,
    Boolean,
    Count,
    Device,
    Distinct,
    DistinctOrEmpty,
    Dose,
    Fraction,
    Group,
    InnerFraction,
    Integer,
    Layer,
    Layers,
    Megabytes,
    Minutes,
    Name,
    Number,
    Pair,
    Path,
    Payoff,
    Position,
    Section,
    Source,
    Text,
    Title,
)
from nashlens.vocabulary.edits import DIRECTION_KINDS
from nashlens.vocabulary.figures import FIGURES
from nashlens.vocabulary.pairs import PAIR_KINDS
from nashlens.vocabulary.patching import DIRECTIONS, SITES
from nashlens.vocabulary.play import CANONICAL_GAMES
from nashlens.vocabulary.positions import DECISION
from nashlens.vocabulary.prompts import TEMPLATES
from nashlens.vocabulary.targets import TARGETS


def _check_experiment(value: str) -> str:
    # What lies beside the experiments.
    if value.lower() in ("models", "compare", "readme.md"):
        raise ValueError(f"results/{value} is taken: choose another name")
    return value


def _list_targets(value: list[str] | Literal["all"]) -> list[str]:
    return list(TARGETS) if value == "all" else list(value)


class ExperimentConfig(Section):
    """What this run is called and where its randomness starts."""

    name: Annotated[Name, AfterValidator(_check_experiment)] = "default"
    """Results go to results/NAME/; experiments never overwrite one another."""
    seed: Annotated[Integer, Field(ge=0, lt=2**63)] = 20260427
    """Root of every random number; each use spawns its own stream by a stable name."""
    versions: Literal["keep", "rerun"] = "keep"
    """What becomes of results once a package that computed them has another version."""


class ModelConfig(Section):
    """One language model."""

    source: Source
    """package:DIST/FILE.gguf, gguf:PATH, path:DIR, hub:ID@REVISION, planted:NAME or shape:NAME."""
    base: Name | None = None
    """The model of this config that it was trained from: claim C1 compares the two."""
    adapter: Text | None = None
    """Folder of a PEFT LoRA adapter, which is merged into the source's weights."""
    chat_template: Literal["own", "none"] = "own"
    """own, or none: prompts are then plain paragraphs, as for a model that has no template."""
    tokenizer: Text | None = None
    """Folder of the tokenizer that a shape: source gets; the default is one token a word."""
    family: Name | None = None
    """Models that differ only in size share one; the default is the architecture's name."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Weights and activations; auto is bfloat16 on a GPU and float32 on a CPU."""
    quantization: Literal["none", "int8", "nf4"] = "none"
    """Weights through bitsandbytes; the unembedding stays unquantised."""
    device: Device = "auto"
    """auto (a GPU where there is one), cpu, cuda or cuda:N."""
    parallel: Literal["none", "pipeline", "tensor"] = "none"
    """Over all visible GPUs: pipeline spreads layers, for memory; tensor splits each, for speed."""
    gpus: Annotated[Integer, Field(ge=0, le=64)] = 0
    """GPUs that each of this model's jobs asks the scheduler for."""
    mem_mb: Megabytes | None = None
    """MB of memory of each of this model's jobs; the default is resources.model_mem_mb."""


class GameConfig(Section):
    """One two-player 2x2 game: a canonical one by name, or your own payoffs."""

    canonical: Literal[CANONICAL_GAMES] | None = None  # type: ignore[valid-type]
    """A game of the catalogue; leave out where payoffs are given."""
    payoffs: Pair[Pair[Pair[Payoff]]] | None = None
    """payoffs[row action][column action] = [row's payoff, column's payoff]."""
    actions: Pair[Title] | None = None
    """Names of the two actions; agents see them where a label set is `actions`."""
    title: Title | None = None
    """Name in figures; the named template shows it to the agents too."""
    variants: Annotated[Integer, Field(ge=0, le=100)] = 0
    """Further payoff variants, drawn by seed: the order of outcomes and the conflict stay."""
    histories: Count | None = None
    """Histories of this game's prompts; null for prompts.histories."""


class ActivationsConfig(Section):
    """The residual stream at some positions of a prompt, embedding and every layer."""

    positions: Distinct[Position] = [DECISION]
    """decision, options, payoffs and rounds, or single ones as round_last; decision must be one."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """How shards are stored; bfloat16 is kept as its uint16 bits."""
    shard_prompts: Annotated[Integer, Field(ge=1, le=100000)] = 64
    """Prompts a shard; the unit of resuming."""


class ProbesConfig(Section):
    """Linear probes, one for each layer and target."""

    targets: Annotated[
        Literal["all"] | Distinct[Literal[TARGETS]],  # type: ignore[valid-type]
        AfterValidator(_list_targets),
    ] = list(TARGETS)
    """What to decode: all, or a list."""
    positions: Distinct[Position] = [DECISION]
    """Where to decode it: any of activations.positions; the time grows with their number."""
    layers: Layers = [0, 1, 0.2, 0.4, 0.6, 0.8, -4, -2, -1]
    """0 is the embedding, l the residual after block l."""
    C: Distinct[Annotated[Number, Field(ge=1e-12, le=1e6)]] = [0.0003, 0.003, 0.03]
    """Inverse strengths of the L2 penalty; the best is chosen inside each training set."""
    folds: Annotated[Integer, Field(ge=2, le=100)] = 5
    """Cross-validation folds; a match is never in two of them."""
    permutations: Count = 100
    """Label permutations of each control; below 100 the smallest p-value says little."""
    random_weights: Annotated[Integer, Field(ge=0, le=1000000)] = 96
    """Prompts that the same architecture with random weights is probed on; 0 for none."""
    device: Device = "cpu"
    """Where probes are fitted: cpu, auto (a GPU where there is one), cuda or cuda:N."""


class LensConfig(Section):
    """The logit lens: final norm and the labels' rows of the unembedding, at every layer."""

    positions: Distinct[Position] = [DECISION]
    """Where to read: any of activations.positions; the decision must be one."""
    min_label_mass: Fraction = 0.01
    """Layers whose median absolute label mass is smaller are shown as unreliable."""
    tuned_tokens: Annotated[Integer, Field(ge=256, le=1000000)] = 2048
    """Tokens of the bundled text, at most, that the tuned lens is trained and tested on."""


class SteeringConfig(Section):
    """Directions of three kinds: added, clamped and ablated, at one layer or at several."""

    directions: Distinct[Literal[DIRECTION_KINDS]] = ["abstract", "label", "published"]  # type: ignore[valid-type]
    """Kinds: abstract (the Nash action), label (the word for it), published (fixed words)."""
    fit: Literal["means", "probe"] = "means"
    """A difference of means, or the normal of a logistic probe."""
    train_games: Distinct[Name] = ["prisoners_dilemma", "harmony"]
    """Games whose prompts the directions are fitted on; their Nash actions must differ."""
    concept_games: DistinctOrEmpty[Name] | None = None
    """Further games for the concepts (cooperation, gains, expected); null: all but test games."""
    train_label_sets: Distinct[Name] | None = None
    """Label sets likewise; the default is all neutral ones but the last by name."""
    train_templates: Distinct[Literal[TEMPLATES]] | None = None  # type: ignore[valid-type]
    """Templates likewise; the default is all, or from three on, all but the last by name."""
    test_games: Distinct[Name] = ["deadlock", "concord"]
    """Games that are steered; none may be a training game."""
    layers: Layers = [1, 0.5, 0.75, -2]
    """Blocks after which the residual is changed; negative counts from the last block (-1)."""
    joint: DistinctOrEmpty[AtLeastTwo[Layer]] = [[1, 2, 3]]
    """Lists of blocks after each of which it is changed in the same pass."""
    positions: Literal["last", "all"] | Position = "last"
    """Where: the decision, every token, or all tokens from one of activations.positions on."""
    alphas: Distinct[Dose] = [-0.5, -0.25, 0.0, 0.25, 0.5]
    """Lengths to add along the unit direction; 0 must be one."""
    units: Literal["norms", "absolute"] = "norms"
    """Of the lengths: mean residual norms of the layer, or the residual's own."""
    clamps: AtLeastTwo[Dose] = [-4.0, -2.0, 0.0, 2.0, 4.0]
    """Values to clamp the projection to: standard deviations around its training mean."""
    ablate: Boolean = False
    """Whether every direction is also removed (projection 0), the random ones as the control."""
    random_directions: Annotated[Integer, Field(ge=1, le=1000)] = 19
    """Random directions, the control, at the same places with the extreme doses."""
    prompts: Annotated[Integer, Field(ge=1, le=100000)] = 32
    """Prompts of each test game, in whole blocks: a multiple of label maps x option orders."""


class EverywhereConfig(Section):
    """Heads and MLPs that are ablated together at all positions."""

    prompts: Annotated[Integer, Field(ge=4, le=100000)] = 8
    """Of circuits.prompts, those of each game that test; half as many choose by a gradient."""
    random_groups: Count = 2
    """Groups of other components, as the control."""


class CircuitsConfig(Section):
    """Heads and MLPs, ablated: each by itself, and chosen groups."""

    games: Distinct[Name] = ["deadlock", "concord"]
    """Games whose decisions are looked at; each has a Nash action."""
    prompts: Annotated[Integer, Field(ge=4, le=100000)] = 32
    """Prompts of each game; a quarter of their histories choose groups, the others test them."""
    replacement: Literal["mean", "zero"] = "mean"
    """What replaces a component's output: its mean over the prompts that choose, or zero."""
    group: Count = 5
    """Heads of a group, those whose ablation costs the Nash action the most."""
    mlps: Count = 2
    """MLPs of a group, chosen likewise."""
    random_groups: Count = 20
    """Groups of other heads of the same layers, and of MLPs of layers nearby, as the control."""
    everywhere: EverywhereConfig | None = EverywhereConfig()
    """Ablation at all positions; null leaves it out."""


class PatchingConfig(Section):
    """Activation patching between prompts that differ in one thing, aligned token by token."""

    games: Distinct[Name] = ["deadlock"]
    """Games whose decisions are looked at; each has a Nash action."""
    kinds: Distinct[Literal[PAIR_KINDS]] = ["payoffs", "history"]  # type: ignore[valid-type]
    """What the two prompts of a pair differ in: payoffs, history, labels, order."""
    pairs: Annotated[Integer, Field(ge=4, le=100000)] = 16
    """Pairs of each kind and game, at most, in whole blocks, each with its mirror image."""
    directions: Distinct[Literal[DIRECTIONS]] = ["destroy"]  # type: ignore[valid-type]
    """destroy: the other prompt's values into the design's own; restore: the other way round."""
    sites: Distinct[Literal[SITES]] = ["residual"]  # type: ignore[valid-type]
    """What is patched: residual, attention (what a block's attention adds), mlp."""
    layers: Layers = [0.33, 0.67]
    """Blocks after which, or in which, it is patched; negative counts from the last block (-1)."""
    groups: Distinct[Group] = ["payoffs", "rounds", "options", "question", "answer", "decision"]
    """The tokens that are patched together."""
    heads: DistinctOrEmpty[Group] = []
    """Groups of tokens at which every attention head is patched by itself; [] for none."""
    paths: DistinctOrEmpty[Path] = []
    """Sender/receiver/group: the sender's output there is changed for the receiver alone."""
    screen: Count | None = None
    """Patches that are exact, those with the largest estimates by gradients; null for all."""


class AttributionConfig(Section):
    """Who writes the answer: direct logit attribution, and what the late components cause."""

    games: Distinct[Name] = ["prisoners_dilemma"]
    """Games whose decisions are looked at; in each, a Nash action is not the prosocial one."""
    prompts: Annotated[Integer, Field(ge=4, le=100000)] = 48
    """Prompts of each game; some of their histories choose the components, the others test them."""
    random_groups: Count = 10
    """Groups of as many other components of the same layers, as the control."""
    orders: Count = 3
    """Random orders in which the chosen components are ablated one after another, too."""
    pairs: Annotated[Integer, Field(ge=0, le=100000)] = 8
    """Prompts of each game that exchange components with one without a conflict; 0 for none."""


class SpikesConfig(Section):
    """Spike-ins: known effects put into the model, to see whether the claims find them."""

    prompts: Annotated[Integer, Field(ge=4, le=100000)] = 8
    """Prompts of each game with a conflict, at most, that are run, in whole blocks."""
    layers: Layers = [-4, -2]
    """Blocks after which an override turns and a Nash code is written; -1 is the last."""
    logits: Distinct[Dose] = [0.1, 0.3, 1.0]
    """Strengths of an override, and of the same by word only, in logits of the lens."""
    deviations: Distinct[Dose] = [0.1, 0.3, 3.0]
    """Strengths of a history and a Nash code, in standard deviations along their direction."""
    draws: Annotated[Integer, Field(ge=1, le=10000)] = 10
    """Draws of histories, over which power is estimated."""
    resamples: Annotated[Integer, Field(ge=100, le=1000000)] = 200
    """Bootstrap resamples of every interval of a draw."""


class FindingsConfig(Section):
    """How the claims are judged."""

    confidence: InnerFraction = 0.95
    """Coverage of every interval."""
    bootstrap: Annotated[Integer, Field(ge=100, le=1000000)] = 1000
    """Bootstrap resamples, clustered on matches."""
    q_value: InnerFraction = 0.05
    """False-discovery rate over the family of claims."""
    late_fraction: InnerFraction = 0.25
    """Share of the layers that counts as late, from the top."""


class FigureStyleConfig(Section):
    """Overrides for one figure."""

    palette: Text | None = None
    """A seaborn or matplotlib palette in place of figures.palette."""
    width: Annotated[Number, Field(gt=1, le=40)] | None = None
    """Width in inches."""


class FiguresConfig(Section):
    """How figures look."""

    formats: Distinct[Literal["png", "svg", "pdf"]] = ["png", "svg"]
    """File formats; bitmap and vector."""
    dpi: Annotated[Integer, Field(ge=50, le=1200)] = 200
    """Bitmap resolution."""
    palette: Text = "colorblind"
    """Seaborn palette of every figure."""
    styles: dict[Literal[FIGURES], FigureStyleConfig] = {}  # type: ignore[valid-type]
    """Overrides by figure name; changing one redraws only that figure."""


class ResourcesConfig(Section):
    """What jobs ask for; none of it changes a result."""

    parts: Annotated[Integer, Field(ge=1, le=100)] = 2
    """Jobs that a model's play and its activations are each split into; no result depends on it."""
    threads: Annotated[Integer, Field(ge=1, le=1024)] = 1
    """CPU threads of a model's job."""
    batch_tokens: Annotated[Integer, Field(ge=64, le=10**7)] = 4096
    """Tokens that one forward pass packs at most; it changes last digits of readings, not play."""
    model_mem_mb: Megabytes | None = None
    """MB of memory of a model's job; null asks for what it takes by arithmetic."""
    model_runtime: Minutes = 240
    """Minutes that a model's job may take."""
    gpu_gb: Annotated[Number, Field(gt=0, le=10000)] | None = None
    """GB of memory of each GPU that jobs get; null looks at the GPUs here, if there are any."""
    light_mem_mb: Megabytes | None = None
    """MB of memory of every other job; null asks for what it takes by arithmetic."""
    light_runtime: Minutes = 30
    """Minutes that every other job may take."""


class Config(Section):
    """The whole experiment."""

    experiment: ExperimentConfig = ExperimentConfig()
    """What this run is called and where its randomness starts."""
    models: Annotated[dict[Name, ModelConfig], Field(min_length=1, max_length=MOST_ENTRIES)]
    """Models by name; only those that an agent uses are touched."""
    games: Annotated[dict[Name, GameConfig], Field(min_length=1, max_length=MOST_ENTRIES)]
    """Games by name; at most 200, as each is a panel of a figure: more payoffs are `variants`."""
    prompts: PromptsConfig = PromptsConfig()
    """Decision prompts: each is asked in every label map and option order."""
    agents: Annotated[dict[Name, AgentConfig], Field(min_length=1, max_length=MOST_ENTRIES)]
    """Players by name; each is a model with a mode, or a scripted strategy."""
    modes: ModesConfig = ModesConfig()
    """How agents come to their decisions, where they write before they decide."""
    matches: MatchesConfig = MatchesConfig()
    """Repeated play between the agents."""
    quiz: QuizConfig = QuizConfig()
    """Forced choices on the rules and the history."""
    activations: ActivationsConfig = ActivationsConfig()
    """The residual stream at some positions of a prompt, embedding and every layer."""
    probes: ProbesConfig = ProbesConfig()
    """Linear probes, one for each layer and target."""
    lens: LensConfig = LensConfig()
    """The logit lens at every layer."""
    steering: SteeringConfig = SteeringConfig()
    """A Nash direction, added, clamped or ablated."""
    circuits: CircuitsConfig | None = CircuitsConfig()
    """Attention heads and MLPs, ablated one by one and in groups; null leaves them out."""
    patching: PatchingConfig | None = PatchingConfig()
    """Patching between counterfactual prompts; null leaves it out."""
    attribution: AttributionConfig | None = AttributionConfig()
    """What each component writes, and what the late ones cause; null leaves it out."""
    spikes: SpikesConfig | None = SpikesConfig()
    """Known effects put into the models; null leaves them out."""
    findings: FindingsConfig = FindingsConfig()
    """How the claims are judged."""
    figures: FiguresConfig = FiguresConfig()
    """How figures look."""
    resources: ResourcesConfig = ResourcesConfig()
    """What jobs ask for; none of it changes a result."""
