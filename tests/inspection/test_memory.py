"""Runs out of all proportion are refused before anything is allocated."""

import time

import pytest

from alexnet_jax.config import default_config
from alexnet_jax.errors import InputError
from alexnet_jax.inspection import memory
from alexnet_jax.models import create_configured
from alexnet_jax.train import train_and_evaluate

BIG = {
    "model.num_classes": (2**31 - 1, "model.width or model.num_classes must be lower"),
    "eval.batch_size": (2**31 - 1, "eval.batch_size must be lower: a test step would"),
    "data.image_size": (
        2**14,
        "model.width or model.num_classes must be lower|data",
    ),
    "augment.canvas": (2**14, "data.image_size or augment.canvas must be lower|batch_"),
    "num_epochs": (2**31 - 1, "num_epochs must be below .* epochs of 4 steps would be"),
}


@pytest.mark.parametrize("key", BIG)
def test_values_out_of_all_proportion(key, config, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "device_memory", lambda: 10**9)
    value, expected = BIG[key]
    config.update_from_flattened_dict({key: value})
    start = time.perf_counter()
    with pytest.raises(InputError, match=f"^({expected})"):
        train_and_evaluate(config, tmp_path / "run")
    assert time.perf_counter() - start < 20
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.heavy
def test_what_fits_is_not_refused(config, tmp_path, monkeypatch):
    """The bound is a lower one: the tiny run takes more than this."""
    monkeypatch.setattr(memory, "device_memory", lambda: 20_000_000)
    config.num_epochs = config.num_train_steps = 1
    train_and_evaluate(config, tmp_path)


@pytest.mark.slow
def test_a_batch_in_parts_takes_less(config, tmp_path, monkeypatch):
    config.num_epochs = config.num_train_steps = config.eval.batch_size = 1
    config.batch_size = 1500
    # 3 images' worth of the state and of 1,500 of the largest output, 28×28×6 floats.
    monkeypatch.setattr(memory, "device_memory", lambda: 20_000_000)
    with pytest.raises(InputError, match="^batch_size must be lower: a training step"):
        train_and_evaluate(config, tmp_path)
    config.optim.accumulate_steps = 10
    train_and_evaluate(config, tmp_path)


def test_the_message_has_the_figures(config, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "device_memory", lambda: 10**9)
    config.eval.batch_size = 10**8
    with pytest.raises(InputError, match="at least .* GB on each .*; there are 1.0"):
        train_and_evaluate(config, tmp_path)


def test_the_memory_of_a_container(tmp_path, monkeypatch):
    files = tmp_path / "a", tmp_path / "b"
    monkeypatch.setattr(memory, "_LIMITS", files)
    assert memory.host_memory() > 10**8
    files[0].write_text("max\n")
    files[1].write_text("123\n")
    assert memory.host_memory() == 123


class TestTestImagesAtATime:
    """What `eval.batch_size` is if it is not set."""

    def size(self, monkeypatch, backend, gigabytes, **keys):
        monkeypatch.setattr(memory.jax, "default_backend", lambda: backend)
        monkeypatch.setattr(memory, "device_memory", lambda: int(gigabytes * 1e9))
        config = default_config()
        config.update(keys)
        return memory.fitting_batch_size(config, create_configured(config))

    def test_on_a_cpu(self, monkeypatch):
        assert self.size(monkeypatch, "cpu", 1000) == 125

    def test_on_a_gpu(self, monkeypatch):
        assert self.size(monkeypatch, "gpu", 80) == 1000
        # Four copies of conv1's 54×54×96 floats and an image in a quarter of 1 GB.
        small = self.size(monkeypatch, "gpu", 1)
        assert small == int(0.25e9) // (4 * (224 * 224 * 3 + 4 * 54 * 54 * 96))
        half = self.size(monkeypatch, "gpu", 1, dtype="bfloat16")
        assert small < half < 2 * small
        assert self.size(monkeypatch, "gpu", 1e-6) == 1

    @pytest.mark.parametrize("backend", ["cpu", "gpu"])
    def test_as_it_is_set(self, monkeypatch, backend):
        assert self.size(monkeypatch, backend, 1, eval={"batch_size": 4000}) == 4000
