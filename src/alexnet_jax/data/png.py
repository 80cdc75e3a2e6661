"""The chunks of PNG files, of which Pillow reads some with limits and ignores others."""

from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT = frozenset([b"tEXt", b"zTXt", b"iTXt", b"iCCP"])  # texts and colour profiles


def without_text(content: bytes) -> bytes | None:
    """Return a PNG file without its texts and its colour profile; None if it has neither or is no PNG."""
    kept, dropped = [_SIGNATURE], False
    for kind, start, end in _chunks(content):
        if kind in _TEXT:
            dropped = True
        else:
            kept.append(content[start:end])
    return b"".join(kept) if dropped else None


def bit_depth(content: bytes) -> int:
    """Return the bits of each value in a PNG file; 0 for other files."""
    return content[24] if content.startswith(_SIGNATURE) else 0


def significant_bits(content: bytes) -> int:
    """Return the largest number of bits that the chunk sBIT of a PNG file declares; 0 without the chunk."""
    for kind, start, end in _chunks(content):
        if kind == b"sBIT":
            return max(content[start + 8 : end - 4], default=0)
        if kind == b"IDAT":
            break
    return 0


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, the start and the end of each chunk: length (4 bytes), kind (4), data, checksum (4)."""
    start = len(_SIGNATURE) if content.startswith(_SIGNATURE) else len(content)
    while start + 12 <= len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        yield content[start + 4 : start + 8], start, min(end, len(content))
        start = end
