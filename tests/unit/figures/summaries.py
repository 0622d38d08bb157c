"""The tables of estimates that figures show, made from the tables of observations."""

from __future__ import annotations

import pandas as pd

from nashlens.circuits.concentration import concentration_estimates
from nashlens.circuits.patching_summary import patching_estimates
from nashlens.circuits.summary import heads_estimates
from nashlens.circuits.writers import attribution_estimates
from nashlens.estimates import Bootstrap
from nashlens.lens.effects import effect_estimates
from nashlens.lens.layers import layer_estimates, tuned_estimates
from nashlens.planted.calibration_summary import calibration_rates
from nashlens.play.metrics.by_round import round_estimates
from nashlens.play.metrics.pooled import mode_differences
from nashlens.steering.summary import steering_estimates
from nashlens.surface import surface_estimates

HOW = Bootstrap(confidence=0.95, resamples=100, seed=1)


def with_summaries(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return tables of observations together with the estimates made from them."""
    prompts, play = tables["prompts"].assign(dropped=""), tables["play"]
    models = list(dict.fromkeys(prompts["model"]))

    def of(name, model):
        table = prompts if name == "prompts" else tables[name]
        return table[table["model"] == model]

    parts = {
        "effects": lambda m: pd.concat(
            effect_estimates(
                of(table, m), of("prompts", m), model=m, name=name, confidence=HOW.confidence
            )
            for table, name in (("lens", "logit"), ("lens_tuned", "tuned"))
        ),
        "lens_layers": lambda m: layer_estimates(
            of("lens", m), of("prompts", m), model=m, name="logit", how=HOW
        ),
        "lens_tuned_layers": lambda m: tuned_estimates(
            of("lens_tuned", m), of("prompts", m), of("tuned_lens", m), model=m, how=HOW
        ),
        "steering_summary": lambda m: steering_estimates(of("steering", m), model=m, how=HOW),
        "heads_summary": lambda m: heads_estimates(of("heads", m), model=m, how=HOW),
        "patching_summary": lambda m: patching_estimates(of("patching", m), model=m, how=HOW),
        "attribution_summary": lambda m: attribution_estimates(
            of("attribution", m), model=m, how=HOW
        ),
        "choir": lambda m: concentration_estimates(of("override", m), model=m, how=HOW),
        "surface_summary": lambda m: surface_estimates(
            of("prompts", m), of("lens", m), play, model=m, confidence=HOW.confidence
        ),
    }
    found = {name: pd.concat(map(make, models), ignore_index=True) for name, make in parts.items()}
    return {
        **tables,
        **found,
        "rounds": round_estimates(play, HOW),
        "mode_differences": mode_differences(tables["metrics"]),
        "calibration_rates": calibration_rates(tables["calibration"], HOW.confidence),
    }
