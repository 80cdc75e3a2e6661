"""The new names of renamed settings."""

import pytest

from alexnet_jax.config.renamed import RENAMED, RENAMED_OF_A_LAYER, RENAMED_VALUES, new_name, unknown
from alexnet_jax.config.settings import BY_KEY, OF_A_LAYER


def test_new_names_exist_and_old_names_do_not():
    assert {*RENAMED.values()} <= {*BY_KEY}
    assert {*RENAMED}.isdisjoint(BY_KEY)
    assert {*RENAMED_OF_A_LAYER.values()} <= {*OF_A_LAYER}
    for key, values in RENAMED_VALUES.items():
        assert {*values.values()} <= {*BY_KEY[key].choices}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("learning.cuts", "schedule.boundaries"),
        ("learning.layers.conv1.cuts", "optimizer.layers.conv1.boundaries"),
        ("learning.layers.conv1.weight_decay", "optimizer.layers.conv1.weight_decay"),
        ("optimizer.layers.conv1.rate", "optimizer.layers.conv1.learning_rate"),
        ("optimizer.layers.conv1.learning_rate", None),
        ("learning.rat", None),
        ("batch_size", None),
    ],
)
def test_new_names(old, new):
    assert new_name(old) == new
    if new is not None:
        assert unknown(old).endswith((f"it is called {new} now", "as optimizer.layers.fc8.learning_rate"))
