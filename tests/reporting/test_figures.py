"""Figures: filters, confusion matrices, examples."""

import io
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from alexnet_jax.inspection.layers import describe
from alexnet_jax.models import create_model
from alexnet_jax.reporting.figures import (
    draw_confusion,
    draw_examples,
    draw_features,
    draw_filters,
    tile,
)
from alexnet_jax.reporting.sections import filter_sections


def test_a_tile_is_rows_of_filters():
    filters = np.arange(5, dtype=np.float32)[:, None, None, None] / 10
    sheet = tile(np.broadcast_to(filters, (5, 2, 3, 1)), columns=3)[..., 0]
    assert sheet.shape == (5, 11)
    np.testing.assert_allclose(sheet[0], [0, 0, 0, 1, 0.1, 0.1, 0.1, 1] + [0.2] * 3)
    np.testing.assert_allclose(sheet[4, 4:], [0.4] * 3 + [1] * 4)
    assert (sheet[2] == 1).all()


def test_filters_have_one_scale():
    kernel = np.zeros((1, 1, 1, 4), np.float32)
    kernel[..., :] = [0.1, -0.4, 0.2, 0.0]
    (axes,) = draw_filters(kernel).axes
    shown = axes.images[0].get_array()
    np.testing.assert_allclose(shown[::2, ::2], [[0.625, 0.0], [0.75, 0.5]])
    assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == (0, 1)
    several = draw_filters(np.repeat(kernel, 2, axis=2)).axes[0].images[0].get_array()
    np.testing.assert_allclose(several, shown)


def test_filters_lie_by_their_tower():
    model = create_model("alexnet_2012", num_classes=10, training=True, width=1 / 8)
    keys = {name: jax.random.key(0) for name in ("params", "dropout")}
    shapes = jax.eval_shape(
        lambda: model.init(keys, jnp.zeros((1, 67, 67, 3), "float32"))
    )
    shape = shapes["params"]["conv1"]["kernel"].shape
    assert shape == (11, 11, 3, 12)
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    params = {"conv1": {"kernel": kernel}}
    rows = describe(model, (1, 67, 67, 3))
    network = SimpleNamespace(
        weights={"params": params}, model=model, step=3, layer_rows=rows
    )
    (section,) = filter_sections(network)
    first, second = section.draw().axes
    assert first.get_title() == "tower 1: filters 0 to 5"
    assert second.get_title() == "tower 2: filters 6 to 11"
    shade = 0.5 + 0.5 * kernel[..., 6] / np.abs(kernel).max()
    np.testing.assert_allclose(second.images[0].get_array()[:11, :11], shade, rtol=1e-6)
    assert "12 filters of 11×11×3 weights (6 in each of the 2 towers)" in section.html
    for alone in ("tower 1: filters 0 to 5</p>", "tower 2: filters 6 to 11</p>"):
        assert alone in section.html


def test_a_confusion_matrix_has_its_names_and_counts():
    matrix = np.array([[3, 1, 0], [0, 0, 0], [0, 2, 2]])
    axes, _ = draw_confusion(matrix, ["shirt", "coat", "bag"]).axes
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in ticks] == ["shirt", "coat", "bag"]
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "3", (1, 0): "1", (1, 2): "2", (2, 2): "2"}
    share = axes.images[0].get_array()
    np.testing.assert_allclose(share, [[0.75, 0.25, 0], [0, 0, 0], [0, 0.5, 0.5]])
    many = draw_confusion(np.eye(1000, dtype=int), [str(i) for i in range(1000)])
    assert not many.axes[0].texts


def test_examples_are_titled():
    image = np.zeros((2, 4, 4, 3), np.uint8)
    texts = [("coat", "51 %", "coat"), ("a very long class name", "99 %", "bag")]
    figure = draw_examples(image, texts, np.array([True, False]), columns=3)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["P: coat 51 %\nT: coat", "P: a very long … 99 %\nT: bag", ""]
    colors = [axes._left_title.get_color() for axes in figure.axes[:2]]
    assert colors[0] != colors[1]


def test_a_name_with_dollar_signs_is_no_formula():
    image = np.zeros((4, 4, 1), np.uint8)
    names = r"$\foo$", "$x^$"
    figure = draw_features(image, dict.fromkeys(names, np.ones((2, 2, 3), np.float32)))
    figure.savefig(io.BytesIO())
    titles = [axes.get_title() for axes in figure.axes]
    assert [title for title in titles if title][1::3] == [f"{n}, 0" for n in names]
