"""Positions in the embedded model's own tokens and chat template."""

import itertools

import numpy as np
import pytest

from nashlens.engine.core import Engine
from nashlens.games import CATALOG
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.prompts.positions import find_positions
from nashlens.prompts.render import Surface, View
from nashlens.prompts.templates import TEMPLATES
from nashlens.vocabulary.positions import expand_positions
from nashlens.vocabulary.prompts import LABEL_MAPS, OPTION_ORDERS
from tests import reference
from tests.unit.prompts.test_positions import EVERY, expected_ends, prompt_of

pytestmark = pytest.mark.embedded
NAMES = expand_positions(EVERY, [4])


def views():
    labels = [("J", "F"), ("Cooperate", "Defect"), ("left side", "right side")]
    for form in itertools.product(TEMPLATES, labels, LABEL_MAPS, OPTION_ORDERS):
        surface = Surface(form[0], "l", *form[1:])
        for seat, own in (("row", [0, 1, 1]), ("column", [1])):
            yield View(CATALOG["chicken"], seat, surface, own, own[::-1])


def test_each_token_ends_its_piece_of_text(embedded_model):
    tokenizer = ChatTokenizer(embedded_model)
    for view in views():
        text, ids = prompt_of(tokenizer, view)
        found = find_positions(tokenizer, view, text, ids, NAMES)
        for name, line in expected_ends(view).items():
            end = found[name]
            assert tokenizer.decode(ids[: end + 1]).rstrip("\n").endswith(line), (name, line)
            assert not tokenizer.decode(ids[:end]).endswith(line)
        assert found["decision"] == len(ids) - 1
        # The token holds the end of the piece, and no more than a mark after it.
        first = tokenizer.decode([ids[found["option_first"]]])
        assert view.surface.label(view.surface.order[0]).endswith(first.strip())


def test_residuals_at_positions_equal_its_own_forward(embedded_model):
    loaded = load_model(embedded_model, dtype="float32", device="cpu", native=False)
    tokenizer = ChatTokenizer(embedded_model)
    sequences, places = [], []
    for view in itertools.islice(views(), 0, None, 13):
        text, ids = prompt_of(tokenizer, view)
        found = find_positions(tokenizer, view, text, ids, NAMES)
        sequences.append(ids)
        places.append([-1 if found[name] is None else found[name] for name in NAMES])
    places = np.array(places)
    theirs = reference.residuals_at(loaded, sequences, places)
    ours = np.full_like(theirs, np.inf)
    for rows, values in Engine(loaded, 1024).residuals_at(sequences, places):
        ours[rows] = values
    present = ~np.isnan(theirs)
    assert (present == ~np.isnan(ours)).all()
    assert not present.all()
    scale = np.abs(theirs[present]).max()
    assert np.abs(ours[present] - theirs[present]).max() < 1e-5 * scale
