"""nashlens: do language models compute the Nash action, and then suppress it?

The package is the science tier: it knows arrays, frames and models, and neither Snakemake nor
the layout of `results/`. Data flows one way::

    games -> prompts -> play ----------------------------.
                 \\-> activations -> probes -.              \\
                          \\-----> lens -----> findings -> figures
                           \\-> directions -> steering -/

Import the stage you need (`from nashlens.games import solve`); nothing heavy is imported here.
"""

__version__ = "0.1.0"
