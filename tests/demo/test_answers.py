"""What the page shows of a network: what `predict`, `features` and `explain` say."""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from alexnet_jax.data.pictures import Picture
from alexnet_jax.demo import answers as module
from alexnet_jax.demo import pieces
from alexnet_jax.demo.answers import Answers
from alexnet_jax.errors import InputError
from alexnet_jax.explanation.notes import percent
from alexnet_jax.models import MODELS
from alexnet_jax.reporting.predictions import predict_files
from alexnet_jax.run.rows import read_rows
from alexnet_jax.trained import TrainedModel
from tests.exporting.runs import make_run
from tests.graphs import Fork


@pytest.fixture(scope="module")
def answers(trained):
    return Answers(trained)


@pytest.fixture
def picture(tmp_path):
    """A file that is not of the data's size, and has transparent parts."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (60, 40, 4), np.uint8)
    path = tmp_path / "a picture.png"
    Image.fromarray(pixels).save(path)
    return path


def address_of(content):
    return "data:image/png;base64," + base64.b64encode(content).decode()


@pytest.mark.parametrize("invert", [False, True])
def test_an_answer_is_that_of_predict(answers, picture, invert):
    found = answers.answer(answers.read(picture, invert))
    (expected,) = predict_files(
        TrainedModel(answers.network.workdir), [picture], invert
    )
    assert [*found.notes] == expected["notes"]
    shown = [{"class": name, "probability": p} for name, p in found.classes]
    assert shown == expected["predictions"]
    assert found.image.shape == (8, 8, 1) and found.label is None


def test_a_drawing_is_read_as_a_file(answers, picture):
    drawn = answers.read_drawing(address_of(picture.read_bytes()))
    read = answers.read(picture)
    assert np.array_equal(drawn.image, read.image) and drawn.notes == read.notes


def huge():
    """A PNG that says it is 12,000 × 12,000."""

    def chunk(name, data):
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    head = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 0, 0, 0, 0)
    body = (
        chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ("", "the drawing is not a small PNG"),
        (None, "the drawing is not a small PNG"),
        (["data:image/png;base64,"], "the drawing is not a small PNG"),
        ("data:image/svg+xml;base64,AAAA", "the drawing is not a small PNG"),
        ("/etc/passwd", "the drawing is not a small PNG"),
        ("data:image/png;base64," + "A" * 4_000_000, "the drawing is not a small PNG"),
        ("data:image/png;base64,!!!!", "the drawing arrived damaged"),
        ("data:image/png;base64,A", "the drawing arrived damaged"),
        (address_of(b"nothing"), "drawing.png: is not a picture that Pillow can read"),
        (address_of(huge()), "drawing.png: is 12000×12000; make it smaller"),
    ],
)
def test_bad_drawings_are_a_line(answers, drawn, expected):
    with pytest.raises(InputError) as error:
        answers.read_drawing(drawn)
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n cut off", huge()]
)
def test_bad_files_are_a_line_without_their_folder(answers, tmp_path, content):
    path = tmp_path / "mine.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^mine\.png: ") as error:
        answers.read(path)
    assert str(tmp_path) not in str(error.value) and "\n" not in str(error.value)


def test_layers_outputs_are_those_of_features(answers, picture):
    image = answers.read(picture).image
    found = answers.outputs(image)
    names = [row.name for row in answers.layers]
    expected = answers.network.features(image[None], names)
    assert [*found] == names and "conv1" in names
    for name in names:
        assert np.array_equal(found[name], expected[name][0])
        assert answers.row(name).output_shape[1:] == found[name].shape
    for name in ("conv9", "", None, 3):
        with pytest.raises(InputError, match="layer must be one that is listed"):
            answers.row(name)


def test_an_explanation_is_that_of_explain(answers, picture):
    image = answers.read(picture).image
    for label in (None, 4):
        found, expected = (
            answers.explain(image, label),
            answers.network.explain(image, label),
        )
        assert found.label == expected.label == (expected.label if label is None else 4)
        assert np.array_equal(found.occlusion, expected.occlusion)


def test_warming_up_compiles_all(answers, monkeypatch):
    asked = []
    for name in ("predict", "features", "explain"):
        whole = getattr(TrainedModel, name)

        def noted(self, *args, _name=name, _whole=whole, **options):
            asked.append(_name)
            return _whole(self, *args, **options)

        monkeypatch.setattr(TrainedModel, name, noted)
    answers.warm_up()
    assert asked == ["predict", "features", "explain"]


def test_examples_are_test_images_of_all_classes(answers):
    found = answers.examples()
    assert [one.name for one in found[:10]] == [str(i) for i in range(10)]
    assert len(found) == 12
    split = answers.network.open_split("test")
    batch = split.batch(0)
    first = np.flatnonzero(batch["label"] == 3)[0]
    assert np.array_equal(found[3].image, batch["image"][first])
    made = answers.answer(Picture(found[3].image, ()), found[3].name)
    assert made.label == "3"


def test_without_the_data_there_are_none_and_nothing_is_written(
    trained, tmp_path, monkeypatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    answers = Answers(trained)
    answers.network.config.data.data_dir = str(tmp_path / "gone")
    with pytest.raises(InputError, match="is not prepared"):
        answers.examples()
    assert not [*tmp_path.iterdir()]


def test_data_that_the_runs_folder_lacks_may_lie_in_ones_own(
    trained, data_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    answers = Answers(trained)
    answers.network.config.data.data_dir = str(tmp_path / "gone")
    assert len(answers.examples()) == 12
    assert capsys.readouterr().err == ""


def test_facts(answers, trained, monkeypatch):
    top1 = read_rows(trained / "metrics.jsonl")[-1]["test/top1"]
    count = sum(array.size for array in _arrays(answers.network.weights["params"]))
    data = "trained on digits 1.0.0: 10 classes, gray images of 8×8 pixels"
    right = f"{100 * top1:.1f} % of the test images right"
    assert answers.facts == [data, right, f"{count:,} parameters"]
    assert answers.title == "lenet5" and answers.is_dark
    monkeypatch.setattr(module, "read_kept_row", lambda folder: {})  # as of an import
    assert answers.facts == [data, f"{count:,} parameters"]


def _arrays(tree):
    if not isinstance(tree, dict):
        return [tree]
    return [array for one in tree.values() for array in _arrays(one)]


@pytest.mark.heavy
def test_a_network_that_is_no_chain(tmp_path, monkeypatch, picture):
    """Imported or made by hand, so without a result, too."""
    monkeypatch.setitem(MODELS, "fork", Fork)
    changes = {"model.width": 1.0, "data.image_size": 12, "data.scale": "unit"}
    make_run(tmp_path / "run", "fork", (12, 12, 1), **changes)
    answers = Answers(tmp_path / "run")
    image = answers.read(picture).image
    names = [row.name for row in answers.layers]
    assert "add3" in names and [*answers.outputs(image)] == names
    made = [
        pieces.layer(row, answers.outputs(image)[row.name], (12, 12), ["a"])
        for row in answers.layers
    ]
    assert all("White is 0" in one for one in made)
    assert "Grad-CAM" in pieces.explanation(answers, answers.explain(image))
    assert not any("right" in fact for fact in answers.facts)


def test_images_that_are_no_pictures_are_refused(trained, monkeypatch):
    network = TrainedModel(trained)
    network.spec = network.spec.__class__(
        "radar 1.0.0", ("a", "b"), (8, 8, 2), network.spec.measure
    )
    monkeypatch.setattr(module, "TrainedModel", lambda run: network)
    with pytest.raises(InputError, match=r"^RUN: .* of 2 channels; pictures have 1 \("):
        Answers(trained)


def decoded(html):
    """The first picture in a piece of the page."""
    content = html.split("data:image/png;base64,")[1].split('"')[0]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_pieces_hold_what_is_shown_and_escape_names(answers, picture):
    found = answers.answer(answers.read(picture), "<b>coat</b>")
    found = found._replace(
        notes=("unreliable; try --invert",),
        classes=(("<script>", 0.75), ("a\x1bb", 2e-5)),
    )
    made = pieces.answer(found)
    assert "<script>" not in made and "<b>" not in made and "\x1b" not in made
    assert "&lt;script&gt;" in made and percent(0.75) in made and "0.002 %" in made
    assert "Unreliable; try “Exchange light and dark”." in made
    view = pieces.seen(found, (28, 28))
    assert np.array_equal(decoded(view), found.image[..., 0])
    assert "8×8 pixels, brought to 28×28" in view
    assert "&lt;i&gt;" in pieces.error("<i>")
    examples = answers.examples()
    buttons = pieces.examples(examples)
    assert np.array_equal(decoded(buttons), examples[0].image[..., 0])
    assert buttons.count("<button") == 12


def test_a_layer_is_shown_by_its_maps_or_units(answers, picture):
    outputs = answers.outputs(answers.read(picture).image)
    names = [str(i) for i in range(10)]

    def made(name):
        return pieces.layer(answers.row(name), outputs[name], (28, 28), names)

    maps = made("conv2")
    count = outputs["conv2"].shape[-1]
    assert maps.count("<figure>") == min(count, 24) and f"{count} maps" in maps
    assert "A convolution" in maps and "of 28×28 pixels" in maps
    order = np.argsort(-outputs["conv2"].std(axis=(0, 1)), kind="stable")
    assert f'alt="{order[0]}"' in maps and decoded(maps).shape == (
        *outputs["conv2"].shape[:2],
        3,
    )
    first = decoded(maps).astype(int)
    values = outputs["conv2"][..., order[0]]
    strong = np.unravel_index(np.abs(values).argmax(), values.shape)
    red, _, blue = first[strong]
    assert (red > blue) == (values[strong] > 0)
    last = answers.layers[-1].name
    assert made(last).count("<figure>") == 10 and "One for each class" in made(last)
    dense = next(row.name for row in answers.layers if row.output_shape[1:] == (84,))
    assert "84 units" in made(dense) and decoded(made(dense)).shape == (2, 64, 3)


def test_the_explanation_and_the_filters(answers, picture):
    found = answers.explain(answers.read(picture).image, 4)
    made = pieces.explanation(answers, found)
    assert f"The image: 4, {percent(found.probability)}" in made
    assert "a patch of 2×2 pixels" in made and made.count("<img") == 4
    assert np.array_equal(decoded(made), found.image[..., 0])
    assert "6 filters" in pieces.filters(answers.filters())
