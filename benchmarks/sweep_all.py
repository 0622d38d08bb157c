"""A steering sweep over layers and alphas at all positions, against one hooked forward each.

The peer is that of `benchmarks.sweep`, its hook adding the vector at every position. The prompts
are a few matches' decisions, round by round: they share most of their tokens, edited or not.
`--unrelated` also sweeps prompts that share none, where all that is left to share is the layers
below the edited one, about half of the work; its figures have that word before their names.
"""

from __future__ import annotations

from benchmarks.common import device_name, match_prompts, random_model, report
from benchmarks.sweep import compare, one_of_each_match, sweep_arguments


def main() -> None:
    parser = sweep_arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=13, help="rounds of a match")
    parser.add_argument("--unrelated", action="store_true", help="also prompts that share nothing")
    options = parser.parse_args()
    count = options.prompts
    if options.quick:
        count, options.alphas = 8, min(options.alphas, 2)
    loaded = random_model(options)
    prompts = match_prompts(-(-count // options.rounds), options.rounds)[:count]
    if len(prompts) < count:
        parser.error(f"{count} prompts need more rounds: there are five games")
    figures = compare(loaded, prompts, options, "all")
    if options.unrelated:
        apart = one_of_each_match(options, count)
        # The weights are random, so a first token of its own changes nothing but what is shared.
        apart = [[10 + i, *prompt[1:]] for i, prompt in enumerate(apart)]
        others = compare(loaded, apart, options, "all")
        figures |= {f"unrelated_{name}": value for name, value in others.items()}
    report(benchmark="sweep_all", device=device_name(options), **figures)


if __name__ == "__main__":
    main()
