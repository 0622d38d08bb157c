"""Checks that need more than one key of the config.

Each check yields problems with the keys that they hang on, so that `validate` can leave out a
problem that only follows from another one. Nothing here looks outside the config; that is
`nashlens.config.preflight`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, permutations

from nashlens.config.problems import Path, dotted, line, suggestion
from nashlens.config.sections import Agent, Config, Game
from nashlens.errors import NashlensError

STAND_IN = "stand-in"
"""Name of the entry that `validate` puts into a map whose own entries were all refused."""


@dataclass(frozen=True)
class Problem:
    """One problem: its line, and the paths of the keys that it hangs on."""

    line: str
    depends: tuple[Path, ...]


def cross_problems(config: Config) -> list[Problem]:
    """Check the sections against each other.

    Parameters
    ----------
    config : Config
        Each key of which is valid alone.

    Returns
    -------
    list of Problem
        In the order of the sections; empty where all is well.
    """
    checks = (_names, _models, _games, _labels, _agents, _matches, _probes, _steering, _circuits)
    return [problem for check in checks for problem in check(config)]


def used_models(config: Config) -> list[str]:
    """List the models that an agent uses; the others cost nothing.

    Parameters
    ----------
    config : Config

    Returns
    -------
    list of str
        Keys of `models`, in the order of the config.
    """
    wanted = {agent.model for agent in config.agents.values()}
    return [name for name in config.models if name in wanted]


def _at(path: Path, found: object, allowed: str, *depends: Path) -> Problem:
    return Problem(line(path, found, allowed), (path, *depends))


def _no_entry(section: str, name: str, known: Iterable[str]) -> str:
    entries = [entry for entry in known if entry != STAND_IN]
    return f"{section} has no such entry; {suggestion(name, entries)}"


def _names(config: Config) -> Iterator[Problem]:
    maps: tuple[tuple[Path, Iterable[str]], ...] = (
        (("models",), config.models),
        (("games",), config.games),
        (("prompts", "label_sets"), config.prompts.label_sets),
        (("agents",), config.agents),
    )
    for path, names in maps:
        for first, second in combinations(names, 2):
            if first.lower() == second.lower():
                yield Problem(
                    f"{dotted((*path, second))}: differs from {first!r} only in case, "
                    "which some file systems do not see; choose another name",
                    ((*path, first), (*path, second)),
                )


def _models(config: Config) -> Iterator[Problem]:
    for name, model in config.models.items():
        path = ("models", name, "parallel")
        if model.parallel != "none" and model.device not in ("auto", "cuda"):
            yield _at(
                path,
                model.parallel,
                f"it needs all visible GPUs, so device must be auto or cuda, not {model.device}",
                ("models", name, "device"),
            )
        if model.parallel == "tensor" and model.quantization != "none":
            yield _at(
                path,
                model.parallel,
                f"it cannot split weights quantised to {model.quantization}; set one of the two to "
                "none, or parallel to pipeline",
                ("models", name, "quantization"),
            )


def _games(config: Config) -> Iterator[Problem]:
    for name, game in config.games.items():
        path = ("games", name)
        if (game.canonical is None) == (game.payoffs is None):
            yield Problem(
                f"{dotted(path)}: {_both('canonical', 'payoffs', game.canonical is not None)}",
                (path,),
            )
        if game.actions is not None and game.actions[0] == game.actions[1]:
            yield _at((*path, "actions"), game.actions, "the two must differ")


def _both(first: str, second: str, given: bool) -> str:
    if given:
        return (
            f"has both {first} and {second}; give exactly one "
            "(in an overlay, set the other one to null)"
        )
    return f"has neither {first} nor {second}; give exactly one"


def _labels(config: Config) -> Iterator[Problem]:
    sets = config.prompts.label_sets
    for name, labels in sets.items():
        path = ("prompts", "label_sets", name)
        a, b = (label.casefold() for label in labels)
        if any(not label or label != label.strip() for label in labels):
            yield _at(path, labels, "labels must not be empty or have blanks around them")
        elif any("\n" in label or "\t" in label for label in labels):
            yield _at(path, labels, "labels must stand on one line, without tabs")
        elif a == b:
            yield _at(path, labels, "the two labels must differ in more than case")
        elif a.startswith(b) or b.startswith(a):
            yield _at(path, labels, "one label must not begin with the other")
    for first, second in combinations(sets, 2):
        if sorted(sets[first]) == sorted(sets[second]):
            yield _at(
                ("prompts", "label_sets", second),
                sets[second],
                f"{first!r} has the same labels, and label_maps swaps them already; drop one",
                ("prompts", "label_sets", first),
            )


def _agents(config: Config) -> Iterator[Problem]:
    for name, agent in config.agents.items():
        path = ("agents", name)
        if (agent.model is None) == (agent.strategy is None):
            yield Problem(
                f"{dotted(path)}: {_both('model', 'strategy', agent.model is not None)}", (path,)
            )
        yield from _agent_keys(config, path, agent)
    if not any(agent.model is not None for agent in config.agents.values()):
        yield _at(("agents",), list(config.agents), "at least one agent must have a model")


def _agent_keys(config: Config, path: Path, agent: Agent) -> Iterator[Problem]:
    if agent.model is not None and agent.model not in config.models:
        yield _at(
            (*path, "model"),
            agent.model,
            _no_entry("models", agent.model, config.models),
            ("models", agent.model),
        )
    if agent.strategy is not None and agent.mode != "direct":
        yield _at(
            (*path, "mode"), agent.mode, "a scripted strategy has no mode", (*path, "strategy")
        )
    if agent.p is not None and agent.strategy not in ("RANDOM", "TFT_ERRORS"):
        allowed = "only strategies RANDOM and TFT_ERRORS have a p"
        yield _at((*path, "p"), agent.p, allowed, (*path, "strategy"))


def _matches(config: Config) -> Iterator[Problem]:
    matches = config.matches
    modes = [agent.mode for agent in config.agents.values() if agent.model is not None]
    models, scripted = len(modes), len(config.agents) - len(modes)
    met = [a == b or matches.cross_modes for a, b in permutations(modes, 2)]
    pairs = (
        matches.self_play * models
        + matches.cross_play * sum(met)
        + matches.scripted * 2 * models * scripted
    )
    if models and not pairs:
        yield Problem(
            f"matches: no two agents meet ({models} with a model, {scripted} scripted); turn on "
            "self_play, cross_play (two models or more, of one mode unless cross_modes is on) or "
            "scripted (a scripted agent or more)",
            (("matches",), ("agents",)),
        )
    yield from _match_games(config)


def _match_games(config: Config) -> Iterator[Problem]:
    matches = config.matches
    played = [name for name in config.games if name not in matches.skip_games]
    if not played:
        yield _at(("matches", "skip_games"), matches.skip_games, "no game is left", ("games",))
    names: list[tuple[Path, str]] = [
        (("matches", "skip_games", i), name) for i, name in enumerate(matches.skip_games)
    ]
    if matches.sequential_games != "all" and matches.move_orders != ["simultaneous"]:
        names += [
            (("matches", "sequential_games", i), name)
            for i, name in enumerate(matches.sequential_games)
        ]
    for path, name in names:
        if name not in config.games:
            yield _at(path, name, _no_entry("games", name, config.games), ("games", name))
        elif path[1] == "sequential_games" and name not in played:
            yield _at(path, name, "it is one of matches.skip_games", ("matches", "skip_games"))


def _surfaces(config: Config) -> int:
    prompts = config.prompts
    return (
        len(prompts.templates)
        * len(prompts.label_sets)
        * len(prompts.label_maps)
        * len(prompts.option_orders)
    )


def _probes(config: Config) -> Iterator[Problem]:
    histories = len(config.games) * _surfaces(config) * config.prompts.histories
    if config.probes.folds > histories:
        yield _at(
            ("probes", "folds"),
            config.probes.folds,
            f"allowed: at most {histories}, as there are that many histories "
            "(games x surface forms x prompts.histories) and none stands in two folds",
            ("games",),
            ("prompts",),
        )


def _steering(config: Config) -> Iterator[Problem]:
    steering, path = config.steering, ("steering",)
    for key in ("train_games", "test_games"):
        for i, name in enumerate(getattr(steering, key)):
            if name not in config.games:
                yield _at(
                    (*path, key, i),
                    name,
                    _no_entry("games", name, config.games),
                    ("games", name),
                )
    for i, name in enumerate(steering.test_games):
        if name in steering.train_games:
            yield _at(
                (*path, "test_games", i),
                name,
                "it is a training game too; directions are tested on other games",
                (*path, "train_games"),
            )
    yield from _nash_actions(config)
    if 0.0 not in steering.alphas:
        yield _at((*path, "alphas"), steering.alphas, "0 must be one of them, as the baseline")
    elif len(steering.alphas) < 2:
        yield _at((*path, "alphas"), steering.alphas, "at least one must differ from 0")
    yield from _enough_prompts(config, "steering", steering.prompts)


def _circuits(config: Config) -> Iterator[Problem]:
    for i, name in enumerate(config.circuits.games):
        path, game = ("circuits", "games", i), config.games.get(name)
        if game is None:
            yield _at(path, name, _no_entry("games", name, config.games), ("games", name))
            continue
        known = (game.canonical is None) != (game.payoffs is None)
        if known and not _nash_of(name, game, config.experiment.seed):
            yield _at(
                path,
                name,
                "it has no Nash action (one that every equilibrium plays for sure), "
                "so no head could compute it; choose a game that has one",
                ("games", name),
            )
    yield from _enough_prompts(config, "circuits", config.circuits.prompts)
    matches = _surfaces(config) // len(config.prompts.label_maps) * config.prompts.histories
    if matches < 2:
        yield _at(
            ("prompts", "histories"),
            config.prompts.histories,
            "with one template, label set and option order there must be two histories or more: "
            "heads are chosen on some matches and tested on others (circuits)",
            ("prompts",),
        )


def _enough_prompts(config: Config, section: str, wanted: int) -> Iterator[Problem]:
    available = _surfaces(config) * config.prompts.histories * len(config.prompts.rounds)
    if wanted > available:
        yield _at(
            (section, "prompts"),
            wanted,
            f"allowed: at most {available}, the prompts of one game "
            "(surface forms x prompts.histories x prompts.rounds)",
            ("prompts",),
        )


def _nash_actions(config: Config) -> Iterator[Problem]:
    trained: set[int] = set()
    known = True
    for key in ("train_games", "test_games"):
        for i, name in enumerate(getattr(config.steering, key)):
            game = config.games.get(name)
            if game is None or (game.canonical is None) == (game.payoffs is None):
                known = False
                continue
            actions = _nash_of(name, game, config.experiment.seed)
            if not actions:
                yield _at(
                    ("steering", key, i),
                    name,
                    "it has no Nash action (one that every equilibrium plays for sure), "
                    "so nothing can be steered towards it; choose a game that has one",
                    ("games", name),
                )
            if key == "train_games":
                known = known and bool(actions)
                trained |= actions
    if known and len(trained) == 1:
        yield _at(
            ("steering", "train_games"),
            config.steering.train_games,
            f"the Nash action is action {trained.pop()} in all of them; add a game where it is "
            "the other one, else the direction is that of an action",
            ("games",),
        )


def _nash_of(name: str, game: Game, seed: int) -> set[int]:
    """Return the Nash actions that the game's seats have; variants have the same ones."""
    # Here, as the config is read by many jobs that never build a game.
    from nashlens.games import build_games, nash_action

    spec = game.model_copy(update={"variants": 0}).model_dump(exclude_none=True)
    try:
        games = build_games({name: spec}, seed)
    except NashlensError:
        return set()
    actions = {nash_action(g, seat) for g in games for seat in ("row", "column")}
    return {action for action in actions if action is not None}
