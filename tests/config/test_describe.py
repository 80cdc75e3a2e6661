"""The settings in --help and in docs/settings.md."""

from alexnet_jax.config import describe
from alexnet_jax.config.settings import OF_A_LAYER, SETTINGS
from tests.conftest import ROOT


def test_the_page_is_up_to_date():
    assert (ROOT / "docs" / "settings.md").read_text() == describe.page(), "run: make docs"


def test_help_and_page_explain_every_setting():
    for setting in SETTINGS:
        if setting.type is not dict:
            assert setting.key == "net.layers" or f"--config.{setting.key}=" in describe.text()
            assert f"| `{setting.key}` |" in describe.page()
            assert setting.key == "net.layers" or setting.doc in describe.text()
    for key in OF_A_LAYER:
        assert f"--config.optimizer.layers.LAYER.{key}=" in describe.text()
        assert f"| `optimizer.layers.LAYER.{key}` |" in describe.page()


def test_help_has_the_defaults():
    lines = describe.text().split("\n")
    assert "  --config.batch_size=128" in lines
    assert "  --config.num_steps=" in lines
    index = lines.index("  --config.optimizer.bias_learning_rate=")
    assert lines[index + 1].endswith("[follows optimizer.learning_rate]")
