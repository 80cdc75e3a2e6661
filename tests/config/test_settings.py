"""The table of settings, and the new names of renamed settings."""

import pytest

from alexnet_jax.config.settings import (
    BY_KEY,
    KINDS,
    OF_A_LAYER,
    RENAMED,
    RENAMED_OF_A_LAYER,
    RENAMED_VALUES,
    SETTINGS,
    new_name,
    resume_of,
    unknown,
)  # fmt: skip
from alexnet_jax.training.optimizer import OPTIMIZERS


@pytest.mark.parametrize("setting", [*SETTINGS, *OF_A_LAYER.values()], ids=lambda setting: setting.key)
def test_every_setting_is_explained_in_one_line(setting):
    assert setting.type in KINDS
    assert setting.doc.endswith(".")
    assert "\n" not in setting.doc
    assert 10 < len(setting.doc) <= 104
    assert not setting.choices or setting.default in setting.choices


def test_keys_are_unique():
    assert len(BY_KEY) == len(SETTINGS)


def test_new_names_exist_and_old_names_do_not():
    assert {*RENAMED.values()} <= {*BY_KEY}
    assert {*RENAMED}.isdisjoint(BY_KEY)
    assert {*RENAMED_OF_A_LAYER.values()} <= {*OF_A_LAYER}
    for key, values in RENAMED_VALUES.items():
        assert {*values.values()} <= {*BY_KEY[key].choices}


def test_the_choices_of_optimizer_name_are_the_optimizers():
    assert BY_KEY["optimizer.name"].choices == tuple(OPTIMIZERS)


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


@pytest.mark.parametrize(
    ("key", "resume"),
    [
        ("batch_size", "no"),
        ("net.layers.conv1.std", "no"),
        ("num_epochs", "yes"),
        ("optimizer.layers.conv1.learning_rate", "yes"),
        ("schedule.name", "yes"),
        ("mesh", "neutral"),
    ],
)
def test_what_may_change_when_a_run_resumes(key, resume):
    assert resume_of(key) == resume
