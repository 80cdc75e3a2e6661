"""alexnet-jax prepare."""

from types import FrameType

from absl import flags

from alexnet_jax.cli.flags import (
    config_flag,
    config_of,
    parse,
)
from alexnet_jax.errors import Interrupted
from alexnet_jax.runtime import progress

USAGE = """\
--config=RECIPE[:VARIANT,...] [--force] [--publish=DIR] [--config.data.KEY=VALUE ...]
builds the cache that training reads, or checks every byte of an existing one; --publish
copies it to a bucket or a shared folder; other hosts use it with --config.data.cache_from"""


def run(args: list[str]) -> None:
    """Build the cache that training reads, or check it."""

    def define(values: flags.FlagValues) -> None:
        flags.DEFINE_bool("force", False, "Rebuild the cache if it exists.", flag_values=values)
        text = (
            "Bucket or shared folder to copy the cache to. Other hosts read it with --config.data.cache_from."
        )
        flags.DEFINE_string("publish", None, text, flag_values=values)

    values, overrides, _ = parse("prepare", args, USAGE, config_flag, define, overrides=True)
    config = config_of(values, overrides)

    from alexnet_jax.loops.prepare import prepare
    from alexnet_jax.runtime import stopping

    with stopping.handled(_stop_preparing):
        cache = prepare(config, values.force, publish=values.publish)
    path, info = cache.directory, cache.info
    sizes = ", ".join(f"{name} {count:,}" for name, count in info.splits.items())
    height, width = info.image_size
    progress.show(
        f"{path}: {sizes} images of {height}x{width}, {info.encoding}, {len(info.class_names)} classes"
    )


def _stop_preparing(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(signum, "what is prepared so far is kept")
