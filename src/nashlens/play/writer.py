"""Text for play, by the engine's generation."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nashlens.engine.core import Engine
from nashlens.engine.generation import Request, generate
from nashlens.engine.session import Session
from nashlens.play.player import TextRequest, Writer, WrittenText


def engine_writer(engine: Engine, stop: Collection[int], session: Session | None = None) -> Writer:
    """Return the function by which a model writes.

    Parameters
    ----------
    engine : Engine
    stop : collection of int
        Tokens that end a text (`ChatTokenizer.stop_ids`).
    session : Session, optional
        The session that scores the same matches: the keys and values of rules and history are
        then computed once for both.
    """

    def write(requests: Sequence[TextRequest], temperature: float) -> list[WrittenText]:
        texts = generate(
            engine,
            [Request(*request) for request in requests],
            temperature=temperature,
            stop=stop,
            session=session,
        )
        return [WrittenText(text.ids, text.stopped) for text in texts]

    return write
