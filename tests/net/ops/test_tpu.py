"""What a step on a TPU chooses against what it chooses on a CPU; it runs anywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental.pallas import tpu as pltpu

from alexnet_jax import apply, build, init
from alexnet_jax.data.augment import Statistics, random_views
from alexnet_jax.layers import LRN, Classifier, Conv, Dense, MaxPool, ReLU
from alexnet_jax.net.ops import tpu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_crops_are_slices_to_the_bit(dtype):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 9, 8, 3)), jnp.float32).astype(dtype)
    corners, mirrored = jnp.array([[0, 0], [3, 2], [1, 2], [2, 1]]), jnp.array([False, True, False, True])

    def sliced(image, corner, mirror):
        crop = lax.dynamic_slice(image, (corner[0], corner[1], 0), (6, 6, 3))
        return jnp.where(mirror, crop[:, ::-1], crop)

    expected = jax.vmap(sliced)(images, corners, mirrored)
    assert jnp.array_equal(tpu.chosen_places(images, corners, mirrored, 6), expected)


@pytest.mark.slow
def test_a_step_on_a_tpu_is_the_same(tiny, monkeypatch):
    """The whole step with what it would choose on a TPU, against what it chooses here."""
    tiny.batch_size, tiny.data.color_noise = 128, 0.1
    tiny.net.layers = (
        Conv("conv1", features=16, kernel=3, bias=0.1),
        ReLU("relu1"),
        LRN("norm1", alpha=1e-2),
        MaxPool("pool1"),
        Dense("fc6", units=16, reads="all"),
        ReLU("relu6"),
        Classifier("fc10", classes=10),
    )
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (128, 8, 8, 3), dtype=np.uint8)
    labels = draws.integers(0, 10, 128, dtype=np.int32)

    def gradients():
        model = build(tiny)
        assert model.image_shape == (7, 7, 3)
        statistics = Statistics(jnp.full((8, 8, 3), 128.0), jnp.eye(3))

        def loss(params):
            views = random_views(images, 0, 128, jax.random.key(1), jnp.float32(0.1), statistics, tiny.data)
            logits = apply(model, params, views / 100)
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))

        return jax.value_and_grad(loss)(init(model, jax.random.key(0)))

    expected = gradients()
    chosen = []

    def on_a_tpu(*args, default, tpu=None, cpu=None):
        chosen.append(tpu)
        return (tpu or default)(*args)

    monkeypatch.setattr(lax, "platform_dependent", on_a_tpu)
    with pltpu.force_tpu_interpret_mode():
        found = gradients()
    assert len([choice for choice in chosen if choice]) >= 4  # crops, the block, fc6, fc10
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, expected)
