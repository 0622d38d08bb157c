"""Labels in Chinese, each of several tokens, from the prompts through the lens to a figure."""

import dataclasses
import json
import logging

import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from scipy.special import expit
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from nashlens.activations.store import ActivationStore
from nashlens.activations.tokens import TokenIds
from nashlens.engine.core import Engine
from nashlens.engine.labels import LabelledPrompt
from nashlens.estimates import Bootstrap
from nashlens.figures import glyphs, registry, style
from nashlens.games import CATALOG
from nashlens.lens.layers import layer_estimates
from nashlens.lens.positions import lens_at_positions
from nashlens.lens.summary import summarise_lens
from nashlens.models.tokenizer import ChatTokenizer
from nashlens.models.weights import FinalNorm, Readout
from nashlens.prompts.extra import NEEDED, extra_sequences
from nashlens.surface import surface_estimates
from nashlens.tables import read_row_groups, read_table, write_table
from tests import reference
from tests.designs import make_prompts
from tests.stores import store_activations
from tests.tiny_models import tiny

LABELS = {"verbs": ["合作", "背叛"], "fields": ["甲", "申"]}
"""The second two differ in their last byte alone."""
LETTERS = "".join(sorted({c for pair in LABELS.values() for label in pair for c in label}))
HOW = {"opponents": ["TFT"], "rounds": [2], "histories": 4, "assistant_prefix": "我选择", "seed": 1}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """It splits every text into its bytes, as tokenizers do with letters that they do not know."""
    folder = tmp_path_factory.mktemp("bytes")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({}))
    return ChatTokenizer(folder)


@pytest.fixture(scope="module")
def model():
    return tiny("LlamaForCausalLM", vocab_size=256, max_position_embeddings=4096)


@pytest.fixture(scope="module")
def read(tokenizer, model, tmp_path_factory):
    """The prompts, and what every layer says of them."""
    folder = tmp_path_factory.mktemp("activations")
    game = dataclasses.replace(CATALOG["prisoners_dilemma"], title="囚徒困境")
    prompts = make_prompts([game], tokenizer, label_sets=LABELS, **HOW)
    path = folder / "prompts.parquet"
    write_table(prompts, path, config={}, fingerprint="f")
    tokens = TokenIds(path)
    extra = extra_sequences(read_row_groups(path, NEEDED), tokens)
    engine = Engine(model, 16384)
    store_activations(engine, folder, read_table(path), tokens, shard_prompts=64, extra=extra)
    final = model.model.model.norm
    norm = FinalNorm(final.weight.detach().numpy(), final.variance_epsilon)
    unembedding = model.model.lm_head.weight.detach().numpy()
    lens = lens_at_positions(
        ActivationStore(folder),
        prompts,
        ["decision"],
        readout=Readout(norm, unembedding),
        model="m",
    )
    return prompts, lens


def test_a_label_is_all_of_its_bytes(tokenizer, read):
    prompts, _ = read
    assert set(prompts["label_set"]) == set(LABELS)
    assert not prompts["dropped"].any()
    for action in (0, 1):
        for label, ids in zip(
            prompts[f"label_{action}"], prompts[f"label_tokens_{action}"], strict=True
        ):
            # Nothing splits Chinese from what stands before it but the space that joins them.
            assert tokenizer.decode(ids) == f" {label}"
            assert len(ids) == 1 + len(label.encode())
    shared = {
        name: [
            next(k for k, (a, b) in enumerate(zip(*pair, strict=True)) if a != b)
            for pair in zip(rows["label_tokens_0"], rows["label_tokens_1"], strict=True)
        ]
        for name, rows in prompts.groupby("label_set")
    }
    # The space; and of the fields two bytes more.
    assert {name: set(found) for name, found in shared.items()} == {"verbs": {1}, "fields": {3}}


def test_the_last_layer_is_the_models_own_answer_of_whole_labels(model, read):
    prompts, lens = read
    last = lens[lens["layer"] == lens["layer"].max()]
    assert len(last) == len(prompts)
    asked = [
        LabelledPrompt(list(ids), (list(first), list(second)))
        for ids, first, second in zip(
            prompts["token_ids"], prompts["label_tokens_0"], prompts["label_tokens_1"], strict=True
        )
    ]
    own = reference.label_logprobs(model, asked)
    keys = ["prompt_id", "match_id", "label_set"]
    ours = prompts[keys].assign(own=expit(own[:, 1] - own[:, 0]))
    both = last.merge(ours, on=[k for k in keys if k in last.columns])
    assert len(both) >= len(prompts)
    np.testing.assert_allclose(both["whole_action_1"], both["own"], atol=1e-5)
    assert both["own"].std() > 0.01


def test_the_layers_are_summed_up_and_drawn(read, tmp_path, caplog, recwarn):
    prompts, lens = read
    how = Bootstrap(confidence=0.95, resamples=50, seed=1)
    summary = summarise_lens(lens, prompts, model="m", how=how)
    layers = layer_estimates(lens, prompts, model="m", name="logit", how=how)
    assert summary.set_index("quantity").loc["follows_action", "estimate"] >= 0
    figure = registry.draw("lens", {"lens_layers": layers, "lens_summary": summary})
    assert style.save(figure, tmp_path / "lens", ["png", "svg"], 60, {})
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
    assert not caplog.records


@pytest.fixture(params=[False, True], ids=["no font", "a font"])
def installed(request, tmp_path, monkeypatch):
    """Only matplotlib's own fonts; or with one that has the labels' letters."""
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", list(manager.ttflist))
    own = {(f.name, f.fname) for f in manager.ttflist if f.name.startswith("DejaVu")}
    if request.param:
        names = [".notdef", *(f"letter{k}" for k in range(len(LETTERS)))]
        font = FontBuilder(1000, isTTF=True)
        font.setupGlyphOrder(names)
        font.setupCharacterMap(dict(zip(map(ord, LETTERS), names[1:], strict=True)))
        pen = TTGlyphPen(None)
        for k, at in enumerate([(0, 0), (0, 800), (800, 0)]):
            (pen.lineTo if k else pen.moveTo)(at)
        pen.closePath()
        shape = pen.glyph()
        font.setupGlyf(dict.fromkeys(names, shape))
        font.setupHorizontalMetrics(dict.fromkeys(names, (900, 0)))
        font.setupHorizontalHeader(ascent=800, descent=-200)
        font.setupNameTable({"familyName": "Letters of labels", "styleName": "Regular"})
        font.setupOS2(sTypoAscender=800, sTypoDescender=-200, usWinAscent=800, usWinDescent=200)
        font.setupPost()
        path = str(tmp_path / "letters.ttf")
        font.save(path)
        manager.addfont(path)
        own.add(("Letters of labels", path))
    monkeypatch.setattr(glyphs, "_installed", lambda: own)
    glyphs.other_font.cache_clear()
    yield request.param
    glyphs.other_font.cache_clear()


def test_the_labels_on_a_figure_are_drawn_or_said_to_be_missing(
    read, tmp_path, caplog, recwarn, installed
):
    prompts, lens = read
    play = pd.DataFrame(columns=[*prompts.columns, "model", "p_action_0"])
    table = surface_estimates(prompts, lens, play, model="m", confidence=0.95)
    figure = registry.draw("biases", {"surface_summary": table})
    texts = {text.get_text().strip() for text in figure.findobj(glyphs.Text)}
    assert {"合作 - 背叛", "甲 - 申"} <= texts
    with caplog.at_level(logging.WARNING):
        style.save(figure, tmp_path / "biases", ["png", "svg"], 60, {})
    said = [one.getMessage() for one in caplog.records if one.name.startswith("nashlens")]
    note = "boxes: 6 characters that no installed font has"
    assert (note in figure.get_supxlabel()) != installed
    missing = f"biases: no installed font has {LETTERS}, so boxes stand there"
    assert [missing in text for text in said] == ([] if installed else [True])
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
