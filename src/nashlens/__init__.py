"""Tests whether language models compute the Nash action and then suppress it.

The package is the science tier: it knows arrays, frames and models, and neither Snakemake nor
the layout of `results/`. Data flows one way: games, prompts, then play beside activations; from
activations to probes, lens and directions; from directions to steering; all to findings, and
findings to figures.

Import the stage you need (`from nashlens.games import solve`); nothing heavy is imported here.
"""

__version__ = "0.1.0"
