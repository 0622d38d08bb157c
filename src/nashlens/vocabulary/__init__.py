"""Names that several rooms share: a short module for each subject, which imports nothing of ours.

The configuration and the rooms read them here, and `tests/unit/test_vocabulary.py` compares each
room's registry with them. What a name means is defined in its room. There are several modules
because fingerprints count whole files: a new figure must not make play start again.
"""
