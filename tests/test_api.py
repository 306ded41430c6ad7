"""The public API: every name works, in whatever order it is asked for."""

import ast
import doctest
import inspect
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import alexnet_jax as aj
from alexnet_jax.errors import InputError
from alexnet_jax.layers.dense import flatten

STUB = Path(aj.__file__).with_suffix(".pyi")


def test_every_name_has_a_type_and_a_docstring():
    declared = set()
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            declared |= {alias.asname for alias in node.names}
        elif isinstance(node, ast.AnnAssign):
            declared.add(node.target.id)
    assert declared == set(aj.__all__) <= set(dir(aj))
    for name in declared - {"__version__"}:
        assert "\nExamples:\n  >>> " in inspect.getdoc(getattr(aj, name)), name


@pytest.mark.parametrize(
    "name",
    ["Classifier", "create_model", "default_config", "list_models", "summarize"],
)
def test_the_example_says_what_it_prints(name):
    subject = getattr(aj, name)
    names = {**vars(sys.modules[subject.__module__]), "flatten": flatten}
    (test,) = doctest.DocTestFinder(recurse=False).find(subject, name, globs=names)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=flags)
    assert test.examples and not runner.run(test).failed


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="'alexnet_jax' has no attribute 'trian'"):
        _ = aj.trian


@pytest.fixture(scope="module")
def model(trained):
    return aj.load(trained)


@pytest.fixture(scope="module")
def image(model):
    return model.open_split("test").image


class TestLoad:
    def test_predictions(self, model, image):
        found = model.predict(image)
        assert found.probabilities.shape == (297, 10)
        np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)
        assert found.class_names == tuple("0123456789")
        assert found.classes == [str(label) for label in found.labels]
        one = model.predict(image[:1]).probabilities
        np.testing.assert_allclose(one, found.probabilities[:1], rtol=1e-5)

    @pytest.mark.slow
    def test_features(self, model, image):
        found = model.features(image[:5])
        assert {name: layer.shape for name, layer in found.items()} == {
            "conv1": (5, 28, 28, 6),
            "conv2": (5, 10, 10, 16),
            "fc3": (5, 120),
            "fc4": (5, 84),
            "fc5": (5, 10),
        }
        np.testing.assert_allclose(found["fc5"], model.logits(image[:5]), rtol=1e-5)
        assert list(model.features(image[:1], "fc5")) == ["fc5"]
        compiled = model._outputs._cache_size()
        model.features(image[1:2], ["fc5"])  # the same layers, the same shape
        assert model._outputs._cache_size() == compiled
        assert model.layer_names[:3] == ["conv1", "sigmoid1", "pool1"]

    def test_features_of_many_images_come_in_batches(self, model, image):
        found = model.features(image, ["fc4"])["fc4"]
        assert len(image) > model.batch_size and found.shape == (297, 84)
        last = model.features(image[-1:], ["fc4"])["fc4"]
        np.testing.assert_allclose(found[-1:], last, rtol=1e-4, atol=1e-6)

    def test_a_split_is_predicted_by_its_mask(self, model, batches):
        """Whatever is masked, and with one compilation for all batches."""

        class Masked:
            batch_size, num_examples = 4, 10

            def __len__(self):
                return len(batches)

            def batch(self, step):
                return batches.batch(step) | {"mask": np.array([1, 0, 1, 1], bool)}

        compiled = model._forward._cache_size()
        found = list(model.predict_split(Masked()))
        assert model._forward._cache_size() <= compiled + 1
        assert [len(one.label) for one in found] == [3, 3, 3]
        for step, one in enumerate(found):
            batch = batches.batch(step)
            kept = [0, 2, 3]
            np.testing.assert_array_equal(one.label, batch["label"][kept])
            np.testing.assert_array_equal(one.image, batch["image"][kept])
            expected = model.logits(batch["image"])[kept]
            np.testing.assert_array_equal(one.logits, expected)
        (first,) = model.predict_split(Masked(), examples=2)
        np.testing.assert_array_equal(first.label, found[0].label[:2])

    def test_evaluate(self, model):
        found = model.evaluate()
        assert found["examples"] == 297 and 0 < found["top1"] < 1
        assert found["split"] == "test" and found["step"] == 8

    @pytest.mark.parametrize("name", ["Train", "tset", "", None, 1])
    def test_a_split_that_is_none(self, model, name):
        with pytest.raises(InputError, match="must be train or test; got "):
            model.evaluate(name)

    @pytest.mark.parametrize("views", [0, 2, -1, 1.5, "10", "1", [10]])
    def test_views_that_are_none(self, model, views):
        with pytest.raises(InputError, match="views must be 1 or 10; got "):
            aj.load(model.workdir, views=views)

    @pytest.mark.parametrize(
        "images",
        [
            np.zeros((1, 8, 8, 1), np.float32),
            np.zeros((8, 8, 1), np.uint8),
            np.zeros((1, 28, 28, 1), np.uint8),
            np.zeros((0, 8, 8, 1), np.uint8),
            np.uint8(3),
        ],
    )
    def test_images_that_cannot_be_used(self, model, images):
        message = r"images must be \(N, 8, 8, 1\) uint8, N >= 1; got "
        with pytest.raises(InputError, match=message):
            model.predict(images)
        with pytest.raises(InputError, match=message):
            model.features(images)

    @pytest.mark.parametrize("images", [None, 5, "picture.png", [[1], [1, 2]], [], {}])
    def test_what_is_no_array(self, model, images):
        for function in (model.predict, model.logits):
            with pytest.raises(InputError, match=r"^images must be \(N, 8, 8, 1\) ui"):
                function(images)

    def test_arrays_of_any_library(self, model, image):
        wanted = model.predict(image[:2]).probabilities
        for images in (jnp.asarray(image[:2]), [*image[:2]]):
            found = model.predict(images).probabilities
            np.testing.assert_array_equal(found, wanted)

    def test_a_layer_that_is_not_there(self, model, image):
        with pytest.raises(
            InputError, match="layers: no layer is named 'fc9'; the nearest:"
        ):
            model.features(image[:1], ["conv1", "fc9"])


@pytest.mark.heavy
def test_numbers_that_a_model_cannot_take(trained):
    model = aj.load(trained)
    for size in (0, -3, 1.5, True):
        with pytest.raises(InputError, match="^batch_size must be "):
            model.open_split("test", batch_size=size)
    split = model.open_split("test")
    for examples in (0, -1, 2.5):
        with pytest.raises(InputError, match="^examples must be "):
            next(model.predict_split(split, examples))
    for label in (-1, 1.5, None):
        with pytest.raises(InputError, match="^label must be "):
            model.class_name(label)
    assert model.class_name(np.int64(3)) == "3"


@pytest.mark.parametrize("path", ["", None, 5, b"runs"])
def test_paths_that_are_none(path):
    config = aj.default_config()
    for call in (aj.load, lambda one: aj.train_and_evaluate(config, one)):
        with pytest.raises(InputError, match=" must be a path; got "):
            call(path)
