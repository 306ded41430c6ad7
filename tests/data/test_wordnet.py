"""What ImageNet's classes are called."""

from alexnet_jax.data.imagenet import class_names
from alexnet_jax.data.wordnet import shown_names


def test_each_of_the_thousand_has_a_name_of_its_own():
    ids = class_names()
    shown = shown_names(ids)
    assert len({*shown}) == len(shown) == 1000
    assert shown[0] == "tench (n01440764)" and shown[-1] == "toilet tissue (n15075141)"
    # Two of one word in English.
    assert shown[134] == "crane bird (n02012849)" and shown[517] == "crane (n03126707)"
    assert all(f"({one})" in name for one, name in zip(ids, shown, strict=True))


def test_a_part_of_the_classes_and_others():
    assert shown_names(["n02102040"]) == ("English springer (n02102040)",)
    for others in (("cat", "dog"), ("n01440764", "cat"), ("n99999999",), ()):
        assert shown_names(others) == others
