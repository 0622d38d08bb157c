"""Decision prompts: text, labels, counterbalancing and the prompts table.

- `templates`: the words; `render`: what a seat knows, and the one builder of all prompts of play,
  the quiz and extraction.
- `labels`: prompts and labels as token ids.
- `design`: surface forms, and which variant, seat and opponent each gets.
- `table`, `targets`: the prompts table and what probes decode of it.
- `positions`, `groups`: where pieces of the text end, and which piece each token belongs to.
- `pairs`: counterfactual pairs, prompts that differ in one thing and are aligned token by token.
- `extra`: further sequences that a lens needs.
"""
