"""AlexNets of other frameworks, written in NumPy: images are channels first, convolutions have groups."""

import numpy as np


def conv(x_CxHxW, weight, bias, stride=1, pad=0, groups=1):
    x = np.pad(x_CxHxW, [(0, 0), (pad, pad), (pad, pad)])
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (1, 2))[:, ::stride, ::stride]
    pairs = zip(np.split(windows, groups), np.split(weight, groups), strict=True)
    parts = [np.tensordot(w, seen, ((1, 2, 3), (0, 3, 4))) for seen, w in pairs]
    return np.concatenate(parts) + bias[:, None, None]


def relu(x):
    return np.maximum(x, 0)


def pool(x_CxHxW):
    """Take the maximum of windows of 3x3 at a distance of 2."""
    return np.lib.stride_tricks.sliding_window_view(x_CxHxW, (3, 3), (1, 2))[:, ::2, ::2].max((3, 4))


def lrn(x_CxHxW, size=5, alpha=1e-4, beta=0.75):
    """Normalize over channels as Caffe: k = 1, alpha divided by the window."""
    squares = np.pad(x_CxHxW**2, [(size // 2, size // 2), (0, 0), (0, 0)])
    sums = np.lib.stride_tricks.sliding_window_view(squares, size, 0).sum(-1)
    return x_CxHxW / (1 + alpha / size * sums) ** beta


def dense(x, weight, bias):
    return weight @ x.reshape(-1) + bias


def torchvision_alexnet(arrays, x_CxHxW):
    """Compute the logits of torchvision's alexnet for an image after its transforms."""

    def of(name):
        return arrays[f"{name}.weight"], arrays[f"{name}.bias"]

    x = pool(relu(conv(x_CxHxW, *of("features.0"), stride=4, pad=2)))
    x = pool(relu(conv(x, *of("features.3"), pad=2)))
    for name in ("features.6", "features.8", "features.10"):
        x = relu(conv(x, *of(name), pad=1))
    x = relu(dense(pool(x), *of("classifier.1")))
    return dense(relu(dense(x, *of("classifier.4"))), *of("classifier.6"))


def caffe_alexnet(blobs, x_CxHxW, pool_first):
    """Compute the logits of BVLC's AlexNet or CaffeNet for BGR after subtraction of the mean."""

    def between(x):
        return lrn(pool(x)) if pool_first else pool(lrn(x))

    x = between(relu(conv(x_CxHxW, *blobs["conv1"], stride=4)))
    x = between(relu(conv(x, *blobs["conv2"], pad=2, groups=2)))
    x = relu(conv(x, *blobs["conv3"], pad=1))
    x = relu(conv(x, *blobs["conv4"], pad=1, groups=2))
    x = relu(conv(x, *blobs["conv5"], pad=1, groups=2))
    x = relu(dense(pool(x), *blobs["fc6"]))
    return dense(relu(dense(x, *blobs["fc7"])), *blobs["fc8"])


def random_arrays(shapes, seed=0):
    """Return weights with which activations neither grow nor shrink, and small biases, float32."""
    random = np.random.default_rng(seed)

    def draw(shape):
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        return random.standard_normal(shape, np.float32) * np.float32(scale)

    return {name: draw(shape) for name, shape in shapes.items()}


def photograph(seed=0):
    """Return a smooth random image, uint8 of shape (256, 256, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 16, 3))
    return np.kron(coarse, np.ones((16, 16, 1))).astype(np.uint8)


def log_softmax(x):
    return x - x.max() - np.log(np.exp(x - x.max()).sum())
