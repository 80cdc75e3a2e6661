"""The table of settings."""

import pytest

from alexnet_jax.config.settings import BY_KEY, KINDS, OF_A_LAYER, SETTINGS, resume_of
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


def test_the_choices_of_optimizer_name_are_the_optimizers():
    assert BY_KEY["optimizer.name"].choices == tuple(OPTIMIZERS)


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
