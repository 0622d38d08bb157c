"""Where in a prompt the residual stream is kept (`nashlens.prompts.positions` finds the tokens).

A name says a place in the text and nothing about actions: prompts with the same text have the same
id, whatever the options stand for. `option_order` of the prompts table says which action is listed
first. Rounds are counted from the end, since what a prompt is about (the opponent's last action)
lies in its last round, however many came before.

========================  ====================================================================
``decision``              the last token: the label comes next
``option_first``          the label that the question lists first (its last token)
``option_second``         the label that the question lists second
``payoff_1`` to ``4``     the end of the payoff sentence, or table line, that is listed first ..
                          fourth: both players' options in the order of the list, the other's
                          faster
``round_last``            the end of the last round played
``round_last-1`` ..       the end of the round before it, and so on
========================  ====================================================================
"""

from __future__ import annotations

DECISION = "decision"
SYSTEM, OPENING, QUESTION, ANSWER, REST = "system", "opening", "question", "answer", "rest"
"""Further groups of tokens (`nashlens.prompts.groups`)."""
OPTIONS = ("option_first", "option_second")
PAYOFFS = ("payoff_1", "payoff_2", "payoff_3", "payoff_4")
POSITION_PATTERN = (
    r"^(decision|options|option_first|option_second|payoffs|payoff_[1-4]|rounds"
    r"|round_last(-[1-9]\d{0,2})?)$"
)
"""A position, or several by one name: `options`, `payoffs`, `rounds`."""


GROUP_PATTERN = (
    r"^(system|opening|payoffs|payoff_[1-4]|rounds|round_last(-[1-9]\d{0,2})?|question|options"
    r"|option_first|option_second|answer|decision|rest|all)$"
)
"""A group of a prompt's tokens (`nashlens.prompts.groups`), or several by one name: `payoffs`,
`rounds`, `options`, `all`."""


def round_position(back: int) -> str:
    """Return the name of a round's end; 0 is the last round played, 1 the one before it."""
    return f"round_last-{back}" if back else "round_last"


def expand_positions(asked: list[str], rounds: list[int]) -> list[str]:
    """Return single positions, in the order in which they are stored.

    Parameters
    ----------
    asked : list of str
        Positions, or `options`, `payoffs` and `rounds` for all of a kind.
    rounds : list of int
        Rounds, from 1, at which decisions are asked. The latest has one round less behind it.

    Returns
    -------
    list of str
        Each once. Those of rounds that no prompt has are left out.
    """
    played = [round_position(back) for back in range(max(rounds) - 1)]
    kinds = {"options": OPTIONS, "payoffs": PAYOFFS, "rounds": played}
    wanted = {name for one in asked for name in kinds.get(one, (one,))}
    return [name for name in (DECISION, *OPTIONS, *PAYOFFS, *played) if name in wanted]


def position_column(position: str) -> str:
    """Return the column of the prompts table with a position's token, counted from 0."""
    return f"{position}_position"
