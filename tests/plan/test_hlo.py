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


PART, X, PRODUCT, COUNTERS = 128 * 256 * 4, 8 * 128 * 2, 8 * 256 * 2, 2 * 4  # bytes


def test_on_a_tpu_only_bytes_in_the_main_memory_count():
    assert hlo.hbm_bytes(hlo.parse(PROGRAM), has_vmem=True) == PART + X + PRODUCT


def test_other_items_of_a_layout_may_follow_the_memory_space():
    program = hlo.parse(PROGRAM.replace("S(1)", "S(1)SC(0:4)"))
    assert hlo.hbm_bytes(program, has_vmem=True) == PART + X + PRODUCT


def test_every_byte_counts_if_nothing_is_on_the_chip():
    # Here the slice and the copy are also written, and read again.
    for program in (PROGRAM.replace("S(1)", ""), PROGRAM):
        assert hlo.hbm_bytes(hlo.parse(program), has_vmem=False) == 3 * PART + X + 3 * PRODUCT + COUNTERS


def test_kernels_that_only_copy_or_transpose_are_counted():
    program = """HloModule step

%fused (p: f32[8,128]) -> f32[128,8] {
  %p = f32[8,128]{1,0} parameter(0)
  ROOT %transpose = f32[128,8]{1,0} transpose(%p), dimensions={1,0}
}

ENTRY %main (x: f32[8,128]) -> f32[16,8] {
  %x = f32[8,128]{1,0} parameter(0)
  %input_transpose_fusion = f32[128,8]{1,0} fusion(%x), kind=kInput, calls=%fused
  %copy = f32[128,8]{0,1} copy(%input_transpose_fusion)
  %product = (f32[8,8]{1,0}, s8[0]{0}) custom-call(%x, %copy), custom_call_target="__cublas$gemm"
  %y = f32[8,8]{1,0} get-tuple-element(%product), index=0
  %start = (f32[8,8]{1,0}, f32[16,8]{1,0}) all-gather-start(%y), dimensions={0}
  ROOT %done = f32[16,8]{1,0} all-gather-done(%start)
}
"""
    assert hlo.kernels(hlo.parse(program)) == (4, 2)


def test_the_result_of_an_asynchronous_gather_repeats_its_operand():
    program = """HloModule step

ENTRY %main (x: f32[8,128]) -> f32[16,128] {
  %x = f32[8,128]{1,0} parameter(0)
  %start = (f32[8,128]{1,0}, f32[16,128]{1,0}) all-gather-start(%x), dimensions={0}
  ROOT %done = f32[16,128]{1,0} all-gather-done(%start)
}
"""
    assert hlo.hbm_bytes(hlo.parse(program), has_vmem=True) == (8 + 16) * 128 * 4
