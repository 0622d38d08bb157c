import subprocess
import sys

import pytest
from safetensors.numpy import load_file

from nashlens.errors import ModelError
from nashlens.models.load import load_model
from nashlens.planted import RECIPES, build
from nashlens.planted.tokenizer import build_tokenizer
from nashlens.prompts.templates import vocabulary

# What is trained takes minutes: see test_training.
BUILT = sorted(name for name in RECIPES if not name.startswith("trained_"))


@pytest.mark.parametrize("name", BUILT)
def test_a_recipe_builds_what_it_promises(tmp_path, name):
    build(name, tmp_path)
    loaded = load_model(tmp_path, device="cpu", native=False)
    recipe = RECIPES[name]
    assert type(loaded.model).__name__ == recipe.architecture
    assert (loaded.n_layers, loaded.width) == (recipe.n_layers, recipe.width)
    assert loaded.model.config.max_position_embeddings == recipe.context_length


def test_the_seed_decides_every_weight(tmp_path):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        build(f"random-{seed}", tmp_path / folder)
    a, b, c = (load_file(tmp_path / f / "model.safetensors") for f in "abc")
    assert all((a[key] == b[key]).all() for key in a)
    assert not any((a[key] == c[key]).all() for key in a)
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (
        tmp_path / "c/tokenizer.json"
    ).read_bytes()


def test_outputs_are_far_from_uniform(tmp_path):
    import torch

    build("random_qwen2", tmp_path)
    loaded = load_model(tmp_path, device="cpu", native=False)
    with torch.no_grad():
        p = loaded.model(torch.arange(3, 40)[None]).logits.softmax(-1)
    assert p.max(-1).values.mean() > 0.05
    assert loaded.model.model.layers[0].self_attn.q_proj.bias.abs().min() > 0


def test_every_word_of_the_prompts_has_a_token():
    tokenizer = build_tokenizer(bos=False)
    for word in [*vocabulary(), "A", "z", "-12.5", "Q: J."]:
        assert "<unk>" not in tokenizer.encode(word).tokens, word
    assert tokenizer.encode("mumpsimus").tokens == ["<unk>"]
    assert tokenizer.encode("-12").tokens == ["-", "1", "2"]


def test_a_bos_is_added_once(tmp_path):
    assert build_tokenizer(bos=True).encode("You").tokens == ["<bos>", "You"]
    assert build_tokenizer(bos=False).encode("You").tokens == ["You"]


def test_an_unknown_recipe_is_refused(tmp_path):
    with pytest.raises(ModelError, match="there are random, random_qwen2, blind"):
        build("nothing", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_importing_the_recipes_is_cheap():
    code = "import sys, nashlens.planted\nassert not {'torch', 'transformers'} & set(sys.modules)\n"
    import os
    from pathlib import Path

    import nashlens

    env = os.environ | {"PYTHONPATH": str(Path(nashlens.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
