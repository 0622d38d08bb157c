"""Decision prompts: text, labels, counterbalancing and the prompts table.

One builder, `decision_messages`, writes every prompt, for play and for extraction alike.
"""

from nashlens.prompts.design import Cell, assign, surfaces
from nashlens.prompts.labels import (
    ChatTokenizer,
    check_label_sets,
    encode_labels,
    encode_prompt,
    prompt_id,
)
from nashlens.prompts.render import Message, Surface, decision_messages, plain_text, render
from nashlens.prompts.table import build_prompts
from nashlens.prompts.templates import TEMPLATES, vocabulary

__all__ = [
    "TEMPLATES",
    "Cell",
    "ChatTokenizer",
    "Message",
    "Surface",
    "assign",
    "build_prompts",
    "check_label_sets",
    "decision_messages",
    "encode_labels",
    "encode_prompt",
    "plain_text",
    "prompt_id",
    "render",
    "surfaces",
    "vocabulary",
]
