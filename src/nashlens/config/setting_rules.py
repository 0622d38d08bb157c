"""Rules between the keys of models, games, prompts, agents and matches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import permutations

from nashlens.config.design import (
    MOST_PROMPTS,
    action_labels,
    block_size,
    neutral_labels,
    prompt_count,
)
from nashlens.config.doses import dose_name
from nashlens.config.problems import show_value
from nashlens.config.rules import (
    Place,
    earlier,
    exactly_one,
    no_entry,
    rule,
)
from nashlens.vocabulary.play import MODES, PAIR, PAIRINGS, STRATEGIES_WITH_P
from nashlens.vocabulary.prompts import ACTION_LABELS

LONGEST_AGENT = 48
MOST_JOBS = 5000
_SIGNS = re.compile(r"[._-]")
# Snakemake takes such a value of a wildcard for one that grows without end.
_PERIODIC = re.compile(r"(.+?)\1{19}")


@rule("models.*", "games.*", "prompts.label_sets.*", "agents.*", shown=False)
def _names_differ(at: Place) -> str | None:
    first = earlier(at, lambda name: name.lower() == str(at.path[-1]).lower())
    if first is None:
        return None
    return (
        f"differs from {first!r} only in case, which some file systems do not see; "
        "choose another name"
    )


@rule("models.*", "agents.*", shown=False)
def _names_look_different(at: Place) -> str | None:
    name = str(at.path[-1])
    first = earlier(
        at, lambda other: other != name and _SIGNS.sub("-", other) == _SIGNS.sub("-", name)
    )
    if first is None:
        return None
    return f"differs from {first!r} only in '.', '-' and '_'; choose another name"


@rule("agents.*", shown=False)
def _agent_name(at: Place) -> str | None:
    name = str(at.path[-1])
    if PAIR in name:
        return f"{PAIR!r} joins the names of two agents that meet; choose a name without it"
    if name.lower() in (*MODES, *PAIRINGS):
        return "this is the name of a mode or a kind of match; choose another name"
    if len(name) > LONGEST_AGENT:
        return (
            f"it has {len(name)} characters, and two agents' names become one file's name; "
            f"allowed: at most {LONGEST_AGENT}"
        )
    return None


@rule("models.*", "agents.*", shown=False)
def _periodic_name(at: Place) -> str | None:
    return (
        "it repeats itself 20 times; choose another name"
        if _PERIODIC.search(str(at.path[-1]))
        else None
    )


@rule("models.*.parallel")
def _parallel_device(at: Place) -> str | None:
    if at.found != "none" and at.owner.device not in ("auto", "cuda"):
        return f"it needs all visible GPUs, so device must be auto or cuda, not {at.owner.device}"
    return None


@rule("models.*.parallel")
def _parallel_weights(at: Place) -> str | None:
    if at.found == "tensor" and at.owner.quantization != "none":
        return (
            f"it cannot split weights quantised to {at.owner.quantization}; set one of the two to "
            "none, or parallel to pipeline"
        )
    return None


@rule("models.*.parallel")
def _parallel_heads(at: Place) -> str | None:
    if at.found != "tensor":
        return None
    circuits, patching = at.config.circuits, at.config.patching
    asked = {
        "circuits.everywhere": circuits is not None and circuits.everywhere is not None,
        "patching.screen": patching is not None and patching.screen is not None,
        "patching.paths": patching is not None and bool(patching.paths),
    }
    taking = [key for key, here in asked.items() if here]
    if not taking:
        return None
    return (
        f"{' and '.join(taking)} need{'s' * (len(taking) == 1)} all heads of a block on one device;"
        " leave that out, or set parallel to pipeline"
    )


@rule("models.*.base")
def _base(at: Place) -> str | None:
    problem = no_entry(at, "models")
    if problem or at.found is None:
        return problem
    used = {agent.model for agent in at.config.agents.values()}
    if at.path[1] in used and at.found not in used:
        return "no agent uses it, so it would not be asked; give it an agent, or drop this key"
    seen = [str(at.path[1])]
    while (name := at.config.models[seen[-1]].base) in at.config.models:
        if name in seen:
            return f"{' from '.join([*seen, name])}: no model is trained from itself"
        seen.append(name)
    return None


@rule("games.*", shown=False)
def _game_payoffs(at: Place) -> str | None:
    return exactly_one(at.found, "canonical", "payoffs")


@rule("games.*.actions")
def _game_actions(at: Place) -> str | None:
    return "the two must differ" if at.found and at.found[0] == at.found[1] else None


@rule("prompts.label_sets.*")
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


@rule("prompts", shown=False)
def _number_of_prompts(at: Place) -> str | None:
    if (found := prompt_count(at.config)) <= MOST_PROMPTS:
        return None
    return (
        f"the games are asked in {found:,} prompts of each model; allowed: at most"
        f" {MOST_PROMPTS:,}: fewer histories (here or in games.NAME), rounds, templates or"
        " label_sets, or less in crossed"
    )


@rule("prompts.system")
def _system(at: Place) -> str | None:
    if str(at.found).lower() not in ("none", "null", "~") or at.found is None:
        return None
    return "this is a text, which every prompt would start with; for none, write null, unquoted"


@rule("prompts.label_sets.*")
def _labels_differ(at: Place) -> str | None:
    first = earlier(at, lambda name: sorted(at.owner[name]) == sorted(at.found))
    if first is None:
        return None
    return f"{first!r} has the same labels, and label_maps swaps them already; drop one"


@rule("prompts.label_sets")
def _neutral_labels(at: Place) -> str | None:
    if neutral_labels(at.config):
        return None
    return "one must be a pair of labels: play and the controlled estimates use no others"


@rule("agents.*", shown=False)
def _agent_kind(at: Place) -> str | None:
    return exactly_one(at.found, "model", "strategy")


@rule("agents.*.model")
def _agent_model(at: Place) -> str | None:
    return no_entry(at, "models")


@rule("agents.*.mode")
def _agent_mode(at: Place) -> str | None:
    scripted = at.owner.strategy is not None and at.found != "direct"
    return "a scripted strategy has no mode" if scripted else None


@rule("agents.*.p")
def _agent_p(at: Place) -> str | None:
    if at.found is not None and at.owner.strategy not in STRATEGIES_WITH_P:
        return f"only strategies {' and '.join(STRATEGIES_WITH_P)} have a p"
    return None


@rule("agents.*.intervention", shown=False)
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


@rule("agents.*.intervention.direction")
def _intervention_direction(at: Place) -> str | None:
    allowed = [*at.config.steering.directions, "random"]
    if at.found in allowed:
        return None
    return f"steering.directions does not fit it; allowed: {', '.join(allowed)}"


@rule("agents.*.intervention.values")
def _dose_names(at: Place) -> str | None:
    agent = str(at.path[1])
    names = [dose_name(agent, value) for value in at.found or ()]
    for i, name in enumerate(names):
        if name in at.config.agents or name in names[:i]:
            return f"an agent {name!r} is there already; rename one"
        if len(name) > LONGEST_AGENT:
            return (
                f"the agent's name becomes {name!r}, longer than {LONGEST_AGENT}; give it a shorter"
                " one"
            )
    return None


@rule("agents", shown=False)
def _agents(at: Place) -> str | None:
    models = [agent for agent in at.found.values() if agent.model is not None]
    # Where every model was dropped or refused, its agents are not what is wrong.
    if not models and at.config.models:
        return f"found {show_value(list(at.found))}; at least one agent must have a model"
    if all(agent.intervention is not None for agent in models):
        return "every model is steered; at least one agent must have no intervention"
    return None


@rule("matches", shown=False)
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


@rule("resources.parts")
def _jobs_of_play(at: Place) -> str | None:
    """Refuse a plan that Snakemake would take minutes to make."""
    doses = [
        1 if agent.intervention is None else len(agent.intervention.values or (1,))
        for agent in at.config.agents.values()
        if agent.model is not None
    ]
    plain = sum(
        agent.model is not None and agent.intervention is None
        for agent in at.config.agents.values()
    )
    # All doses of a player are in one group.
    players = len(doses) - plain
    pairs = plain * (plain - 1) // 2 + plain * players if at.config.matches.cross_play else 0
    jobs = at.found * (plain + players + pairs)
    if jobs <= MOST_JOBS:
        return None
    return (
        f"the {sum(doses)} agents with a model would play in {jobs} jobs; allowed: at most"
        f" {MOST_JOBS}: fewer agents or parts, or cross_play off"
    )


@rule("matches.skip_games")
def _played_games(at: Place) -> str | None:
    return None if set(at.config.games) - set(at.found) else "no game is left"


@rule(
    *("matches.skip_games.*", "matches.sequential_games.*"),
    *("steering.train_games.*", "steering.test_games.*", "circuits.games.*"),
    *("patching.games.*", "attribution.games.*", "agents.*.games.*"),
)
def _known_game(at: Place) -> str | None:
    unread = at.path[1] == "sequential_games" and at.config.matches.move_orders == ["simultaneous"]
    return None if unread else no_entry(at, "games")


@rule("agents.*.games.*")
def _game_of_agent(at: Place) -> str | None:
    skipped = at.found in at.config.games and at.found in at.config.matches.skip_games
    return "it is one of matches.skip_games" if skipped else None


@rule("matches.sequential_games.*")
def _sequential_game(at: Place) -> str | None:
    matches = at.config.matches
    read = matches.move_orders != ["simultaneous"] and at.found in at.config.games
    return "it is one of matches.skip_games" if read and at.found in matches.skip_games else None


@rule(
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


@rule("matches.label_sets.*")
def _known_label_set(at: Place) -> str | None:
    return no_entry(at, "label_sets", "prompts.")
