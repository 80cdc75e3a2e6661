"""scikit-learn's digits."""

import numpy as np

from alexnet_jax.data.sources import open_source


def test_digits_read_what_scikit_learn_has():
    example = open_source("sklearn:digits", 0.0, 0.1).splits["train"][0]
    assert example.content().shape == (8, 8, 3)
    assert np.unique(example.content()).size > 2
