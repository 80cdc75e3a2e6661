"""The records of TensorBoard's files of events. Nothing here imports JAX."""

import struct

from tensorboardX.record_writer import masked_crc32c


def tfrecord(data: bytes) -> bytes:
    """Return a record of a TFRecord file: the length and the data, each with its checksum."""
    length = struct.pack("<Q", len(data))
    return b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in (length, data))
