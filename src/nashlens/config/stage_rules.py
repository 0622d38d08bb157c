"""Rules between the keys of the stages, from activations to attribution and spikes."""

from __future__ import annotations

from nashlens.config.design import (
    has_conflict,
    mirrored_size,
    nash_actions,
    neutral_histories,
    neutral_labels,
    neutral_prompts,
)
from nashlens.config.rules import Place, no_entry, rule
from nashlens.vocabulary.patching import path_parts
from nashlens.vocabulary.positions import DECISION, expand_positions


@rule("activations.positions", "probes.positions", "lens.positions")
def _decision_is_a_position(at: Place) -> str | None:
    return None if DECISION in at.found else f"{DECISION} must be one: findings are judged there"


@rule("activations.positions.*", "probes.positions.*", "lens.positions.*")
def _position(at: Place) -> str | None:
    rounds = at.config.prompts.rounds
    wanted = set(expand_positions([at.found], rounds))
    if not wanted:
        return _no_round(at)
    # The decision is always extracted: the rule above says so.
    extracted = expand_positions([DECISION, *at.config.activations.positions], rounds)
    return None if wanted <= set(extracted) else "add it to activations.positions, which lacks it"


@rule("steering.positions")
def _steering_position(at: Place) -> str | None:
    if at.found in ("last", "all"):
        return None
    if expand_positions([at.found], at.config.prompts.rounds) not in ([at.found], []):
        return "name one position of them, from which on every token is steered"
    return _position(at)


@rule("probes.folds")
def _folds(at: Place) -> str | None:
    histories = sum(neutral_histories(at.config, game) for game in at.config.games)
    if at.found <= histories or not neutral_labels(at.config):
        return None
    return (
        f"allowed: at most {histories}, as there are that many histories in neutral labels "
        "(prompts.histories of each game) and none stands in two folds"
    )


@rule("steering.concept_games.*")
def _concept_game(at: Place) -> str | None:
    if at.found in at.config.steering.test_games:
        return "it is a test game; directions are tested on other games"
    return no_entry(at, "games")


@rule("steering.test_games.*")
def _test_game(at: Place) -> str | None:
    if at.found in at.config.steering.train_games:
        return "it is a training game too; directions are tested on other games"
    return None


@rule(*("steering.train_games.*", "steering.test_games.*", "circuits.games.*", "patching.games.*"))
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


@rule("steering.train_games")
def _two_nash_actions(at: Place) -> str | None:
    found = [nash_actions(at.config, name) for name in at.found]
    actions = {action for of_game in found for action in of_game or ()}
    if not all(found) or len(actions) > 1:
        return None
    return (
        f"the Nash action is action {actions.pop()} in all of them; add a game where it is "
        "the other one, else the direction is that of an action"
    )


@rule("steering.train_label_sets.*", "steering.train_templates.*")
def _trained_form(at: Place) -> str | None:
    return no_entry(at, str(at.path[1]).removeprefix("train_"), within="prompts.")


@rule("steering.alphas")
def _alphas(at: Place) -> str | None:
    if 0.0 not in at.found:
        return "0 must be one of them, as the baseline"
    return "at least one must differ from 0" if len(at.found) < 2 else None


@rule("attribution.games.*")
def _conflict_game(at: Place) -> str | None:
    if has_conflict(at.config, at.found) in (None, True):
        return None
    return (
        "no seat's Nash action is another one than its prosocial action, so there is nothing to "
        "override; choose a game like prisoners_dilemma"
    )


@rule("steering.prompts", "circuits.prompts", "attribution.prompts")
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
    what = "heads" if at.path[0] == "circuits" else "components"
    what = "a history" if steered else f"two histories, to choose {what} and to test them"
    return (
        f"allowed: at least {least}, the prompts of {what} (label maps x option orders, each with "
        "its mirror image)"
    )


@rule("patching.pairs", "attribution.pairs", "spikes.prompts")
def _one_history(at: Place) -> str | None:
    least = mirrored_size(at.config)
    if at.found >= least or (at.path[0] == "attribution" and at.found == 0):
        return None
    return (
        f"allowed: at least {least}, the {at.path[1]} of a history (label maps x option orders, "
        "each with its mirror image)"
    )


@rule("patching.groups.*", "patching.heads.*", "patching.paths.*")
def _patched_group(at: Place) -> str | None:
    group = at.found.rpartition("/")[2]
    # All rounds that there are may be none.
    if not group.startswith("round_last") or expand_positions([group], at.config.prompts.rounds):
        return None
    return _no_round(at, "it" if group == at.found else group)


@rule("patching.paths.*")
def _path_goes_up(at: Place) -> str | None:
    sender, receiver, _ = path_parts(at.found)
    within = sender.kind in ("attention", "head") and receiver.kind == "mlp"
    if sender.layer < receiver.layer or (within and sender.layer == receiver.layer):
        return None
    return (
        "the receiver does not read what the sender writes: it must be of a later layer, or the "
        "MLP of the sender's"
    )


def _no_round(at: Place, what: str = "it") -> str:
    before = max(at.config.prompts.rounds) - 1
    return f"no prompt has {what}: the last of prompts.rounds has {before} before it"


@rule("circuits.games.*", "attribution.games.*")
def _halves_for_circuits(at: Place) -> str | None:
    if at.found not in at.config.games or not neutral_labels(at.config):
        return None
    if neutral_histories(at.config, at.found) >= 2:
        return None
    what = "heads" if at.path[0] == "circuits" else "components"
    return (
        f"it must have two histories in neutral labels or more, as {what} are chosen on some and "
        f"tested on others; set games.{at.found}.histories or prompts.histories"
    )
