"""The book's code as its readers run it: a script, a notebook."""

import os
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[2]


CHAPTER = """
from alexnet_jax import d2l
from flax import linen as nn
import jax
from jax import numpy as jnp
class AlexNet(d2l.Classifier):
    lr: float = 0.1
    num_classes: int = 10
    training: bool = True

    def setup(self):
        self.net = nn.Sequential([
            nn.Conv(features=96, kernel_size=(11, 11), strides=4, padding=1),
            nn.relu,
            lambda x: nn.max_pool(x, window_shape=(3, 3), strides=(2, 2)),
            nn.Conv(features=256, kernel_size=(5, 5)),
            nn.relu,
            lambda x: nn.max_pool(x, window_shape=(3, 3), strides=(2, 2)),
            nn.Conv(features=384, kernel_size=(3, 3)), nn.relu,
            nn.Conv(features=384, kernel_size=(3, 3)), nn.relu,
            nn.Conv(features=256, kernel_size=(3, 3)), nn.relu,
            lambda x: nn.max_pool(x, window_shape=(3, 3), strides=(2, 2)),
            lambda x: x.reshape((x.shape[0], -1)),  # flatten
            nn.Dense(features=4096),
            nn.relu,
            nn.Dropout(0.5, deterministic=not self.training),
            nn.Dense(features=4096),
            nn.relu,
            nn.Dropout(0.5, deterministic=not self.training),
            nn.Dense(features=self.num_classes)
        ])

AlexNet(training=False).layer_summary((1, 224, 224, 1))
model = AlexNet(lr=0.01)
data = d2l.FashionMNIST(batch_size=128, resize=(224, 224))
trainer = d2l.Trainer(max_epochs=1, num_gpus=1, max_steps=2)
trainer.fit(model, data)
"""


USERS_LENET = """
from pathlib import Path
from flax import linen as nn
from alexnet_jax import d2l
class LeNet(d2l.Classifier):
    lr: float = 0.2
    num_classes: int = 10
    training: bool = True

    def setup(self):
        self.net = nn.Sequential([
            nn.Conv(features=6, kernel_size=(5, 5)), nn.relu,
            lambda x: nn.max_pool(x, window_shape=(2, 2), strides=(2, 2)),
            nn.Conv(features=16, kernel_size=(5, 5), padding="VALID"), nn.relu,
            lambda x: nn.max_pool(x, window_shape=(2, 2), strides=(2, 2)),
            lambda x: x.reshape((x.shape[0], -1)),
            nn.Dense(features=120), nn.relu,
            nn.Dense(features=84), nn.relu,
            nn.Dense(features=self.num_classes),
        ])

trainer = d2l.Trainer(max_epochs=1)
trainer.fit(LeNet(), d2l.FashionMNIST(batch_size=256))
print(trainer.board.data["val_acc"][-1][1])
status = Path("/proc/self/status").read_text()
print(float(status.split("VmHWM:")[1].split()[0]) * 1024)
"""


def run_script(code, folder, data_dir):
    """Runs a reader's script in a process of its own; returns what it printed."""
    environment = {"JAX_PLATFORMS": "cpu", "TFDS_DATA_DIR": str(data_dir)}
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


@pytest.mark.slow
def test_a_users_lenet_on_fashion_mnist(fashion_dir, tmp_path):
    """One epoch of the original files passes 0.75, far below d2l's 12 GB.

    The peak is the kernel's own: `ru_maxrss` of a child begins at its parent's.
    """
    lines = run_script(USERS_LENET, tmp_path, fashion_dir)
    accuracy, peak = map(float, lines[-2:])
    assert accuracy > 0.75
    assert peak < 1.2e9  # 0.9e9 was measured


def test_the_chapter_runs_as_a_script(tmp_path, data_dir, request):
    """On the original files where they are at hand, else on digits."""
    if os.environ.get("FASHION_MNIST_DIR"):
        data_dir = request.getfixturevalue("fashion_dir")
        # All 10,000 test images are looked at, which takes minutes at 224×224.
        code = CHAPTER.replace("resize=(224, 224)", "resize=(80, 80)")
    else:
        code = CHAPTER.replace("d2l.FashionMNIST", "d2l.Digits")
    lines = run_script(code, tmp_path, data_dir)
    assert lines[0] == "Conv output shape:\t (1, 54, 54, 96)"
    assert lines[20] == "Dense output shape:\t (1, 10)"
    assert lines[-1] == "curves    alex-net.png"
    assert (tmp_path / "alex-net.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow  # the script above has most of it
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the notebook's client
def test_the_notebook_runs(data_dir, tmp_path, monkeypatch):
    """On digits, so that it needs no download, and with fewer steps."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    notebook = nbformat.read(ROOT / "examples" / "alexnet.ipynb", as_version=4)
    for cell in notebook.cells:
        source = cell.source.replace("d2l.FashionMNIST", "d2l.Digits")
        cell.source = source.replace("max_steps=10", "max_steps=2")
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert not [output for output in outputs if output.output_type == "error"]
