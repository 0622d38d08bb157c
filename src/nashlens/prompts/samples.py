"""One prompt of each wording, for those who try what becomes of them before any is needed."""

from __future__ import annotations

from nashlens.games.catalog import CATALOG
from nashlens.prompts import templates
from nashlens.prompts.render import (
    Message,
    Surface,
    View,
    action_question,
    belief_question,
    question_messages,
)


def sample_messages(system: str | None = templates.SYSTEM) -> dict[str, list[Message]]:
    """Return the messages of one question in each wording.

    Parameters
    ----------
    system : str or None
        System message.

    Returns
    -------
    dict of str to list of dict
        By template and question: the decision, the decision after reasoning, the other's move.
    """
    found = {}
    for name in templates.TEMPLATES:
        form = Surface(name, "jf", ("J", "F"))
        talk = [("I choose J.", "")]
        view = View(
            CATALOG["prisoners_dilemma"], "row", form, [0, 1], [1, 0], talk=talk, notes="F won."
        )
        questions = {
            "decision": action_question(view),
            "cot": action_question(view, templates.ANCHOR),
            "belief": belief_question(view)[0],
        }
        for kind, question in questions.items():
            found[f"{name}/{kind}"] = question_messages(view, question, system=system)
    return found
