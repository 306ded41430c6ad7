"""Linear CKA and RDMs beside other formulations, and the command."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.stats import rankdata

from alexnet_jax.data import create_data
from alexnet_jax.data.digits import read_digits
from alexnet_jax.errors import InputError
from alexnet_jax.run.imported import new_run
from alexnet_jax.trained import load
from tests.exporting.runs import config_of, weights_of
from tests.helpers import load_example

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

example = load_example("rsa")


def features(seed, count=30, units=50):
    draw = np.random.default_rng(seed)
    return draw.normal(3, 2, (count, units)) @ draw.normal(size=(units, units))


def numpy_cka(one, other):
    """By features: Kornblith et al., equation 3, with HSIC of centered columns."""
    x, y = (np.float64(z).reshape(len(z), -1) for z in (one, other))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    cross, own, others = (np.sum((a.T @ b) ** 2) for a, b in ((y, x), (x, x), (y, y)))
    return cross / np.sqrt(own * others)


@pytest.mark.parametrize("units", [2, 50])
def test_cka_is_that_of_the_features(units):
    one = features(0)
    other = 0.5 * one[:, :units] + features(1)[:, :units]
    wanted = numpy_cka(one, other)
    assert 0.1 < wanted < 0.99
    assert example.linear_cka(one, other) == pytest.approx(wanted, abs=1e-12)
    maps = np.float32(one).reshape(30, 5, 2, 5)  # of a convolution
    assert example.linear_cka(maps, np.float32(other)) == pytest.approx(
        wanted, abs=1e-6
    )


def test_cka_of_large_constant_parts_keeps_its_digits():
    one, other = features(0), features(1)
    found = example.linear_cka(np.float32(one + 1e4), np.float32(other - 1e4))
    assert found == pytest.approx(numpy_cka(one, other), abs=1e-3)


def test_cka_knows_no_rotation_scale_or_shift():
    one, other = features(0), features(1)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(50, 50)))[0]
    assert example.linear_cka(one, 7 * one @ rotation - 3) == pytest.approx(1)
    wanted = example.linear_cka(one, other)
    assert example.linear_cka(other @ rotation * 1e-3 + 5, one) == pytest.approx(wanted)


def test_what_is_the_same_for_all_images_has_no_cka():
    constant = np.tile(np.float32([0.1, 0.3, 7.7]), (30, 1))
    assert not example.centered_gram(constant).any()
    assert np.isnan(example.linear_cka(constant, features(0)))
    assert np.isnan(example.linear_cka(constant, constant))


def test_an_rdm_is_of_numpys_correlations():
    maps = features(0).reshape(30, 5, 5, 2)
    found = example.dissimilarity(np.float32(maps))
    wanted = 1 - np.corrcoef(maps.reshape(30, -1))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.abs(found.diagonal()).max() < 1e-12


def test_an_image_that_no_unit_answers_to_is_left_out():
    one, other = features(0), features(1)
    one[4], one[9] = 0, 0.1
    rdm = example.dissimilarity(one)
    assert np.isnan(rdm[[4, 9]]).all() and np.isnan(rdm).sum() == 2 * 2 * 30 - 4
    kept = [place for place in range(30) if place not in (4, 9)]
    wanted = example.rank_correlation(
        *(example.dissimilarity(x[kept]) for x in (one, other))
    )
    found = example.rank_correlation(rdm, example.dissimilarity(other))
    assert found == pytest.approx(wanted)
    nothing = example.dissimilarity(np.zeros((30, 5), np.float32))
    assert np.isnan(example.rank_correlation(rdm, nothing))
    equal = 1 - np.eye(30)  # all pairs
    assert np.isnan(example.rank_correlation(rdm, equal))


def test_rdms_are_compared_by_ranks():
    one, other = (example.dissimilarity(features(seed)) for seed in (0, 1))
    above = np.triu_indices(30, 1)
    wanted = np.corrcoef(rankdata(one[above]), rankdata(other[above]))[0, 1]
    assert example.rank_correlation(one, other) == pytest.approx(wanted)
    assert example.rank_correlation(one, np.exp(3 * one)) == pytest.approx(1)


def images_of(network, count):
    """The first test examples by class, read another way."""
    batch = network.open_split("test").batch(0)
    assert batch["mask"][:count].all()
    order = np.argsort(batch["label"][:count], kind="stable")
    return batch["image"][:count][order]


@pytest.mark.slow
def test_the_command_compares_a_networks_layers(trained, tmp_path, capsys):
    output = tmp_path / "rsa.png"
    names = ["--layers=conv*,fc*", "--examples=40", f"--output={output}"]
    example.main([str(trained), *names])
    first, header, *rows, last = capsys.readouterr().out.splitlines()
    assert first == "images    40 of digits 1.0.0, test" and last.endswith(str(output))
    network = load(trained)
    found = network.features(images_of(network, 40), ["conv*", "fc*"])
    assert header.split() == ["CKA", *found]
    for (name, one), row in zip(found.items(), rows, strict=True):
        wanted = [f"{numpy_cka(one, other):.2f}" for other in found.values()]
        assert row.split() == [name, *wanted]
    with Image.open(output) as picture:
        assert picture.format == "PNG" and min(picture.size) > 800
    assert [path.name for path in tmp_path.iterdir()] == ["rsa.png"]


def write_random(folder, data_dir, name="digits", channels=1, size=28):
    """A run of a data set with random weights, for images of a size of its own."""
    changes = {
        "data.name": name,
        "data.data_dir": str(data_dir),
        "data.image_size": (size, size),
    }
    config = config_of("lenet5", **changes)
    data = create_data(config.data, batch_size=9, eval_batch_size=9, seed=0)
    config.model.num_classes = len(data.spec.class_names)
    with new_run(folder, config, data.spec, **weights_of(config, channels)):
        pass
    data.close()
    return folder


@pytest.mark.slow
def test_the_command_compares_two_networks(trained, data_dir, tmp_path, capsys):
    write_random(tmp_path / "other", data_dir, size=36)
    output = tmp_path / "rsa.svg"
    runs = [str(trained), str(tmp_path / "other")]
    layers = "--layers=conv1,fc*"
    example.main([*runs, layers, "--examples=30", f"--output={output}"])
    _, header, *rows, _ = capsys.readouterr().out.splitlines()
    one, other = (
        network.features(images_of(network, 30), ["conv1", "fc*"])
        for network in map(load, runs)
    )
    assert header.split() == ["CKA", *other] and len(rows) == len(one)
    for row, (name, mine) in zip(rows, one.items(), strict=True):
        wanted = [f"{numpy_cka(mine, theirs):.2f}" for theirs in other.values()]
        assert row.split() == [name, *wanted]
    assert "</svg>" in output.read_text()


@pytest.mark.slow
def test_networks_of_other_data_are_not_compared(
    trained, shapes_dir, tmp_path, error_line
):
    other = write_random(tmp_path / "other", shapes_dir, "shapes", channels=3)
    output = f"--output={tmp_path / 'rsa.png'}"
    line = error_line(example.main, trained, other, output, "--examples=8")
    assert (
        "digits 1.0.0 and image_folder 1.0.0" in line
        and "give runs of one data set" in line
    )
    assert not (tmp_path / "rsa.png").exists()


def test_the_same_examples_may_be_of_other_sizes():
    def network(*names):
        spec = SimpleNamespace(name="a folder", class_names=names)
        return SimpleNamespace(spec=spec)

    two = [network("a", "b")] * 2
    draw = np.random.default_rng(0)
    labels = np.array([0, 0, 1])
    one, other = draw.integers(0, 256, (2, 3, 16, 16, 3), np.uint8)
    larger = one.repeat(2, axis=1).repeat(2, axis=2)
    example._check_same(two, [(one, labels), (one, labels)])
    example._check_same(two, [(one, labels), (larger, labels)])
    plain = np.full_like(one, 7)  # nothing in which they could differ
    example._check_same(two, [(plain, labels), (plain[:, :8], labels)])
    for networks, examples in (
        (two, [(one, labels), (other, labels)]),
        (two, [(other, labels), (larger, labels)]),
        (two, [(one, labels), (larger, 1 - labels)]),
        (two, [(one, labels), (one[:2], labels[:2])]),
        ([two[0], network("a", "c")], [(one, labels), (one, labels)]),
    ):
        with pytest.raises(InputError, match="the same test examples"):
            example._check_same(networks, examples)


def test_pictures_of_one_class_are_not_the_same():
    images, labels = read_digits()
    images = images[..., None]
    one, other = images[labels == 3][:50], images[labels == 3][50:100]
    assert example._are_alike(one, one.repeat(3, axis=1).repeat(3, axis=2))
    assert not example._are_alike(one, other.repeat(3, axis=1).repeat(3, axis=2))


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--layers=conv9", "--layers: no layer is named 'conv9'; the nearest"),
        ("--examples=2", "--examples must be at least 3"),
        ("--examples=none", "--examples"),
        ("--output=rsa.xyz", "--output must end in one of .png, .pdf, .svg"),
        ("--output=/dev/null/rsa.png", "--output: /dev/null is no folder"),
    ],
)
def test_the_commands_errors_are_lines(
    trained, tmp_path, monkeypatch, error_line, flag, words
):
    monkeypatch.chdir(tmp_path)
    assert words in error_line(example.main, trained, flag)
    assert not [*tmp_path.iterdir()]


def test_one_or_two_runs_are_taken(trained, error_line):
    assert "one or two; got 3" in error_line(example.main, trained, trained, trained)


@pytest.mark.slow
def test_layers_that_do_not_answer_are_named(data_dir, tmp_path, capsys):
    """Weights of conv1 are 0, so that all after it is the same for all images."""
    config = config_of("lenet5", **{"data.name": "digits", "data.image_size": (28, 28)})
    config.data.data_dir = str(data_dir)
    config.model.num_classes = 10
    data = create_data(config.data, batch_size=9, eval_batch_size=9, seed=0)
    weights = weights_of(config, 1)
    weights["params"]["conv1"]["kernel"][:] = 0
    with new_run(tmp_path / "run", config, data.spec, **weights):
        pass
    words = [str(tmp_path / "run"), f"--output={tmp_path / 'rsa.png'}", "--examples=9"]
    example.main(words)
    out, err = capsys.readouterr()
    assert "warning: conv1 of run is the same for all images" in err
    assert len(err.splitlines()) == 5 and "nan" in out
    assert (tmp_path / "rsa.png").exists()
