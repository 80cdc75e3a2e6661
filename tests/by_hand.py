"""The probabilities of a trained network, computed in NumPy except for the network itself."""

import numpy as np

from alexnet_jax import apply
from alexnet_jax.data.augment import fixed_views


def softmax(logits):
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def probabilities(net, images, views):
    """Return the average over the crops, as the paper defines it."""
    found = []
    for top, left, mirrored in fixed_views(8, 8, 7, views, flip=net.config.data.flip):
        crop = (images.astype(np.float32) - net.data.mean_image)[:, top : top + 7, left : left + 7]
        crop = crop[:, :, ::-1] if mirrored else crop
        found.append(softmax(np.asarray(apply(net.model, net.params, crop / 64))))
    return np.mean(found, axis=0)
