"""Compare the full-size network with an independent one in PyTorch: logits, loss, gradients, three updates.

    pip install torch && python benchmarks/agreement.py

The PyTorch network follows the text of the paper, in float64 and in its own layout. It shares only the
initial values. Ours is the compiled training step in float32; the learning rate is reduced before the third
update. Nothing is random: dropout is off (but the logits of the test include its factor), and the images
have the size of the crop.

Near a kink the gradient depends on rounding in float32, also in PyTorch. At a kink, the input of a ReLU is
zero, or the two largest values of a pooling window are equal. So each step takes the images that stay
farthest from kinks.

For each group of arrays it prints the largest relative difference: the largest difference in an array divided
by the largest value of this array. It fails if one is above 1e-4.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F  # noqa: N812

from alexnet_jax import apply, build, get_config, init, torch_layout
from alexnet_jax.data.augment import statistics
from alexnet_jax.layers import replaced
from alexnet_jax.parallel.mesh import local_mesh
from alexnet_jax.parallel.placement import on_devices
from alexnet_jax.training import step
from alexnet_jax.training.state import new_state

CANDIDATES, BATCH, LIMIT = 24, 4, 1e-4
CONFIG = Path(__file__).parent.parent / "configs" / "alexnet.py"
Weights = dict[str, torch.Tensor]


class Reference:
    """The network of section 3.5 in PyTorch. It records how close its last input came to a kink."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.weights = {
            k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in arrays.items()
        }
        self.distance = 1.0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.distance = 1.0
        w = self.weights
        x = self.pool(self.lrn(self.conv(F.pad(x, (0, 3, 0, 3)), "conv1", 1, stride=4)))
        x = self.pool(self.lrn(self.conv(x, "conv2", 2, padding=2)))
        x = self.conv(x, "conv3", 1, padding=1)
        x = self.conv(x, "conv4", 2, padding=1)
        x = self.pool(self.conv(x, "conv5", 2, padding=1)).flatten(1)
        x = self.relu(F.linear(x, w["fc6.weight"], w["fc6.bias"]))
        x = self.relu(F.linear(x, w["fc7.weight"], w["fc7.bias"]))
        return F.linear(x, w["fc8.weight"], w["fc8.bias"])

    def conv(self, x: torch.Tensor, name: str, groups: int, **where: int) -> torch.Tensor:
        """Compute a convolution. With two groups, each tower reads only its own half of the channels."""
        return self.relu(
            F.conv2d(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], groups=groups, **where)
        )

    def lrn(self, x: torch.Tensor) -> torch.Tensor:
        """Compute section 3.3 in each tower. PyTorch divides alpha by the window, the paper does not."""
        return torch.cat(
            [F.local_response_norm(t, 5, alpha=5e-4, beta=0.75, k=2.0) for t in x.chunk(2, 1)], 1
        )

    def relu(self, x: torch.Tensor) -> torch.Tensor:
        self.note(x.abs(), x)
        return F.relu(x)

    def pool(self, x: torch.Tensor) -> torch.Tensor:
        first, second = x.detach().unfold(2, 3, 2).unfold(3, 3, 2).flatten(-2).topk(2).values.unbind(-1)
        self.note((first - second)[first > 0], x)
        return F.max_pool2d(x, 3, 2)

    def note(self, distances: torch.Tensor, x: torch.Tensor) -> None:
        self.distance = min(self.distance, float((distances.min() / x.std()).detach()))


def far_from_kinks(reference: Reference, images: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the indices of the images that stay farthest from kinks."""
    distances = []
    with torch.no_grad():
        for image in images:
            reference(channels_first(image[None] - mean))
            distances.append(reference.distance)
    return np.argsort(distances)[-BATCH:]


def channels_first(images_BxHxWx3: np.ndarray) -> torch.Tensor:
    return torch.tensor(images_BxHxWx3.transpose(0, 3, 1, 2), dtype=torch.float64)


def report(what: str, ours: dict[str, np.ndarray], theirs: Weights) -> bool:
    """Print the largest relative difference of some arrays, and return whether it is within the limit."""

    def difference(name: str) -> float:
        reference = theirs[name].detach().numpy()
        return float(np.abs(ours[name] - reference).max() / np.abs(reference).max())

    worst = max(ours, key=difference)
    print(f"{what:20s} {difference(worst):.1e}  ({worst})", flush=True)
    return difference(worst) <= LIMIT


def main() -> int:
    config = get_config(str(CONFIG))
    config.batch_size, config.data.image_size = BATCH, 224
    config.data.flip, config.data.color_noise = False, 0.0
    params = init(build(config), jax.random.key(0))
    draws = np.random.default_rng(0)
    images = draws.integers(0, 256, (CANDIDATES, 224, 224, 3), dtype=np.uint8)
    labels = draws.integers(0, 1000, CANDIDATES)
    mean = draws.uniform(100, 150, (224, 224, 3)).astype(np.float32)
    print(f"jax {jax.__version__}, torch {torch.__version__}, {BATCH} images of 224x224: largest difference")

    few = images[:BATCH] - mean
    logits = np.asarray(apply(build(config), params, jnp.asarray(few)))
    theirs = Reference(torch_layout(params, config))(channels_first(few))
    agrees = report("logits at test", {"fc8": logits}, {"fc8": theirs})

    for name in ("drop6", "drop7"):
        config.net.layers = replaced(config.net.layers, name, rate=0.0)
    model = build(config)
    reference = Reference(torch_layout(params, config))
    velocity = {name: torch.zeros_like(w) for name, w in reference.weights.items()}

    def mean_loss(params: dict, images: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(apply(model, params, images), labels).mean()

    mesh = local_mesh()
    state = new_state(model, config, mesh, params)
    update = step.train_step(model, config, mesh, steps_per_epoch=1)
    stats = on_devices(statistics(mean, np.eye(3), "standard_deviation"), mesh)
    for number, reductions in enumerate((0, 0, 1), start=1):
        print(f"update {number}")
        chosen = far_from_kinks(reference, images, mean)
        x, y = images[chosen], labels[chosen].astype(np.int32)
        loss, gradients = jax.value_and_grad(mean_loss)(state.params, jnp.asarray(x - mean), jnp.asarray(y))
        state, metrics = update(state, jnp.asarray(x), jnp.asarray(y), np.int32(reductions), stats)

        weights = reference.weights
        their_loss = F.cross_entropy(reference(channels_first(x - mean)), torch.tensor(y, dtype=torch.int64))
        their_gradients = dict(
            zip(weights, torch.autograd.grad(their_loss, list(weights.values())), strict=True)
        )
        rate = 0.01 * 0.1**reductions
        with torch.no_grad():
            for name, w in weights.items():
                velocity[name] = 0.9 * velocity[name] - 0.0005 * rate * w - rate * their_gradients[name]
                w += velocity[name]

        ours = {"loss": np.asarray(loss), "the step's loss": np.asarray(metrics["loss"])}
        agrees &= report("  loss", ours, dict.fromkeys(ours, their_loss))
        agrees &= report("  gradients", torch_layout(gradients, config), their_gradients)
        v = optax.tree.get(state.opt_state, "trace")
        agrees &= report("  velocity", torch_layout(v, config), velocity)
        agrees &= report("  weights", torch_layout(state.params, config), weights)
    print("they agree" if agrees else f"they differ by more than {LIMIT}")
    return not agrees


if __name__ == "__main__":
    sys.exit(main())
