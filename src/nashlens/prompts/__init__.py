"""Decision prompts: text, labels, counterbalancing and the prompts table.

One builder, `ask` of a `View`, writes every prompt, for play, the quiz and extraction alike.
"""

from nashlens.prompts.design import Cell, assign, surfaces
from nashlens.prompts.labels import (
    ChatTokenizer,
    check_label_sets,
    encode_labels,
    encode_prompt,
    prompt_id,
)
from nashlens.prompts.render import (
    Message,
    Surface,
    View,
    ask,
    decision_messages,
    plain_text,
    question,
    render,
)
from nashlens.prompts.table import build_prompts
from nashlens.prompts.templates import TEMPLATES, vocabulary

__all__ = [
    "TEMPLATES",
    "Cell",
    "ChatTokenizer",
    "Message",
    "Surface",
    "View",
    "ask",
    "assign",
    "build_prompts",
    "check_label_sets",
    "decision_messages",
    "encode_labels",
    "encode_prompt",
    "plain_text",
    "prompt_id",
    "question",
    "render",
    "surfaces",
    "vocabulary",
]
