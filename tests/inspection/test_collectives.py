"""Collectives of compiled programs, from their text."""

import pytest

from alexnet_jax.inspection.collectives import collectives

GROUPS = "replica_groups={{0,1}}"


@pytest.mark.parametrize(
    ("line", "kind", "result_bytes"),
    [
        (f"%a = f32[8,4]{{1,0}} all-reduce(%x), {GROUPS}", "all-reduce", 128),
        # On a GPU; a reduction names its results alone, also of several arrays.
        (f"%a = f32[8]{{0}} all-reduce-start(%x), {GROUPS}", "all-reduce", 32),
        (
            "%a = (f32[8]{0}, bf16[4]{0}, f32[2]{0}) all-reduce-start(%x, %y, %z), "
            f"{GROUPS}",
            "all-reduce",
            48,
        ),
        (
            f"%a = (f32[8]{{0}}, f32[16]{{0}}) all-gather-start(%x), {GROUPS}",
            "all-gather",
            64,
        ),
        (
            "%a = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%x), "
            "source_target_pairs={{0,1},{1,0}}",
            "collective-permute",
            32,
        ),
    ],
)
def test_results_of_an_operation(line, kind, result_bytes):
    (found,) = collectives(f"ENTRY %main {{\n  {line}\n}}\n")
    assert (found.kind, found.result_bytes, found.devices) == (kind, result_bytes, 2)
