"""How what an agent wrote is quoted in prompts: messages to the other, and private notes."""

from __future__ import annotations


def message_of(text: str) -> str:
    """Return the message in what a model wrote: its first line."""
    return quotable(text.strip().partition("\n")[0])


def quotable(text: str) -> str:
    """Return a text on one line and without double quotes, so that it can end no quotation."""
    return " ".join(text.replace('"', "'").split())
