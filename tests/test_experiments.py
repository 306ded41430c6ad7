"""Every file in experiments/ loads, validates and trains two steps."""

import pytest

from alexnet_jax.config import differences, learning_rate, validate
from alexnet_jax.errors import InputError
from alexnet_jax.models import create_configured
from alexnet_jax.optim import create_optimizer, create_schedule
from alexnet_jax.train import train_and_evaluate
from benchmarks.ablations import PUBLISHED
from tests.helpers import EXPERIMENTS
from tests.layer_files import LOCAL, LOCAL_PARAMS, write_files
from tests.tfds_copies import write_copy

pytestmark = pytest.mark.usefixtures("compiled_in_a_hurry", "layer_files")

RUNS = [
    (name, variant)
    for name, module in EXPERIMENTS.items()
    for variant in ("", *getattr(module, "VARIANTS", ()))
]
# The variants that are trained here, where it is not the default; each network and each
# switch has tests of its own.
TRAINED = {
    "fashion": "augmented",
    "imagenet": "2012",
    "ablations": "batch_norm",
    "finetune": "scratch",  # the others begin with a run of digits.py, below
    "cifar10": "11pct",
}


@pytest.fixture
def layer_files(tmp_path_factory, monkeypatch):
    """A network of the tests' own in place of each released one of `cifar10.py`."""
    released = tmp_path_factory.mktemp("cuda_convnet")
    for folder, name in EXPERIMENTS["cifar10"].FILES.values():
        write_files(released / folder, name, LOCAL, LOCAL_PARAMS)
    monkeypatch.setenv("CUDA_CONVNET_DIR", str(released))


@pytest.mark.parametrize(("name", "variant"), RUNS)
def test_it_is_valid_and_has_a_network(name, variant):
    config = EXPERIMENTS[name].get_config(variant)
    validate(config)
    assert config.name.startswith(name)
    if variant:
        assert config.name == f"{name}-{variant}"
    model = create_configured(config)
    create_optimizer(config.optim, create_schedule(config.optim, model.lr, 10, 100))
    size = config.data.image_size
    *_, (_, shape) = model.layer_shapes((1, size, size, 3))
    assert shape == (1, config.model.num_classes)


HEAVY = "digits", "lenet"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.heavy if n in HEAVY else pytest.mark.slow)
        for n in EXPERIMENTS
    ],
)
def test_it_trains_two_steps(name, data_dir, shapes_dir, tmp_path):
    config = EXPERIMENTS[name].get_config(TRAINED.get(name, ""))
    # The digits stand in for data that may not be at hand, and shapes for coloured
    # ones, at the smallest size, and a few channels for all.
    if config.model.name != "lenet5":
        config.model.width = 1 / 8
    config.data.name, config.data.data_dir = "digits", str(data_dir)
    if name == "imagenet":
        config.data.name, config.data.data_dir = "shapes", str(shapes_dir)
        config.eval.batch_size = 8  # all of them
    config.data.image_size = min(config.data.image_size, 67)
    if config.augment.canvas:
        config.augment.canvas = config.data.stored_size = 76
    config.batch_size, config.num_train_steps = 8, 2
    config.parallel.data = 1
    assert train_and_evaluate(config, tmp_path)["step"] == 2


@pytest.mark.slow
def test_fine_tuning_begins_with_the_digits(data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, variant in (
        ("digits", ""),
        ("finetune", "caffe"),
        ("finetune", "frozen"),
    ):
        config = EXPERIMENTS[name].get_config(variant)
        config.model.width, config.data.image_size = 1 / 8, 67
        config.data.name, config.data.data_dir = "digits", str(data_dir)
        config.batch_size, config.num_train_steps, config.parallel.data = 8, 1, 1
        train_and_evaluate(config, f"runs/{config.name}")
    out = capsys.readouterr().out
    taken = "weights   taken: conv1, conv2, conv3, conv4, conv5, fc6, fc7\n"
    fresh = "weights   drawn fresh: fc8 (not in checkpoint.init_layers)\n"
    assert out.count(taken + fresh) == 2 and out.count("rates     fc8 × 10\n") == 1
    assert out.count("frozen    conv1, conv2, conv3, conv4, conv5: ") == 1


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_unknown_variant_is_named(name):
    with pytest.raises(InputError, match=f"{name}.py: .*got 'nope'"):
        EXPERIMENTS[name].get_config("nope")


def test_the_default_variant_of_fashion_is_d2l():
    fashion = EXPERIMENTS["fashion"]
    assert fashion.get_config().to_dict() == fashion.get_config("d2l").to_dict()
    assert learning_rate(fashion.get_config().optim) == 0.01
    tutorial = fashion.get_config("seed003")
    assert (tutorial.model.name, tutorial.optim.learning_rate) == (
        "alexnet_fashion",
        0.1,
    )
    half = fashion.get_config("half")
    assert (half.optim.momentum, half.optim.weight_decay) == (0.9, 5e-4)


def test_initializations_differ_in_nothing_else():
    configs = [
        EXPERIMENTS["initialization"].get_config(variant)
        for variant in EXPERIMENTS["initialization"].VARIANTS
    ]
    for config in configs:
        assert config.model.init == config.name.removeprefix("initialization-")
        config.model.init = config.name = ""
    assert all(config.to_dict() == configs[0].to_dict() for config in configs)


def test_ablations_differ_from_the_baseline_by_one_leaf_of_the_model():
    ablations = EXPERIMENTS["ablations"]
    baseline, *others = map(ablations.get_config, ablations.VARIANTS)
    assert baseline.to_dict() == ablations.get_config().to_dict()
    validate(baseline)
    for variant, config in zip(ablations.VARIANTS[1:], others, strict=True):
        validate(config)
        assert config.name == f"ablations-{variant}"
        assert f"`{variant}`" in ablations.__doc__
        ((key, before, after),) = (
            change
            for change in differences(baseline.to_dict(), config.to_dict())
            if change[0] != "name"
        )
        assert key.startswith("model.") and before != after
    assert PUBLISHED.keys() == {*ablations.VARIANTS}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_docstring_has_the_command(name):
    assert f"--config=experiments/{name}.py" in EXPERIMENTS[name].__doc__


def test_imagenets_recipes_are_those_of_the_table():
    """Batch, epochs, update, decay, schedule, crop, colour and views, by author."""
    made = {}
    for variant in EXPERIMENTS["imagenet"].VARIANTS:
        config = EXPERIMENTS["imagenet"].get_config(variant)
        optim, augment = config.optim, config.augment
        made[variant] = (
            (config.model.name, config.data.name, config.data.image_size),
            (config.batch_size, config.num_epochs, optim.name, optim.weight_decay),
            (optim.schedule, optim.decay_epochs, optim.decay_steps),
            (config.data.fit, config.data.scale, augment.crop, augment.mirror),
            (augment.color, augment.color_epochs, augment.shared, config.eval.views),
        )
    pictures = "imagenet2012_256"
    decay = (100_000, 200_000, 300_000, 400_000)
    assert made == {
        "paper": (
            ("alexnet_paper", pictures, 224),
            (128, 90, "sgd_2012", 5e-4),
            ("plateau", (), ()),
            ("crop", "author", "random", True),
            (0.1, None, 1, 10),
        ),
        "2012": (
            ("alexnet_2012", pictures, 224),
            (128, 91, "sgd_2012", 5e-4),
            ("2012", (), ()),
            ("crop", "author", "random", True),
            (0.1, 67, 32, 10),
        ),
        "caffe": (
            ("alexnet_caffe", pictures, 227),
            (256, 90, "sgd_2012", 5e-4),
            ("step", (), decay),
            ("warp", "caffe", "random", True),
            (0.0, None, 1, 1),
        ),
        "torchvision": (
            ("alexnet_torchvision", pictures, 224),
            (256, 90, "sgd", 1e-4),
            ("step", (30, 60), ()),
            ("crop", "torchvision", "random_resized", True),
            (0.0, None, 1, 1),
        ),
        "one_weird_trick": (
            ("alexnet_one_weird_trick", pictures, 224),
            (128, 90, "sgd_2012", 5e-4),
            ("one_weird_trick", (), ()),
            ("crop", "author", "random", True),
            (0.1, None, 1, 10),
        ),
        "smoke": (
            ("alexnet_2012", "shapes", 224),
            (16, 4, "sgd_2012", 5e-4),
            ("constant", (), ()),
            ("crop", "author", "random", True),
            (0.1, None, 1, 10),
        ),
    }


def test_imagenets_pixels_are_those_of_their_frameworks():
    get_config, ways = EXPERIMENTS["imagenet"].get_config, {}
    for variant in EXPERIMENTS["imagenet"].VARIANTS:
        ways.setdefault(get_config(variant).data.resize, set()).add(variant)
    assert ways.pop("bicubic") and ways == {
        "bilinear": {"torchvision"},
        "opencv": {"caffe"},
    }


def test_cifar10s_recipes_are_those_of_their_files():
    """What learns at which rates for how long, on which images."""
    made = {}
    for variant in EXPERIMENTS["cifar10"].VARIANTS:
        config = EXPERIMENTS["cifar10"].get_config(variant)
        optim, augment = config.optim, config.augment
        made[variant] = (
            (optim.learning_rate, optim.schedule, optim.decay_epochs),
            (config.batch_size, config.num_epochs, config.data.image_size),
            (augment.canvas, augment.crop, augment.mirror, config.eval.views),
        )
        assert f"`{variant}`" in EXPERIMENTS["cifar10"].__doc__
    plain, cropped = (None, "none", False, 1), (32, "random", True, 10)
    whole = ((0.001, "step", (120, 130)), (128, 140, 32), plain)
    crops = ((0.001, "step", (500, 510)), (128, 520, 24), cropped)
    assert made.pop("80sec") == ((None, "constant", ()), (128, 10, 32), plain)
    assert made == {
        **dict.fromkeys(("18pct", "19pct"), whole),
        **dict.fromkeys(("13pct", "12pct", "11pct"), crops),
    }


def test_cifar10_says_where_its_files_are_to_be_named(monkeypatch):
    monkeypatch.delenv("CUDA_CONVNET_DIR")
    with pytest.raises(InputError, match="CUDA_CONVNET_DIR must be set to the folder"):
        EXPERIMENTS["cifar10"].get_config()


@pytest.mark.slow
@pytest.mark.parametrize("variant", EXPERIMENTS["cifar10"].VARIANTS)
def test_cifar10s_released_files_train(variant, tmp_path, released, monkeypatch):
    monkeypatch.setenv("CUDA_CONVNET_DIR", str(released))
    splits = {"train": 32, "test": 8}
    write_copy(tmp_path / "data", "cifar10", (32, 32, 3), splits, version="3.0.2")
    config = EXPERIMENTS["cifar10"].get_config(variant)
    config.data.data_dir, config.batch_size = str(tmp_path / "data"), 8
    config.num_train_steps, config.parallel.data = 2, 1
    config.log.tensorboard = False
    assert train_and_evaluate(config, tmp_path / "run")["step"] == 2
