"""Figures of explanations, and what a report says of them."""

import numpy as np
import pytest

from alexnet_jax.explanation.explainer import Explanation
from alexnet_jax.explanation.notes import percent
from alexnet_jax.explanation.patches import Patch, average, create_patches
from alexnet_jax.reporting import sections
from alexnet_jax.reporting.explanations import draw_explanations
from alexnet_jax.trained import LabeledLogits, load

LONG = "American Staffordshire terrier (n02093428), and more"


def explanation(shape=(12, 12), probability=0.4, occlusion=(0.1, 0.9), **changes):
    draw = np.random.default_rng(0)
    values = draw.uniform(*occlusion, shape)
    values.flat[:2] = occlusion
    made = {
        "image": np.zeros((*shape, 1), np.uint8),
        "label": 0,
        "probability": probability,
        "occlusion": values.astype(np.float32),
        "patch": Patch(0, 0, 2, 2),
        "covered": 0.1,
        "flat": False,
        "gradient": draw.uniform(0, 1, shape).astype(np.float32),
        "grad_cam": draw.uniform(0, 1, shape).astype(np.float32),
        "layer": "a_layer_with_a_name_that_is_as_long_as_no_name_is",
        "view": (0.0, 0.0, *map(float, shape)),
        "notes": (),
    }
    return Explanation(**{**made, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(12, 12), (10, 40), (60, 15)])
@pytest.mark.parametrize("name", [LONG, "W" * 40, "日本" * 20, "il" * 30])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_no_title_runs_into_the_next_panel(shape, name):
    titles = (f"P: {name}", "99.9 %", f"T: {name}")
    figure = draw_explanations([explanation(shape)] * 2, [titles] * 2)
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert len(panels) == 8
    for row in (panels[:4], panels[4:]):
        ends = [axes._left_title.get_window_extent() for axes in row]
        for one, after, axes in zip(ends, ends[1:], row[1:], strict=False):
            assert one.x1 < min(after.x0, axes.get_window_extent().x0)
        assert ends[-1].x1 < figure.bbox.x1
        predicted, chance, true = row[0].get_title(loc="left").split("\n")
        assert chance == "99.9 %" and predicted.startswith(f"P: {name[:3]}")
        assert true.startswith(f"T: {name[:3]}") and true.endswith("…")


@pytest.mark.parametrize("occlusion", [(0.1, 0.9), (0.5, 0.9), (0.1, 0.3), (0.39, 0.8)])
def test_white_is_the_uncovered_images_probability(occlusion):
    found = explanation(occlusion=occlusion)
    (drawn,) = draw_explanations([found], [("a", "b")]).axes[1].images
    red, green, blue, _ = drawn.to_rgba(np.array([[100 * found.probability]]))[0, 0]
    assert min(red, green, blue) > 0.95
    for value in occlusion:
        red, _, blue, _ = drawn.to_rgba(np.array([[100 * value]]))[0, 0]
        assert (red > blue) == (value < found.probability)
    low, high = drawn.get_clim()
    assert low == pytest.approx(100 * min(*occlusion, 0.4))
    assert high == pytest.approx(100 * max(*occlusion, 0.4))


def test_a_flat_map_is_white():
    found = explanation(occlusion=(0.4 - 1e-9, 0.4 + 1e-9), patch=None, flat=True)
    axes = draw_explanations([found], [("a", "b")]).axes[1]
    (drawn,) = axes.images
    assert drawn.to_rgba(drawn.get_array())[..., :3].min() > 0.95
    assert drawn.get_clim() == (0, 100) and not axes.patches


def test_small_probabilities_keep_their_digits():
    values = (0.0, 1e-7, 0.0009, 0.001, 0.5, 1.0)
    assert [*map(percent, values)] == [
        "0.0 %",
        "1e-05 %",
        "0.09 %",
        "0.1 %",
        "50.0 %",
        "100.0 %",
    ]


def test_a_note_names_its_images():
    notes = [("of all", "one"), ("of all", "two"), ("of all", "two")]
    found = [explanation(notes=one) for one in notes]
    said = sections._notes_of(found)
    assert said == " Of all. Image 1: one. Images 2 and 3: two."


@pytest.mark.slow
@pytest.mark.parametrize("has_errors", [True, False])
def test_errors_are_spoken_of_where_there_are_some(has_errors, trained, monkeypatch):
    network = load(trained)
    split = network.open_split("test")
    image = split.batch(0)["image"][:8]
    logits = network.logits(image)
    truth = (logits.argmax(axis=1) + has_errors) % logits.shape[1]
    part = LabeledLogits(image, truth, logits)
    monkeypatch.setattr(network, "predict_split", lambda *args: [part])
    made = {one.name: one for one in sections.prediction_sections(network, split, 8)}
    caption = made["explanations"].html
    assert ("errors" in caption) == has_errors
    assert ("The first 3 of the" in caption) == (not has_errors)


def test_probabilities_near_one_are_told_apart():
    """Patches that cost nats of a certain answer differ by less than float32 has."""
    occlusion = np.full((12, 12), 1 - 1e-13)
    occlusion[:4] = 1 - 4e-10
    found = explanation(probability=1 - 1e-13)._replace(occlusion=occlusion)
    (drawn,) = draw_explanations([found], [("a", "b")]).axes[1].images
    red, _, blue, _ = drawn.to_rgba(drawn.get_array())[0, 0]
    assert red > blue + 0.2
    same = found._replace(occlusion=np.ones((12, 12)), probability=1.0)
    (drawn,) = draw_explanations([same], [("a", "b")]).axes[1].images
    assert drawn.to_rgba(drawn.get_array())[..., :3].min() > 0.95


def test_patches_are_averaged_in_full():
    patches = create_patches((4, 4), 2, 2)
    values = 1 - np.array([1e-9, 2e-9, 3e-9, 4e-9])
    found = average((4, 4), patches, values)
    assert found.dtype == np.float64 and len(np.unique(found)) == 4
