"""What a design cannot tell, or tells with too wide intervals, said before any job starts.

A config with such cells is legal: a published protocol has one order and one label map. Each note
names the key, what was found, what follows for which claims, and what to change. What would end in
a failed job is a problem instead (`design_problems`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

from nashlens.config.design import (
    MOST_PROMPTS,
    has_conflict,
    history_count,
    mirrored_size,
    nash_actions,
    neutral_labels,
    prompt_count,
    seat_nash_actions,
)
from nashlens.config.problems import problem_line
from nashlens.config.rules import REFUSED, RefusedError, lines_of, passed
from nashlens.config.sections import Config
from nashlens.errors import DataError, NashlensError
from nashlens.vocabulary.prompts import LABEL_KINDS, LABEL_MAPS, OPTION_ORDERS, SURFACE_COLUMNS

if TYPE_CHECKING:
    import pandas as pd


def design_notes(config: Config) -> list[str]:
    """Return what is unbalanced in a valid config's design, one line each.

    Parameters
    ----------
    config : Config
        As `validate` returned it.

    Returns
    -------
    list of str
        Empty where every claim can be judged as well as its number of histories allows.
    """
    return [
        *_block_notes(config),
        *_conflict_notes(config),
        *_history_notes(config),
        *_word_notes(config),
        *_prompt_notes(config),
    ]


def design_problems(config: Config) -> list[str]:
    """Return what in a config's design would make a job fail, one line each.

    Parameters
    ----------
    config : Config
        Or what of one passed (`check`).
    """
    return [*lines_of(_variant_problems, config), *lines_of(_direction_problems, config)]


def _variant_problems(config: Config) -> Iterator[str]:
    """Yield a line for each game that has fewer variants than are asked for."""
    # Here, as the config is read by many jobs that never build a game.
    from nashlens.games import build_games

    for name, game in config.games.items():
        # Without what it is and what it pays there is no game; that was said.
        if nash_actions(config, name) is None:
            continue
        try:
            build_games({name: game.model_dump()}, config.experiment.seed)
        except NashlensError as error:
            yield str(error)


def _direction_problems(config: Config) -> list[str]:
    """Return a line if the training prompts cannot give directions, as the job would find."""
    # Here, as the config is read by many jobs that fit nothing.
    from nashlens.steering.cells import cells_of
    from nashlens.steering.training import Training

    if prompt_count(config) > MOST_PROMPTS:
        return []
    steering = config.steering
    asked = steering.train_games, steering.train_label_sets, steering.train_templates
    seed = passed(passed(config, "experiment", REFUSED), "seed", REFUSED)
    prompts = _planned_prompts(config, 0 if seed is REFUSED else seed)
    try:
        training = Training.choose(prompts, *asked)
    except DataError as error:
        return [str(error)]
    if seed is REFUSED:
        # It draws which words each history is asked in.
        return []
    try:
        cells_of(training.rows(prompts).reset_index(drop=True), "abstract")
    except DataError:
        forms = "; ".join(", ".join(one) for one in (training.templates, training.label_sets))
        cure = (
            f"directions are fitted within one template and label set (of {forms}), and none of "
            "these is asked of both Nash actions; give these games more histories, or add "
            "label_sets to prompts.crossed"
        )
        return [problem_line(("steering", "train_games"), steering.train_games, cure)]
    return []


def _planned_prompts(config: Config, seed: int) -> pd.DataFrame:
    """Return what is known of the prompts before any model: one row a kind of them."""
    import pandas as pd

    rows = []
    for game in config.games:
        try:
            rows += _planned_rows(config, game, seed)
        except RefusedError:
            # What is wrong with it was said; training games can be looked at without another.
            if game in config.steering.train_games:
                raise
    return pd.DataFrame(rows)


def _planned_rows(config: Config, game: str, seed: int) -> list[dict[str, Any]]:
    from nashlens.games.game import SEATS
    from nashlens.prompts.design import plan_histories

    if nash_actions(config, game) is None:
        raise RefusedError(game)
    prompts, neutral = config.prompts, set(neutral_labels(config))
    nash = dict(zip(SEATS, seat_nash_actions(config, game), strict=False))
    planned = plan_histories(
        game,
        templates=prompts.templates,
        label_sets=list(prompts.label_sets),
        crossed=prompts.crossed,
        n_variants=1 + config.games[game].variants,
        opponents=prompts.opponents,
        histories=history_count(config, game),
        seed=seed,
    )
    # There may be thousands of one kind.
    kinds = dict.fromkeys((one.seat, words) for one in planned for words in one.wordings)
    return [
        {
            "game": game,
            "nash_action": nash.get(seat),
            "label_kind": LABEL_KINDS[label_set not in neutral],
            "dropped": "",
            **dict(zip(SURFACE_COLUMNS, (template, label_set, *form), strict=True)),
        }
        for seat, (template, label_set) in kinds
        for form in product(prompts.label_maps, prompts.option_orders)
    ]


def _block_notes(config: Config) -> Iterator[str]:
    for key, values, known in (
        ("label_maps", config.prompts.label_maps, LABEL_MAPS),
        ("option_orders", config.prompts.option_orders, OPTION_ORDERS),
    ):
        if len(values) < len(known):
            missing = ", ".join(sorted(set(known) - set(values)))
            confused = "label" if key == "label_maps" else "place in the list"
            yield problem_line(
                ("prompts", key),
                values,
                f"an action's {confused} is then always the same, so what follows the action is "
                f"not told from it and M4 to M8 are not applicable; add {missing}",
            )


def _conflict_notes(config: Config) -> Iterator[str]:
    if not any(has_conflict(config, game) for game in config.games):
        yield problem_line(
            ("games",),
            list(config.games),
            "in none is the prosocial action another one than the Nash action, so M6 is not "
            "applicable; add {canonical: prisoners_dilemma}",
        )


def _history_notes(config: Config) -> Iterator[str]:
    """Yield a note for each number of histories that does not fill its cells."""
    whole: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for game in config.games:
        if nash_actions(config, game):
            own = config.games[game].histories is not None
            whole["games" if own else "prompts", game if own else "", "histories"].append(game)
    for path, games in whole.items():
        found = history_count(config, games[0])
        cells = 1
        for name in ("templates", "label_sets"):
            cells *= 1 if name in config.prompts.crossed else len(getattr(config.prompts, name))
        what = f"the {cells} pairs of template and label set, over which histories are spread,"
        claims = _claims(config, games)
        if found < 2 * cells:
            line = (
                f"{what} need two each, or the intervals of {claims} also hold how far "
                f"templates and label sets differ; give {2 * cells} or more"
                if cells > 1
                else f"with one history there is no interval for {claims}; give 2 or more"
            )
        elif found % cells:
            lower = found // cells * cells
            line = f"{what} do not have equally many for {claims}; give {lower} or {lower + cells}"
        else:
            continue
        yield problem_line([part for part in path if part], found, line)


def _word_notes(config: Config) -> Iterator[str]:
    prompts, neutral = config.prompts, neutral_labels(config)
    for key, found, names in (
        ("label_sets", dict(prompts.label_sets), neutral),
        ("templates", prompts.templates, prompts.templates),
    ):
        if len(names) == 1:
            yield problem_line(
                ("prompts", key),
                found,
                f"with one{' neutral pair' if key == 'label_sets' else ''}, nothing says how far "
                "a result carries to others; give two or more",
            )


def _prompt_notes(config: Config) -> Iterator[str]:
    size = mirrored_size(config)
    asked = [("steering", "prompts", config.steering.prompts, 1)]
    if config.circuits is not None:
        asked.append(("circuits", "prompts", config.circuits.prompts, 2))
    if config.patching is not None:
        asked.append(("patching", "pairs", config.patching.pairs, 1))
    for section, key, found, parts in asked:
        path, used = (section, key), found // size * size
        if used != found:
            yield problem_line(
                path,
                found,
                f"{key} are taken {size} at a time, a history's and its mirror image's, so {used}"
                " of a game are used",
            )
        if used < 2 * parts * size:
            halves = " in each half" if parts > 1 else ""
            yield problem_line(
                path,
                found,
                f"histories of a game: {used // size}; an interval needs two{halves} or more; give "
                f"{2 * parts * size} or more",
            )
    if config.attribution is not None and config.attribution.prompts < 3 * size:
        yield problem_line(
            ("attribution", "prompts"),
            config.attribution.prompts,
            "an interval of M9 and M10 needs two histories to test on, beside one that chooses "
            f"components; give {3 * size} or more",
        )


def _claims(config: Config, games: list[str]) -> str:
    """Name the claims that read some games."""
    named = []
    if config.circuits is not None and set(games) & set(config.circuits.games):
        named.append("M4")
    named.append("M5")
    if any(has_conflict(config, game) for game in games):
        named.append("M6")
    if set(games) & set(config.steering.test_games):
        named += ["M7", "M8"]
    return f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
