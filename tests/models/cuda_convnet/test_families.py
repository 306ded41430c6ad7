"""Layers of several towers that are one layer."""

from alexnet_jax.models.cuda_convnet.families import find_families
from tests.models.cuda_convnet.cfgs import (
    conv,
    experiment,
    fc,
    network,
    pool,
    section,
    towers_cfg,
)


def members(*cfg):
    families, logits = find_families(experiment(*cfg).layers)
    assert [family.number for family in families] == [*range(len(families))]
    names = [[one.name for one in family.members] for family in families]
    return names, [(ref.family, ref.layer) for ref in logits]


def test_towers_are_families():
    names, logits = members(*towers_cfg())
    assert names[0] == ["data"]
    assert names[1:7] == [
        [f"{name}{a}" for a in "ab"]
        for name in ("conv1", "norm1", "pool1", "conv2", "norm2", "drop")
    ]
    assert names[7:] == [["conv3a", "conv3b"], ["fc6a", "fc6b"], ["fc"]]
    assert logits == [(9, "fc")]


def test_members_stand_in_the_order_of_what_they_read():
    layers = [conv(f"conv1{a}", "data", 3) for a in "abc"]
    layers += [pool(f"pool{a}", f"conv1{a}") for a in "cab"]
    layers += [pool(f"more{a}", f"pool{a}") for a in "bca"]
    names, _ = members(network(*layers, fc("fc", "morea,moreb,morec")))
    assert names[1:4] == [[f"{name}{a}" for a in "abc"] for name in
                          ("conv1", "pool", "more")]  # fmt: skip


def test_what_is_put_side_by_side_is_no_layer():
    layers = [fc("fca", "data", 4), fc("fcb", "data", 6)]
    layers += [section("both", "concat", inputs="fcb,fca")]
    layers += [section("through", "pass", inputs="both,fca")]
    names, logits = members(network(*layers, logits="through"))
    assert names == [["data"], ["fca"], ["fcb"]]
    assert logits == [(2, "fcb"), (1, "fca"), (1, "fca")]


def test_images_are_one_whatever_they_are_called():
    more = section("more", "data", dataIdx=0)
    layers = [more, conv("conv1a", "data", 3), conv("conv1b", "more", 3)]
    names, _ = members(network(*layers, fc("fc", "conv1a,conv1b")))
    assert names == [["data"], ["conv1a", "conv1b"], ["fc"]]


def test_gpus_and_foreign_code_keep_no_towers_apart():
    layers = [
        conv(f"conv1{a}", "data", 3, gpu=i, initWFunc=f"load({i})")
        for i, a in enumerate("ab")
    ]
    names, _ = members(network(*layers, fc("fc", "conv1a,conv1b")))
    assert names[1] == ["conv1a", "conv1b"]
