"""Devices to test on, strict promotion, warnings as errors; small data sets."""

import os
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data import Batches, fashion_mnist, shapes
from alexnet_jax.data.digits import load
from alexnet_jax.errors import InputError
from alexnet_jax.train import train_and_evaluate

TESTS = Path(__file__).parent

# Eight devices of a CPU; on a GPU, `cuda`, what needs more than there are is left out.
PLATFORM = os.environ.get("ALEXNET_JAX_TEST_PLATFORM") or "cpu"
if PLATFORM == "cpu":
    jax.config.update("jax_num_cpu_devices", 8)
else:
    # The tests' bounds are float32's, and TF32 rounds to 10 bits. Read by the processes
    # that tests start, too, which share the device.
    os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "highest"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_platforms", PLATFORM if PLATFORM == "cpu" else f"{PLATFORM},cpu")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items):
    """Marks what starts whole processes, by its folder."""
    for item in items:
        if {"e2e", "faults"} & {*item.path.relative_to(TESTS).parts}:
            item.add_marker(pytest.mark.e2e)


def pytest_sessionstart():
    """Ends before the first test if there is no such device; JAX would take the CPU.

    Under `nohup`, hangups are made to end processes again, as the tests expect; and
    lines may be of any length, but for the COLUMNS=80 that readline puts into the
    environment of xdist's workers.
    """
    os.environ.pop("COLUMNS", None)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if PLATFORM != "cpu" and jax.default_backend() == "cpu":
        pytest.exit(f"ALEXNET_JAX_TEST_PLATFORM: JAX finds no {PLATFORM} device", 2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """Leaves out, on a platform with fewer devices than eight, what asks for more."""
    try:
        return (yield)
    except InputError as error:
        asks = "parallel.data × parallel.model must be at most" in str(error)
        if PLATFORM == "cpu" or not asks:
            raise
        pytest.skip(str(error))


def shared_folder(tmp_path_factory):
    """Returns a folder that is one for all workers."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Lets tests, the processes they start and all workers share what they compile."""
    folder = str(shared_folder(tmp_path_factory) / "compiled")
    for name, value in (
        ("jax_compilation_cache_dir", folder),
        ("jax_persistent_cache_min_compile_time_secs", 0.1),
    ):
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


@pytest.fixture
def on_cpu():
    """Leaves a test out that looks at what is computed on a CPU alone."""
    if jax.default_backend() != "cpu":
        pytest.skip("looks at a CPU's form")


@pytest.fixture
def eight_devices():
    """Leaves a test out that counts on eight."""
    if jax.device_count() < 8:
        pytest.skip(f"wants eight devices; there are {jax.device_count()}")


@pytest.fixture
def compiled_in_a_hurry():
    """Code that is compiled in two thirds of the time, where speed is no matter."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder in which the digits lie prepared."""
    folder = tmp_path_factory.mktemp("tfds")
    load(folder)
    return folder


@pytest.fixture(scope="session")
def shapes_dir(tmp_path_factory):
    """A folder in which a few drawn shapes lie prepared: 32, and 8 to test on."""
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "_PER_CLASS", {"train": 8, "val": 2})
        shapes.load(folder, "fail")
    return folder


def tiny_config(data_dir):
    """LeNet on digits at 28×28: small enough for every test of the loop."""
    config = default_config()
    config.name = "tiny"
    config.batch_size = 400  # four steps an epoch, the last of 300 images
    config.num_epochs = 2
    config.model.name = "lenet5"
    config.data.name = "digits"
    config.data.data_dir = str(data_dir)
    config.data.image_size = 28
    config.optim.learning_rate = 0.5
    config.optim.momentum = 0.9
    config.log.tensorboard = False
    config.parallel.data = 1
    return config


@pytest.fixture
def error_line(capsys):
    """Calls a command that must fail and returns its only line on stderr."""

    def call(main, *argv):
        with pytest.raises(SystemExit, match="^1$"):
            main([str(word) for word in argv])
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return call


@pytest.fixture
def config(data_dir):
    """A tiny config of the test's own."""
    return tiny_config(data_dir)


@pytest.fixture(scope="session")
def trained(data_dir, tmp_path_factory):
    """The workdir of a tiny run that has ended; to be left as it is."""
    workdir = tmp_path_factory.mktemp("trained")
    config = tiny_config(data_dir)
    config.log.every_steps = 2
    config.optim.learning_rate = 0.01
    config.model.init = "he"  # what it answers differs from image to image
    config.data.scale = "standard"
    train_and_evaluate(config, workdir)
    return workdir


@pytest.fixture
def batches():
    """Ten random images in batches of four, the last padded by two."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (10, 8, 8, 1), np.uint8)
    return Batches(image, np.arange(10, dtype=np.int32), batch_size=4, seed=3)


@pytest.fixture(scope="session")
def fashion_files():
    """The folder of the four original Fashion-MNIST files."""
    folder = os.environ.get("FASHION_MNIST_DIR")
    if not folder:
        pytest.skip("FASHION_MNIST_DIR names no folder with the original files")
    return Path(folder).absolute()


@pytest.fixture(scope="session")
def fashion_dir(fashion_files, tmp_path_factory):
    """A folder in which Fashion-MNIST lies prepared; to be left as it is."""
    folder = shared_folder(tmp_path_factory) / "fashion"
    fashion_mnist.load(folder, str(fashion_files))
    return folder


@pytest.fixture(scope="session")
def released():
    """The folder of cuda-convnet's released layer files, `2012` and `2014`."""
    folder = os.environ.get("CUDA_CONVNET_DIR")
    if not folder:
        pytest.skip("CUDA_CONVNET_DIR names no folder with cuda-convnet's files")
    return Path(folder).absolute()
