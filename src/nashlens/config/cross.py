"""Checks that need more than one key of the config.

Each is a rule for one key or for the keys of a pattern. A rule may read values that were refused
by themselves: then it finds nothing, as that may only follow from them. Nothing here looks outside
the config; that is `nashlens.config.preflight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

from nashlens.config.design import (
    action_labels,
    block_size,
    mirrored_size,
    neutral_histories,
    neutral_labels,
    neutral_prompts,
)
from nashlens.config.doses import dose_name
from nashlens.config.problems import KeyPath, dotted_path, problem_line, show_value, suggestion
from nashlens.config.sections import Config
from nashlens.errors import NashlensError
from nashlens.vocabulary.play import PAIRINGS, STRATEGIES_WITH_P
from nashlens.vocabulary.positions import DECISION, expand_positions
from nashlens.vocabulary.prompts import ACTION_LABELS


class RefusedError(Exception):
    """A rule reads a value that was refused."""


class Place(NamedTuple):
    """A key of the config, as a rule sees it."""

    path: KeyPath
    found: Any
    """The value."""
    owner: Any
    """The section, map or list that holds it."""
    config: Config


Rule = Callable[[Place], str | None]
"""Says what is allowed, or what to do; None where all is well."""
_RULES: list[tuple[str, bool, Rule]] = []


def cross_problems(config: Config) -> list[str]:
    """Check the sections against each other.

    Parameters
    ----------
    config : Config
        Or what of one passed; reading any other value raises `RefusedError`.

    Returns
    -------
    list of str
        Empty where all is well.
    """
    problems = []
    for pattern, shown, find in _RULES:
        for path, found, owner in _places(config, pattern.split(".")):
            try:
                cure = find(Place(path, found, owner, config))
            except RefusedError:
                continue
            if cure:
                problems.append(
                    problem_line(path, found, cure) if shown else f"{dotted_path(path)}: {cure}"
                )
    return problems


def used_models(config: Config) -> list[str]:
    """List the keys of `models` that an agent uses, in their order; the others cost nothing."""
    wanted = {agent.model for agent in config.agents.values()}
    return [name for name in config.models if name in wanted]


def _places(
    here: Any, keys: list[str], path: KeyPath = (), owner: Any = None
) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Find the keys of a pattern, in which * is each entry of a map or list."""
    if not keys:
        yield path, here, owner
    elif here is None:
        # A section that is left out.
        return
    elif keys[0] == "*":
        lists = enumerate(here if isinstance(here, list) else ())
        for name, entry in here.items() if isinstance(here, Mapping) else lists:
            yield from _places(entry, keys[1:], (*path, name), here)
    else:
        try:
            below = getattr(here, keys[0])
        except RefusedError:
            return
        yield from _places(below, keys[1:], (*path, keys[0]), here)


def _rule(*patterns: str, shown: bool = True) -> Callable[[Rule], Rule]:
    """Register a rule for the keys of some patterns; `shown`: its line shows the value found."""

    def register(find: Rule) -> Rule:
        _RULES.extend((pattern, shown, find) for pattern in patterns)
        return find

    return register


def _earlier(at: Place, alike: Callable[[str], bool]) -> str | None:
    """Return the first name before this one in its map for which `alike` holds."""
    names = list(at.owner)
    return next(filter(alike, names[: names.index(at.path[-1])]), None)


def _no_entry(at: Place, section: str, within: str = "") -> str | None:
    entries = getattr(at.config.prompts if within else at.config, section)
    if at.found is None or at.found in entries:
        return None
    return f"{within}{section} has no such entry; {suggestion(at.found, entries)}"


def _exactly_one(owner: Any, first: str, second: str) -> str | None:
    given = [getattr(owner, key) is not None for key in (first, second)]
    if all(given):
        return (
            f"has both {first} and {second}; give exactly one "
            "(in an overlay, set the other one to null)"
        )
    return None if any(given) else f"has neither {first} nor {second}; give exactly one"


@_rule("models.*", "games.*", "prompts.label_sets.*", "agents.*", shown=False)
def _names_differ(at: Place) -> str | None:
    first = _earlier(at, lambda name: name.lower() == str(at.path[-1]).lower())
    if first is None:
        return None
    return (
        f"differs from {first!r} only in case, which some file systems do not see; "
        "choose another name"
    )


@_rule("models.*.parallel")
def _parallel_device(at: Place) -> str | None:
    if at.found != "none" and at.owner.device not in ("auto", "cuda"):
        return f"it needs all visible GPUs, so device must be auto or cuda, not {at.owner.device}"
    return None


@_rule("models.*.parallel")
def _parallel_weights(at: Place) -> str | None:
    if at.found == "tensor" and at.owner.quantization != "none":
        return (
            f"it cannot split weights quantised to {at.owner.quantization}; set one of the two to "
            "none, or parallel to pipeline"
        )
    return None


@_rule("games.*", shown=False)
def _game_payoffs(at: Place) -> str | None:
    return _exactly_one(at.found, "canonical", "payoffs")


@_rule("games.*.actions")
def _game_actions(at: Place) -> str | None:
    return "the two must differ" if at.found and at.found[0] == at.found[1] else None


@_rule("prompts.label_sets.*")
def _labels(at: Place) -> str | None:
    if at.found != ACTION_LABELS:
        return _label_problem(at.found)
    for name, game in at.config.games.items():
        problem = _label_problem(action_labels(game))
        if problem:
            names = show_value(list(action_labels(game)))
            return f"in game {name} they are {names}: {problem}; give games.{name}.actions"
    return None


def _label_problem(labels: Sequence[str]) -> str | None:
    a, b = (label.casefold() for label in labels)
    if any(not label or label != label.strip() for label in labels):
        return "labels must not be empty or have blanks around them"
    if any("\n" in label or "\t" in label for label in labels):
        return "labels must stand on one line, without tabs"
    if a == b:
        return "the two labels must differ in more than case"
    if a.startswith(b) or b.startswith(a):
        return "one label must not begin with the other"
    return None


@_rule("prompts.label_sets.*")
def _labels_differ(at: Place) -> str | None:
    first = _earlier(at, lambda name: sorted(at.owner[name]) == sorted(at.found))
    if first is None:
        return None
    return f"{first!r} has the same labels, and label_maps swaps them already; drop one"


@_rule("prompts.label_sets")
def _neutral_labels(at: Place) -> str | None:
    if neutral_labels(at.config):
        return None
    return "one must be a pair of labels: play and the controlled estimates use no others"


@_rule("agents.*", shown=False)
def _agent_kind(at: Place) -> str | None:
    return _exactly_one(at.found, "model", "strategy")


@_rule("agents.*.model")
def _agent_model(at: Place) -> str | None:
    return _no_entry(at, "models")


@_rule("agents.*.mode")
def _agent_mode(at: Place) -> str | None:
    scripted = at.owner.strategy is not None and at.found != "direct"
    return "a scripted strategy has no mode" if scripted else None


@_rule("agents.*.p")
def _agent_p(at: Place) -> str | None:
    if at.found is not None and at.owner.strategy not in STRATEGIES_WITH_P:
        return f"only strategies {' and '.join(STRATEGIES_WITH_P)} have a p"
    return None


@_rule("agents.*.intervention", shown=False)
def _intervention(at: Place) -> str | None:
    found, agent = at.found, at.owner
    if found is None:
        return None
    if agent.strategy is not None:
        return "a scripted strategy has no residuals to steer; leave it out"
    given = [value is not None for value in (found.value, found.values)]
    if found.kind == "ablate":
        return "ablate takes no value and no values; leave them out" if any(given) else None
    return None if sum(given) == 1 else f"{found.kind} needs either value or values; give one"


@_rule("agents.*.intervention.direction")
def _intervention_direction(at: Place) -> str | None:
    fitted = at.config.steering.directions
    if at.found in fitted:
        return None
    return f"steering.directions does not fit it; allowed: {', '.join(fitted)}"


@_rule("agents.*.intervention.values")
def _dose_names(at: Place) -> str | None:
    agent = str(at.path[1])
    names = [dose_name(agent, value) for value in at.found or ()]
    for i, name in enumerate(names):
        if name in at.config.agents or name in names[:i]:
            return f"an agent {name!r} is there already; rename one"
        if len(name) > 64:
            return f"the agent's name becomes {name!r}, longer than 64; give it a shorter one"
    return None


@_rule("agents", shown=False)
def _agents(at: Place) -> str | None:
    models = [agent for agent in at.found.values() if agent.model is not None]
    if not models:
        return f"found {show_value(list(at.found))}; at least one agent must have a model"
    if all(agent.intervention is not None for agent in models):
        return "every model is steered; at least one agent must have no intervention"
    return None


@_rule("matches", shown=False)
def _meetings(at: Place) -> str | None:
    matches, agents = at.found, at.config.agents.values()
    modes = [agent.mode for agent in agents if agent.model is not None]
    models, scripted = len(modes), len(agents) - len(modes)
    met = [a == b or matches.cross_modes for a, b in permutations(modes, 2)]
    pairs = (
        matches.self_play * models
        + matches.cross_play * sum(met)
        + matches.scripted * 2 * models * scripted
    )
    if pairs or not models:
        return None
    return (
        f"no two agents meet ({models} with a model, {scripted} scripted); turn on "
        "self_play, cross_play (two models or more, of one mode unless cross_modes is on) or "
        "scripted (a scripted agent or more)"
    )


@_rule("matches.skip_games")
def _played_games(at: Place) -> str | None:
    return None if set(at.config.games) - set(at.found) else "no game is left"


@_rule(
    *("matches.skip_games.*", "matches.sequential_games.*"),
    *("steering.train_games.*", "steering.test_games.*", "circuits.games.*"),
    "patching.games.*",
)
def _known_game(at: Place) -> str | None:
    unread = at.path[1] == "sequential_games" and at.config.matches.move_orders == ["simultaneous"]
    return None if unread else _no_entry(at, "games")


@_rule("matches.sequential_games.*")
def _sequential_game(at: Place) -> str | None:
    matches = at.config.matches
    read = matches.move_orders != ["simultaneous"] and at.found in at.config.games
    return "it is one of matches.skip_games" if read and at.found in matches.skip_games else None


@_rule("activations.positions", "probes.positions", "lens.positions")
def _decision_is_a_position(at: Place) -> str | None:
    return None if DECISION in at.found else f"{DECISION} must be one: findings are judged there"


@_rule("activations.positions.*", "probes.positions.*", "lens.positions.*")
def _position(at: Place) -> str | None:
    rounds = at.config.prompts.rounds
    wanted = set(expand_positions([at.found], rounds))
    if not wanted:
        return f"no prompt has it: the last of prompts.rounds has {max(rounds) - 1} before it"
    # The decision is always extracted: the rule above says so.
    extracted = expand_positions([DECISION, *at.config.activations.positions], rounds)
    return None if wanted <= set(extracted) else "add it to activations.positions, which lacks it"


@_rule("steering.positions")
def _steering_position(at: Place) -> str | None:
    if at.found in ("last", "all"):
        return None
    if expand_positions([at.found], at.config.prompts.rounds) not in ([at.found], []):
        return "name one position of them, from which on every token is steered"
    return _position(at)


@_rule(
    *(f"matches.{key}repetitions" for key in ("", "scripted_", "sequential_")),
    "agents.*.repetitions",
    *(f"agents.*.{kind}.repetitions" for kind in PAIRINGS),
)
def _whole_blocks(at: Place) -> str | None:
    size = block_size(at.config)
    if at.found is None or at.found % size == 0:
        return None
    return (
        f"allowed: multiples of {size}, as matches come in blocks of every label map and option"
        " order (prompts.label_maps, prompts.option_orders)"
    )


@_rule("matches.label_sets.*")
def _known_label_set(at: Place) -> str | None:
    return _no_entry(at, "label_sets", "prompts.")


@_rule("probes.folds")
def _folds(at: Place) -> str | None:
    histories = sum(neutral_histories(at.config, game) for game in at.config.games)
    if at.found <= histories or not neutral_labels(at.config):
        return None
    return (
        f"allowed: at most {histories}, as there are that many histories in neutral labels "
        "(prompts.histories of each game) and none stands in two folds"
    )


@_rule("steering.test_games.*")
def _test_game(at: Place) -> str | None:
    if at.found in at.config.steering.train_games:
        return "it is a training game too; directions are tested on other games"
    return None


@_rule(*("steering.train_games.*", "steering.test_games.*", "circuits.games.*", "patching.games.*"))
def _nash_game(at: Place) -> str | None:
    if nash_actions(at.config, at.found) != set():
        return None
    uses = {
        "steering": "nothing can be steered towards it",
        "patching": "no exchange of payoffs could flip it",
    }
    use = uses.get(str(at.path[0]), "no head could compute it")
    return (
        "it has no Nash action (one that every equilibrium plays for sure), "
        f"so {use}; choose a game that has one"
    )


@_rule("steering.train_games")
def _twonash_actions(at: Place) -> str | None:
    found = [nash_actions(at.config, name) for name in at.found]
    actions = {action for of_game in found for action in of_game or ()}
    if not all(found) or len(actions) > 1:
        return None
    return (
        f"the Nash action is action {actions.pop()} in all of them; add a game where it is "
        "the other one, else the direction is that of an action"
    )


@_rule("steering.train_label_sets.*", "steering.train_templates.*")
def _trained_form(at: Place) -> str | None:
    name = str(at.path[1]).removeprefix("train_")
    there = getattr(at.config.prompts, name)
    if at.found in there:
        return None
    return f"prompts.{name} has no such entry; {suggestion(at.found, there)}"


@_rule("steering.alphas")
def _alphas(at: Place) -> str | None:
    if 0.0 not in at.found:
        return "0 must be one of them, as the baseline"
    return "at least one must differ from 0" if len(at.found) < 2 else None


@_rule("steering.prompts", "circuits.prompts")
def _enough_prompts(at: Place) -> str | None:
    steered = at.path[0] == "steering"
    games = at.owner.test_games if steered else at.owner.games
    counts = {name: neutral_prompts(at.config, name) for name in games if name in at.config.games}
    if not neutral_labels(at.config):
        return None
    fewest = min(counts, key=lambda name: counts[name], default=None)
    if fewest is not None and at.found > counts[fewest]:
        return (
            f"allowed: at most {counts[fewest]}, the prompts of {fewest} in neutral labels "
            "(label maps x option orders x prompts.rounds x its histories)"
        )
    least = mirrored_size(at.config) * (1 if steered else 2)
    if at.found >= least:
        return None
    what = "a history" if steered else "two histories, to choose heads and to test them"
    return (
        f"allowed: at least {least}, the prompts of {what} (label maps x option orders, each with "
        "its mirror image)"
    )


@_rule("patching.pairs")
def _enough_pairs(at: Place) -> str | None:
    least = block_size(at.config)
    if at.found >= least:
        return None
    return f"allowed: at least {least}, the pairs of one block (label maps x option orders)"


@_rule("patching.groups.*", "patching.heads.*")
def _patched_group(at: Place) -> str | None:
    rounds = at.config.prompts.rounds
    if at.found != "rounds" and not at.found.startswith("round_last"):
        return None
    if expand_positions([at.found], rounds):
        return None
    return f"no prompt has it: the last of prompts.rounds has {max(rounds) - 1} before it"


@_rule("circuits.games.*")
def _halves_for_circuits(at: Place) -> str | None:
    if at.found not in at.config.games or not neutral_labels(at.config):
        return None
    if neutral_histories(at.config, at.found) >= 2:
        return None
    return (
        "it must have two histories in neutral labels or more, as heads are chosen on some and "
        f"tested on others; set games.{at.found}.histories or prompts.histories"
    )


def nash_actions(config: Config, name: str) -> set[int] | None:
    """Return the Nash actions of a game's seats; None where the game itself is wrong."""
    # Here, as the config is read by many jobs that never build a game.
    from nashlens.games import build_games, nash_action

    entry = config.games.get(name)
    if entry is None or (entry.canonical is None) == (entry.payoffs is None):
        return None
    spec = {key: getattr(entry, key) for key in ("canonical", "payoffs", "actions", "title")}
    given = {key: value for key, value in spec.items() if value is not None}
    try:
        # Variants have the same Nash actions.
        games = build_games({name: given | {"variants": 0}}, config.experiment.seed)
    except NashlensError:
        return set()
    actions = {nash_action(game, seat) for game in games for seat in ("row", "column")}
    return {action for action in actions if action is not None}
