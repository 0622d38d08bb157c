"""The embedded model speaks through the engine's generation."""

import pytest

from nashlens.engine.core import Engine
from nashlens.engine.generation import Request, generate
from nashlens.models.load import load_model
from nashlens.models.tokenizer import ChatTokenizer
from tests import reference

pytestmark = pytest.mark.embedded


def test_it_answers_the_capital_of_france(embedded_model):
    loaded, theirs = (
        load_model(embedded_model, dtype="float32", device="cpu", native=native)
        for native in (True, False)
    )
    tokenizer = ChatTokenizer(embedded_model)
    requests = []
    for seed, country in enumerate(("France", "Italy", "France")):
        question = {"role": "user", "content": f"What is the capital of {country}?"}
        ids = tokenizer.encode(tokenizer.chat([question]))
        requests.append(Request(ids, seed, 16))
    end = set(tokenizer.encode("<|im_end|>"))
    made = generate(Engine(loaded), requests, temperature=0.0, stop=end, slots=2)
    texts = [tokenizer.decode(m.ids) for m in made]
    assert "Paris" in texts[0]
    assert texts[2] == texts[0]
    assert made[0].stopped
    assert made == reference.generate(theirs, requests, temperature=0.0, stop=end)
    sampled = generate(Engine(loaded), requests[:1], temperature=0.5, stop=end)
    assert sampled == reference.generate(theirs, requests[:1], temperature=0.5, stop=end)
