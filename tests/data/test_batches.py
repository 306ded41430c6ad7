import numpy as np

from alexnet_jax.data import Batches


def test_an_epoch_holds_every_example_once(batches):
    assert len(batches) == 3
    for first in (0, 3, 6):
        epoch = [batches.batch(step) for step in range(first, first + 3)]
        label = np.concatenate([batch["label"] for batch in epoch])
        mask = np.concatenate([batch["mask"] for batch in epoch])
        assert sorted(label[mask]) == list(range(10))
        assert mask.sum() == 10 and not mask[-2:].any()
        image = np.concatenate([batch["image"] for batch in epoch])
        np.testing.assert_array_equal(image, batches.image[label])


def test_a_batch_is_a_function_of_seed_and_step(batches):
    later = Batches(batches.image, batches.label, 4, seed=3)
    other = Batches(batches.image, batches.label, 4, seed=4)
    expected = [batches.batch(step)["label"].tolist() for step in range(9)]
    for step in (8, 2, 5, 0):  # in any order, as after a restart
        assert later.batch(step)["label"].tolist() == expected[step]
    assert [other.batch(s)["label"].tolist() for s in range(9)] != expected


def test_the_composition_of_batches_changes(batches):
    compositions = {
        frozenset(batches.batch(3 * epoch)["label"].tolist()) for epoch in range(8)
    }
    assert len(compositions) > 1


def test_padding_is_of_real_examples(batches):
    order = np.concatenate([batches.batch(step)["label"] for step in range(3)])
    assert order[10:].tolist() == order[:2].tolist()


def test_types_and_order_without_a_seed(batches):
    ordered = Batches(batches.image, batches.label, 4)
    batch = ordered.batch(2)
    assert batch["label"].tolist() == [8, 9, 0, 1]
    assert batch["mask"].tolist() == [True, True, False, False]
    assert [batch[k].dtype for k in ("image", "label", "mask")] == [
        np.uint8,
        np.int32,
        bool,
    ]
