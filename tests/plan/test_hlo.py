from alexnet_jax.plan import hlo

# A TPU's program: a quarter of the weights is copied into VMEM, where the product reads it.
PROGRAM = """HloModule step

ENTRY %main (x: bf16[8,128], w: f32[4,128,256]) -> bf16[8,256] {
  %x = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  %w = f32[4,128,256]{2,1,0} parameter(1)
  %start = ((f32[4,128,256]{2,1,0}), f32[1,128,256]{2,1,0:S(1)}, s32[]{:S(2)}) slice-start(%w)
  %done = f32[1,128,256]{2,1,0:S(1)} slice-done(%start)
  %product = bf16[8,256]{1,0:T(8,128)(2,1)S(1)} fusion(%x, %done), kind=kOutput
  %copy = (bf16[8,256]{1,0}, bf16[8,256]{1,0:T(8,128)(2,1)S(1)}, u32[]{:S(2)}) copy-start(%product)
  ROOT %result = bf16[8,256]{1,0} copy-done(%copy)
}
"""


def test_only_bytes_in_the_main_memory_count():
    weights, x, product = 128 * 256 * 4, 8 * 128 * 2, 8 * 256 * 2
    assert hlo.hbm_bytes(hlo.parse(PROGRAM)) == weights + x + product


def test_every_byte_counts_if_nothing_is_on_the_chip():
    # Here the slice and the copy are also written, and read again.
    weights, x, product = 128 * 256 * 4, 8 * 128 * 2, 8 * 256 * 2
    assert hlo.hbm_bytes(hlo.parse(PROGRAM.replace("S(1)", ""))) == 3 * weights + x + 3 * product
