"""LPIPS beside an implementation in NumPy and beside the `lpips` package."""

import importlib.metadata
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from alexnet_jax.convert import main as convert
from alexnet_jax.errors import InputError
from alexnet_jax.models import create_model
from alexnet_jax.trained import load
from tests.exporting.runs import make_run
from tests.helpers import init_keys, load_example

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry")

example = load_example("lpips")
distance = jax.jit(example.lpips, static_argnums=0, static_argnames="spatial")
CHANNELS = (8, 24, 48, 32, 32)  # at an eighth of the width


@pytest.fixture(scope="module")
def network():
    """A model at an eighth of the width, its parameters, and weights of channels."""
    model = create_model(
        "alexnet_torchvision", width=1 / 8, num_classes=3, training=False
    )
    image = jnp.zeros((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(lambda: model.init(init_keys(), image))["params"]
    draw = np.random.default_rng(0)

    def one(path, leaf):
        gain = 0.1 if path[-1].key == "bias" else np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return draw.normal(0, gain, leaf.shape).astype(np.float32)

    params = jax.tree_util.tree_map_with_path(one, shapes)
    linear = [draw.uniform(0, 1, count).astype(np.float32) for count in CHANNELS]
    return model, params, linear


def pair(height, width, seed=1, count=2):
    draw = np.random.default_rng(seed)
    one = draw.uniform(-1, 1, (count, height, width, 3))
    other = np.clip(one + draw.normal(0, 0.3, one.shape), -1, 1)
    return one.astype(np.float32), other.astype(np.float32)


def numpy_lpips(params, linear, one, other):
    """The distances in float64, written from the paper."""

    def convolve(x, layer, stride, pad):
        kernel = np.float64(params[layer]["kernel"])
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        windows = sliding_window_view(x, kernel.shape[:2], (1, 2))
        windows = windows[:, ::stride, ::stride]  # (B, h, w, C, kh, kw)
        axes = ((4, 5, 3), (0, 1, 2))
        y = np.tensordot(windows, kernel, axes) + np.float64(params[layer]["bias"])
        return np.maximum(y, 0)

    def pool(x):
        return sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2].max((4, 5))

    def maps(image):
        mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        x = ((np.float64(image) + 1) / 2 - mean) / deviation
        made = [convolve(x, "conv1", 4, 2)]
        made.append(convolve(pool(made[-1]), "conv2", 1, 2))
        made.append(convolve(pool(made[-1]), "conv3", 1, 1))
        made.append(convolve(made[-1], "conv4", 1, 1))
        made.append(convolve(made[-1], "conv5", 1, 1))
        return [y / (np.linalg.norm(y, axis=-1, keepdims=True) + 1e-10) for y in made]

    total = 0
    for x, y, weight in zip(maps(one), maps(other), linear, strict=True):
        total = total + ((x - y) ** 2 @ np.float64(weight)).mean((1, 2))
    return total


@pytest.mark.heavy
@pytest.mark.parametrize("size", [(64, 64), (31, 47)])
def test_the_distance_is_numpys(network, size):
    model, params, linear = network
    one, other = pair(*size)
    wanted = numpy_lpips(params, linear, one, other)
    assert wanted.min() > 0.01
    found = distance(model, params, linear, one, other)
    assert found.dtype == jnp.float32 and found.shape == (2,)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    plain = distance(model, params, None, one, other)
    wanted = numpy_lpips(params, [np.ones(count) for count in CHANNELS], one, other)
    np.testing.assert_allclose(plain, wanted, rtol=1e-5)
    again = distance(model, params, linear, other, one)
    np.testing.assert_allclose(again, found, rtol=1e-5)  # symmetric
    assert not np.any(distance(model, params, linear, one, one))


def test_a_map_shows_where_images_differ(network):
    one, other = pair(64, 64)
    other[:, :, 32:] = one[:, :, 32:]  # the difference is on the left
    found = np.asarray(distance(*network, one, other, spatial=True))
    assert found.shape == (2, 64, 64) and found.dtype == np.float32
    left, right = np.split(found, 2, axis=2)
    assert left.mean() > 3 * right.mean()


@pytest.mark.heavy
def test_the_gradient_is_that_of_numpys_differences(network):
    model, params, linear = network
    one, other = pair(40, 40, count=1)
    one[:, :16, :16] = -1  # flat parts, where ReLUs may be 0 in all channels
    gradient = jax.jit(
        jax.grad(lambda image: example.lpips(model, params, linear, image, other)[0])
    )(jnp.asarray(one))
    assert np.isfinite(gradient).all()
    way = np.random.default_rng(2).normal(size=one.shape)
    step = 1e-5 * way
    up, down = (
        numpy_lpips(params, linear, np.float64(one) + sign * step, other)[0]
        for sign in (1, -1)
    )
    np.testing.assert_allclose(
        (np.float64(gradient) * way).sum(), (up - down) / 2e-5, rtol=2e-2
    )


@pytest.mark.slow
def test_no_channel_answers_and_the_gradient_is_finite(network):
    model, params, linear = network
    dead = jax.tree.map(np.zeros_like, params)
    one, other = pair(40, 40)
    total = jax.value_and_grad(
        lambda image: example.lpips(model, dead, linear, image, other).sum()
    )
    found, gradient = jax.jit(total)(jnp.asarray(one))
    assert found == 0 and not gradient.any()
    way = jnp.ones_like(one)
    found, change = jax.jvp(lambda image: total(image)[0], (jnp.asarray(one),), (way,))
    assert found == change == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one, other, linear: (one[..., :1], other, linear), "of one shape; got"),
        (lambda one, other, linear: (one[:1], other, linear), "of one shape; got"),
        (lambda one, other, linear: (one, other[0], linear), "(2, 64, 64, 3) float32"),
        (lambda one, other, linear: (np.uint8(one), np.uint8(other), linear), "floats"),
        (lambda one, other, linear: (one, other, linear[:4]), "8, 24, 48, 32, 32"),
        (lambda one, other, linear: (one, other, linear[::-1]), "8, 24, 48, 32, 32"),
        (
            lambda one, other, linear: (one[:, :30], other[:, :30], linear),
            "image_size 30×64 is too small",
        ),
    ],
)
def test_what_does_not_fit_is_named(network, change, words):
    model, params, linear = network
    one, other, linear = change(*pair(64, 64), linear)
    with pytest.raises(InputError) as caught:
        example.lpips(model, params, linear, one, other)
    assert words in str(caught.value) and "\n" not in str(caught.value)


class _Installed:
    def __init__(self, folder):
        self.locate_file = folder.joinpath


def write_linear(path, changes=None):
    """A file as the package's, in NumPy's name of PyTorch's arrays."""
    from safetensors.numpy import save_file

    draw = np.random.default_rng(3)
    arrays = {
        f"lin{place}.model.1.weight": draw.uniform(0, 1, (1, count, 1, 1))
        for place, count in enumerate(CHANNELS)
    }
    arrays |= changes or {}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.astype(np.float32) for k, v in arrays.items()}, path)
    return arrays


def test_the_installed_packages_weights_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(
        importlib.metadata, "distribution", lambda name: _Installed(tmp_path / name)
    )
    wanted = write_linear(tmp_path / "lpips" / "lpips" / "weights" / "v0.1/alex.pth")
    for found, array in zip(example.read_linear(), wanted.values(), strict=True):
        np.testing.assert_array_equal(found, np.float32(array.reshape(-1)))


@pytest.fixture
def run(tmp_path):
    """A run of torchvision's network, at an eighth of the width, and two pictures."""
    make_run(
        tmp_path / "run", "alexnet_torchvision", (64, 64, 3), **{"model.width": 1 / 8}
    )
    write_linear(tmp_path / "alex.pth")
    for name, image in zip(("a", "b"), pair(48, 70), strict=True):
        picture = np.uint8((image[0] + 1) * 127.5)
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.mark.heavy
def test_the_command_prints_what_the_function_returns(run, capsys):
    names = [str(run / name) for name in ("run", "a.png", "b.png")]
    example.main([*names, f"--linear={run / 'alex.pth'}"])
    (line,) = capsys.readouterr().out.splitlines()
    opened = load(run / "run")
    one, other = (
        np.asarray(Image.open(run / name), np.float32)[None] / np.float32(127.5)
        - np.float32(1)
        for name in ("a.png", "b.png")
    )
    linear = example.read_linear(run / "alex.pth")
    found = distance(opened.model, opened.weights["params"], linear, one, other)
    assert line == f"lpips     {found[0]:.6f}" and found[0] > 0.01


def test_the_commands_errors_are_lines(run, trained, error_line, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    words = [run / name for name in ("run", "a.png", "b.png")]
    line = error_line(example.main, *words)
    assert "--linear" in line and "pip install lpips" in line
    linear = f"--linear={run / 'alex.pth'}"
    assert "lenet5" in error_line(example.main, trained, *words[1:], linear)
    Image.new("RGB", (70, 49)).save(run / "other.png")
    line = error_line(example.main, *words[:2], run / "other.png", linear)
    assert "70×48 and 70×49" in line
    (run / "text.png").write_text("no picture")
    assert "text.png" in error_line(example.main, *words[:2], run / "text.png", linear)
    assert "gone.png" in error_line(example.main, *words[:2], run / "gone.png", linear)
    Image.new("RGB", (20, 20)).save(run / "small.png")
    small = run / "small.png"
    assert "too small" in error_line(example.main, words[0], small, small, linear)
    bad = np.full((1, 8, 1, 1), np.nan)
    for changes in ({"lin0.model.1.weight": bad}, {"lin4.model.1.weight": bad[..., 0]}):
        write_linear(run / "bad.pth", changes)
        line = error_line(example.main, *words, f"--linear={run / 'bad.pth'}")
        assert "lin0 to lin4" in line and "bad.pth" in line


@pytest.fixture(scope="module")
def package():
    """PyTorch and the `lpips` package, whose network is torchvision's."""
    torch = pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "lpips", raising=False)
        try:
            import torchvision  # noqa: F401
        except (ImportError, RuntimeError):  # it may be built for another PyTorch
            peers = pytest.importorskip("benchmarks.torch_networks")

            def alexnet(pretrained=False):
                network = peers.torch_network("alexnet_torchvision", 224, channels=3)
                return types.SimpleNamespace(features=network[:13])

            models = types.SimpleNamespace(alexnet=alexnet)
            stand_in = types.ModuleType("torchvision")
            stand_in.models = models
            patch.setitem(sys.modules, "torchvision", stand_in)
        yield torch, pytest.importorskip("lpips")


@pytest.fixture(scope="module")
def theirs(package, tmp_path_factory):
    """The package's metrics by name, over one random network; that as our run."""
    torch, lpips = package
    torch.manual_seed(0)
    settings = {"": {}, "plain": {"lpips": False}, "maps": {"spatial": True}}
    made = {
        name: lpips.LPIPS(net="alex", pnet_rand=True, verbose=False, **fields)
        for name, fields in settings.items()
    }
    state = made[""].net.state_dict()  # slice1.0.weight, ...
    for metric in made.values():
        metric.net.load_state_dict(state)
    state = {
        f"features.{name.partition('.')[2]}": array for name, array in state.items()
    }
    for place, shape in ((1, (4096, 9216)), (4, (4096, 4096)), (6, (1000, 4096))):
        state[f"classifier.{place}.weight"] = torch.randn(shape) / 64
        state[f"classifier.{place}.bias"] = torch.zeros(shape[0])
    folder = tmp_path_factory.mktemp("lpips")
    torch.save(state, folder / "alexnet.pth")
    convert([str(folder / "alexnet.pth"), f"--to={folder / 'run'}"])
    return made, load(folder / "run")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("size", [(64, 64), (31, 40), (224, 160), (65, 227)])
def test_the_package_measures_the_same(package, theirs, size):
    """With its own weights of channels."""
    torch, metrics = package[0], theirs[0]
    model, params = theirs[1].model, theirs[1].weights["params"]
    linear = example.read_linear()
    one, other = pair(*size)
    first, second = (
        torch.from_numpy(image.transpose(0, 3, 1, 2).copy()) for image in (one, other)
    )
    first.requires_grad_()
    wanted = metrics[""](first, second)
    wanted.sum().backward()
    gradients = first.grad.numpy().transpose(0, 2, 3, 1)
    with torch.no_grad():
        plain, maps = (metrics[name](first, second) for name in ("plain", "maps"))

    found = distance(model, params, linear, one, other)
    np.testing.assert_allclose(found, wanted.detach().flatten(), rtol=1e-4)
    gradient = jax.jit(
        jax.grad(lambda x: example.lpips(model, params, linear, x, other).sum())
    )(jnp.asarray(one))
    assert np.abs(gradient - gradients).max() < 1e-4 * np.abs(gradients).max()
    found = distance(model, params, None, one, other)
    np.testing.assert_allclose(found, plain.flatten(), rtol=1e-4)
    found = distance(model, params, linear, one, other, spatial=True)
    np.testing.assert_allclose(found, maps[:, 0], rtol=1e-4, atol=1e-6)
