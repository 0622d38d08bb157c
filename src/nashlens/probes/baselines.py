"""What a probe must beat: the prompt's words, the embedding, the same model untrained."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from nashlens.contrasts import Array
from nashlens.probes.questions import FittedQuestions, score_with_interval

_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Return the words and signs of a text."""
    return _WORD.findall(text)


def bag_of_words(texts: Sequence[str]) -> Array:
    """Count the words and signs of each text, (n, vocabulary), in the vocabulary's order."""
    counts = [Counter(words_of(text)) for text in texts]
    column = {word: k for k, word in enumerate(sorted(set().union(*counts)))}
    table = np.zeros((len(texts), max(len(column), 1)))
    for row, count in enumerate(counts):
        for word, times in count.items():
            table[row, column[word]] = times
    return table


def baseline_columns(
    name: str, fitted: FittedQuestions, confidence: float
) -> dict[tuple[str, str], dict[str, float]]:
    """Score the same probes on other features.

    Parameters
    ----------
    name : str
        The columns are `NAME`, `NAME_low` and `NAME_high`.
    fitted : FittedQuestions
        On the other features.
    confidence : float
        Coverage of the interval.

    Returns
    -------
    dict of (target, split) to dict
        The columns; nothing for a question that cannot be asked.
    """
    names = (name, f"{name}_low", f"{name}_high")
    columns = {}
    for question, fit in fitted.pairs():
        numbers = score_with_interval(question, fit, confidence)
        columns[question.target.name, question.split] = dict(zip(names, numbers, strict=True))
    return columns
