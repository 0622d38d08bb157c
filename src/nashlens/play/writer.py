"""Text for play, by the engine's generation."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nashlens.engine.core import Engine
from nashlens.engine.generation import Request, generate
from nashlens.play.player import Wanted, Writer, Written


def writer(engine: Engine, stop: Collection[int]) -> Writer:
    """Return what lets a model write.

    Parameters
    ----------
    engine : Engine
    stop : collection of int
        Tokens that end a text (`ChatTokenizer.stop_ids`).
    """

    def write(wanted: Sequence[Wanted], temperature: float) -> list[Written]:
        requests = [Request(text.ids, text.seed, text.max_new_tokens) for text in wanted]
        found = generate(engine, requests, temperature=temperature, stop=stop)
        return [Written(text.ids, text.stopped) for text in found]

    return write
