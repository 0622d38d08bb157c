"""Text for play, by the engine's generation."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nashlens.engine.core import Engine
from nashlens.engine.generation import Request, generate
from nashlens.engine.session import Session
from nashlens.play.player import Wanted, Writer, Written


def writer(engine: Engine, stop: Collection[int], session: Session | None = None) -> Writer:
    """Return what lets a model write.

    Parameters
    ----------
    engine : Engine
    stop : collection of int
        Tokens that end a text (`ChatTokenizer.stop_ids`).
    session : Session, optional
        The one that scores the same matches: rules and history are then computed once for both.
    """

    def write(wanted: Sequence[Wanted], temperature: float) -> list[Written]:
        requests = [Request(*text) for text in wanted]
        found = generate(engine, requests, temperature=temperature, stop=stop, session=session)
        return [Written(text.ids, text.stopped) for text in found]

    return write
