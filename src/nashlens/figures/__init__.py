"""Figures from tables: one module a figure, each with a pure `draw`.

`nashlens.figures.registry` knows the figures by name and which tables each shows;
`nashlens.figures.style` holds what all of them share, and writes their files. No module here
reads a file or knows where tables lie, and none uses pyplot's global state.
"""
