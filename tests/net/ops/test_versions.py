"""The choice between versions of an operation."""

import pytest

from alexnet_jax.net.ops.versions import has_amx


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16\n", False),
        (None, False),  # a system other than Linux
    ],
)
def test_has_amx(tmp_path, cpuinfo, expected):
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    assert has_amx(path) is expected
