import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from nashlens.probes.baselines import bag_of_words


def test_words_and_signs_are_counted_as_scikit_learn_counts_them():
    texts = ["You: J. Other: F.", "You: F. Other: J. You: J.", ""]
    oracle = CountVectorizer(token_pattern=r"\w+|[^\w\s]", lowercase=False)
    np.testing.assert_array_equal(bag_of_words(texts), oracle.fit_transform(texts).toarray())


def test_order_is_lost():
    one, two = bag_of_words(["J then F", "F then J"])
    np.testing.assert_array_equal(one, two)
