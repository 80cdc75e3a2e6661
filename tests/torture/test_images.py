"""Image files that were mutated by the thousand: each is read or refused, in bounded memory."""

import resource

import numpy as np
import pytest

from alexnet_jax.data.images import BadImage, square
from tests.odd_images import broken, good

pytestmark = pytest.mark.slow

IN_A_TURN = 100
MEMORY = 2**30
"""Bytes by which the images may raise the memory that this process takes."""


def mutated(content, others, moments):
    """Return the bytes of a file after up to four changes."""
    content = bytearray(content)
    for _ in range(moments.randint(1, 4)):
        start, stop = sorted(moments.randint(0, len(content)) for _ in range(2))
        match moments.choice(["bit", "bit", "byte", "cut", "zero", "repeat", "graft", "number"]):
            case "bit" if content:
                content[moments.randrange(len(content))] ^= 1 << moments.randrange(8)
            case "byte" if content:
                content[moments.randrange(min(len(content), 256))] = moments.randrange(256)  # of the header
            case "cut":
                del content[start : min(stop, start + 100)]
            case "zero":
                content[start:stop] = bytes(stop - start)
            case "repeat":
                content[start:start] = content[start : min(stop, start + 1000)]
            case "graft":
                content[start:] = moments.choice(others)[start:]
            case "number":  # a length, an offset or a size
                number = moments.choice([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1])
                content[start : start + 4] = number.to_bytes(4, moments.choice(["big", "little"]))
    return bytes(content)


def test_mutated_images(turns):
    corpus = [content for content, _ in good().values()] + [*broken().values()]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = refused = 0
    for moments in turns:
        for _ in range(IN_A_TURN):
            content = mutated(moments.choice(corpus), corpus, moments)
            try:
                image, _ = square(content, 32)
            except BadImage:
                refused += 1
            else:
                read += 1
                assert (image.dtype, image.shape) == (np.uint8, (32, 32, 3))
    raised = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(f"{read} images read, {refused} refused, {raised / 2**20:.0f} MiB more memory")
    assert raised < MEMORY
