"""Files: deterministic, traceable, whole; and imports that stay narrow."""

from __future__ import annotations

import json
import subprocess
import sys

import matplotlib
import matplotlib.colors
import numpy as np
import pytest
import seaborn
from PIL import Image

from nashlens.errors import ConfigError
from nashlens.figures import registry, scales, style, theme

RESTYLED = {
    *("axes.spines.top", "axes.spines.right", "axes.edgecolor", "axes.grid", "grid.color"),
}
"""Settings of seaborn's style that figures have their own of."""
PROVENANCE = {"probes/smol": "3f2a91c" + "0" * 57, "games": "abcdef1" + "1" * 57}


@pytest.mark.parametrize("name", ["games", "lens", "findings", "pairs"])
def test_files_are_identical_on_a_rerun_and_carry_provenance(name, one_model, tmp_path):
    written = []
    for run in ("a", "b"):
        figure = registry.draw(name, one_model)
        written.append(
            style.save(figure, tmp_path / run / name, ["png", "svg", "pdf"], 60, PROVENANCE)
        )
    for one, two in zip(*written, strict=True):
        assert one.read_bytes() == two.read_bytes()
    png, svg, pdf = written[0]
    record = json.loads(Image.open(png).text["nashlens"])
    assert record["tables"] == PROVENANCE
    assert record["figure"] == name
    assert PROVENANCE["games"] in svg.read_text()
    assert "<dc:date>" not in svg.read_text()
    assert b"CreationDate" not in pdf.read_bytes()
    assert "games\u00a0abcdef1" in figure.get_supxlabel().replace("\n", " ")
    assert sorted(p.name for p in png.parent.iterdir()) == sorted(p.name for p in written[0])


def test_one_format_alone_is_the_same_as_among_others(one_model, tmp_path):
    alone = style.save(registry.draw("games", one_model), tmp_path / "a", ["svg"], 60, {})
    both = style.save(
        registry.draw("games", one_model), tmp_path / "b" / "a", ["png", "svg"], 60, {}
    )
    assert alone[0].read_bytes() == both[1].read_bytes()


def test_failed_save_leaves_the_old_file(one_model, tmp_path):
    old = tmp_path / "games.png"
    old.write_bytes(b"old")
    with pytest.raises(ConfigError, match="'gif' is not one of"):
        style.save(registry.draw("games", one_model), tmp_path / "games", ["png", "gif"], 60, {})
    assert old.read_bytes() == b"old"


def test_the_registry_imports_no_figure():
    code = (
        "import sys, nashlens.figures.registry\n"
        "bad = [m for m in sys.modules if m.startswith('nashlens.figures.') and m[17:] != "
        "'registry']\n"
        "bad += [m for m in ('matplotlib', 'seaborn', 'torch') if m in sys.modules]\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "src"})


def test_the_look_is_seaborns_without_its_import():
    code = "import sys, nashlens.figures.style; sys.exit('seaborn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "src"})
    keys = [str(k) for k in range(12)]
    assert list(theme.colors("colorblind", keys).values()) == seaborn.color_palette(
        "colorblind", 12
    )
    ours = {*RESTYLED, "image.cmap", "font.family", "font.sans-serif"}
    with theme.context():
        for key, value in seaborn.axes_style("ticks").items():
            assert key in ours or _same(matplotlib.rcParams[key], value), key


def _same(one, other):
    return one == other or matplotlib.colors.to_rgb(one) == matplotlib.colors.to_rgb(other)


def test_dollar_signs_are_text_in_every_figure():
    titles = [r"$\frac{1}{0$", "costs $3 or $5", r"$x$", r"\$", "$$"]
    with theme.context():
        figure, body = style.canvas(4, 2)
        figure.suptitle(titles[0])
        ax = body.subplots()
        texts = [ax.set_title(title) for title in titles]
        figure.canvas.draw()
    assert not any(text.get_parse_math() for text in texts)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.001, "10⁻³"), (1, "10⁰"), (-100, "-10²"), (0, "0"), (0.02, "0.02"), (1e12, "10¹²")],
)
def test_powers_of_ten_are_plain_characters(value, text):
    assert scales._power(value) == text


@pytest.mark.parametrize(
    ("text", "inches", "wrapped"),
    [
        ("smollm2_steered", 0.73, "smollm2_\nsteered"),
        ("steered_llama-3-8b-instruct", 0.9, "steered_llama-3-\n8b-instruct"),
        ("of smollm2_steered_more", 0.73, "of smollm2_\nsteered_more"),
        ("abcdefghijklmnopq", 0.6, "abcdefghij\nklmnopq"),
        ("peak 0.88 [0.86, 0.90]", 1.0, "peak 0.88\n[0.86,\u00a00.90]"),
        ("[0.86, 0.90]", 0.5, "[0.86,\n0.90]"),
    ],
)
def test_names_break_at_their_signs_and_intervals_stay_whole(text, inches, wrapped):
    assert style.fit(text, inches) == wrapped


@pytest.mark.parametrize("name", ["biases", "cooperation", "pairs", "probes", "transfer"])
def test_no_letter_touches_the_edge_at_any_resolution(name, four_models, tmp_path):
    tables = {f"{name}/{k}": "0" * 64 for k in range(8)}
    for dpi in (72, 130):
        (path,) = style.save(
            registry.draw(name, four_models), tmp_path / name, ["png"], dpi, tables
        )
        ink = np.asarray(Image.open(path).convert("L")) < 200
        edge = max(1, dpi // 65)
        for side in (ink[:, :edge], ink[:, -edge:], ink[:edge], ink[-edge:]):
            assert not side.any()
