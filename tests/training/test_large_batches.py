"""Three updates with batch normalization, LARS and label smoothing, compared with NumPy in float64.

The reference takes its gradients from central differences, so it shares no derivative with the program.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alexnet_jax import build
from alexnet_jax.config import base
from alexnet_jax.data.augment import statistics
from alexnet_jax.layers import BatchNorm, Classifier, Conv, ReLU
from alexnet_jax.parallel.mesh import make_mesh
from alexnet_jax.parallel.placement import on_devices
from alexnet_jax.training.state import new_state
from alexnet_jax.training.step import train_step

BATCH, SIZE, CLASSES, TOWERS = 12, 4, 3, 2
RATE, BIAS_RATE, DECAY, MOMENTUM, TRUST, SMOOTHING = 2.0, 0.05, 0.01, 0.9, 0.02, 0.1


@pytest.fixture
def config():
    c = base()
    c.batch_size, c.num_steps, c.label_smoothing = BATCH, 3, SMOOTHING
    c.data.image_size = c.data.crop_size = SIZE
    c.data.random_crops = c.data.flip = False
    c.data.color_noise, c.data.pixel_std = 0.0, 64.0
    c.net.layers = (
        Conv("conv1", features=2, kernel=3, std=0.3),
        BatchNorm("norm1", group=6, decay=0.8, epsilon=1e-3),
        ReLU("relu1"),
        Classifier("fc2", classes=CLASSES, std=0.3),
    )
    c.optimizer.name, c.optimizer.momentum, c.optimizer.trust = "lars", MOMENTUM, TRUST
    c.optimizer.learning_rate, c.optimizer.bias_learning_rate = RATE, BIAS_RATE
    c.optimizer.weight_decay, c.optimizer.bias_weight_decay = DECAY, 0.0
    c.schedule.name = "constant"
    return c


def loss_and_moments(params, images_BxHxWx3, labels_B):
    """Return the mean loss, and the mean over the groups of each moment of each channel."""
    windows = np.lib.stride_tricks.sliding_window_view(images_BxHxWx3 / 64, (3, 3), axis=(1, 2))
    conv = np.einsum("bhwcij,tijcf->tbhwf", windows, params["conv1"]["kernel"])
    conv = conv + params["conv1"]["bias"][:, None, None, None]
    groups = conv.reshape(TOWERS, 2, -1, conv.shape[-1])  # of six examples
    mean, variance = groups.mean(2, keepdims=True), groups.var(2, keepdims=True)
    scale, bias = (params["norm1"][kind][:, None, None] for kind in ("scale", "bias"))
    units = np.maximum((groups - mean) / np.sqrt(variance + 1e-3) * scale + bias, 0)
    logits = params["fc2"]["bias"][0] + sum(
        units[t].reshape(BATCH, -1) @ params["fc2"]["kernel"][t] for t in range(TOWERS)
    )
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    targets = np.eye(CLASSES)[labels_B] * (1 - SMOOTHING) + SMOOTHING / CLASSES
    moments = {"mean": mean.mean((1, 2)), "variance": groups.var(2, ddof=1).mean(1)}
    return -(targets * logs).sum(1).mean(), moments


def gradients_of(params, *batch, difference=1e-6):
    found = {}
    for name, kinds in params.items():
        for kind, array in kinds.items():
            gradient = np.zeros_like(array)
            for i in np.ndindex(array.shape):
                ends = []
                for sign in (1, -1):
                    moved = array.copy()
                    moved[i] += sign * difference
                    changed = params | {name: kinds | {kind: moved}}
                    ends.append(loss_and_moments(changed, *batch)[0])
                gradient[i] = (ends[0] - ends[1]) / (2 * difference)
            found[name, kind] = gradient
    return found


@pytest.mark.parametrize("shape", [(1, 1), (2, 2)])
def test_three_updates(config, shape):
    draws = np.random.default_rng(1)
    mesh = make_mesh(*shape)
    model = build(config)
    state = new_state(model, config, mesh)
    update = train_step(model, config, mesh, steps_per_epoch=1)
    stats = on_devices(statistics(np.zeros((SIZE, SIZE, 3)), np.eye(3), "variance"), mesh)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.device_get(state.params))
    running = {kind: params["norm1"].pop(kind) for kind in ("mean", "variance")}
    velocity = {}
    for _ in range(3):
        images = draws.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
        labels = draws.integers(0, CLASSES, BATCH).astype(np.int32)
        state, metrics = update(
            state,
            on_devices(images, mesh, "data"),
            on_devices(labels, mesh, "data"),
            on_devices(jnp.int32(0), mesh),
            stats,
        )
        loss, moments = loss_and_moments(params, images, labels)
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
        running = {kind: 0.8 * running[kind] + 0.2 * moments[kind] for kind in running}
        for (name, kind), gradient in gradients_of(params, images, labels).items():
            weight = params[name][kind]
            if kind == "kernel":
                norm, of_gradient = np.linalg.norm(weight), np.linalg.norm(gradient)
                rate = RATE * TRUST * norm / (of_gradient + DECAY * norm)
                step = rate * (gradient + DECAY * weight)
            else:
                step = BIAS_RATE * gradient
            velocity[name, kind] = MOMENTUM * velocity.get((name, kind), 0) - step
            params[name] = params[name] | {kind: weight + velocity[name, kind]}
    found = jax.device_get(state.params)
    for name, kinds in (params | {"norm1": params["norm1"] | running}).items():
        for kind, array in kinds.items():
            np.testing.assert_allclose(
                found[name][kind], array, rtol=1e-4, atol=1e-5, err_msg=f"{name} {kind}"
            )
