"""Targets of probes in figures: what they are called, and which of them share a row of panels."""

from __future__ import annotations

from collections.abc import Sequence

from nashlens.figures import style
from nashlens.vocabulary.targets import TARGET_COLUMNS

_KIND = {column.name: column.about for column in TARGET_COLUMNS}
_SAYS = {
    "nash_action": "Nash action: which kind of game",
    "prosocial_action": "prosocial action: which kind of game",
    "chosen_action": "chosen action: which action",
    "best_response": "best response to the last action",
    "opponent_next": "opponent's next action",
}


def target_words(target: str) -> str:
    """Return what a target asks for: `nash_label` as `Nash action: which label`."""
    if target in _SAYS:
        return _SAYS[target]
    kind = _KIND.get(target, "history")
    if kind in ("label", "place"):
        return f"{style.words(target.rpartition('_')[0])} action: which {kind}"
    return style.words(target)


def panel_rows(targets: Sequence[str], across: int) -> list[list[str]]:
    """Deal targets to rows of panels.

    An action, its label and its place share a row, and so does what is about the history. What does
    not fit (of an action, the action itself), and what belongs to nothing, comes last.
    """
    subjects: dict[str, list[str]] = {}
    bound = {name.rpartition("_")[0] for name in targets if _KIND.get(name) in ("label", "place")}
    for name in targets:
        who, _, what = name.rpartition("_")
        subject = "history" if _KIND.get(name) == "history" else ""
        if who in bound and what in ("action", "label", "place"):
            subject = who
        subjects.setdefault(subject, []).append(name)
    loose = subjects.pop("", [])
    rows = []
    for subject, names in subjects.items():
        # Labels and places come after their action.
        first = 0 if subject == "history" else max(0, len(names) - across)
        rows.append(names[first : first + across])
        loose = [*loose, *names[:first], *names[first + across :]]
    return rows + [loose[start : start + across] for start in range(0, len(loose), across)]


def deal_panels(
    models: Sequence[str], targets: Sequence[str], across: int
) -> list[list[tuple[str, str]]]:
    """Deal models and targets to rows of panels: a row a target, if there are several models."""
    rows = panel_rows(targets, across)
    if len(models) == 1:
        return [[(models[0], target) for target in row] for row in rows]
    # At most four models side by side.
    return [
        [(model, target) for model in models[start : start + 4]]
        for row in rows
        for target in row
        for start in range(0, len(models), 4)
    ]
