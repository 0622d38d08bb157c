"""Decision prompts: text, labels, counterbalancing and the prompts table.

One builder, `question_messages` of a `View`, writes all prompts of play, the quiz and extraction.
"""

from nashlens.prompts.design import PlannedMatch, assign_matches, surfaces
from nashlens.prompts.labels import (
    PromptTokenizer,
    check_label_sets,
    encode_labels,
    encode_prompt,
    prompt_id,
)
from nashlens.prompts.render import (
    Message,
    Surface,
    View,
    action_question,
    decision_messages,
    question_messages,
    render,
)
from nashlens.prompts.table import build_prompts
from nashlens.prompts.templates import TEMPLATES, vocabulary

__all__ = [
    "TEMPLATES",
    "Message",
    "PlannedMatch",
    "PromptTokenizer",
    "Surface",
    "View",
    "action_question",
    "assign_matches",
    "build_prompts",
    "check_label_sets",
    "decision_messages",
    "encode_labels",
    "encode_prompt",
    "prompt_id",
    "question_messages",
    "render",
    "surfaces",
    "vocabulary",
]
