"""What `make dist` built, looked at and installed elsewhere; run by `make test-dist`."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PYTHONS = os.environ.get("PYTHONS", sys.executable).split()

pytestmark = pytest.mark.slow


def built(pattern):
    """The only file of a kind in `dist/`."""
    found = [*(ROOT / "dist").glob(pattern)]
    if not found:
        pytest.skip("dist/ is empty; `make dist` fills it")
    (path,) = found
    return path


def tracked(*folders):
    """The repository's files, without what git ignores."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    return set(subprocess.check_output(words, cwd=ROOT, text=True).splitlines())


def test_the_wheel_holds_the_package_and_the_experiments_alone():
    with zipfile.ZipFile(built("*.whl")) as wheel:
        names = set(wheel.namelist())
    about = {name for name in names if ".dist-info/" in name}
    assert {name.partition(".dist-info/")[2] for name in about} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }
    experiments = {f"alexnet_jax/{name}" for name in tracked("experiments")}
    assert names - about == tracked("alexnet_jax") | experiments


def test_the_sdist_holds_the_repository():
    with tarfile.open(built("*.tar.gz")) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert names == tracked() | {"PKG-INFO"}


@pytest.mark.parametrize("python", PYTHONS)
def test_the_wheel_in_an_empty_folder(python, tmp_path):
    wheel = built("*.whl")
    venv, folder = tmp_path / "venv", tmp_path / "elsewhere"
    subprocess.run([python, "-m", "venv", venv], check=True)
    install = [venv / "bin/python", "-m", "pip", "install", "--quiet", wheel]
    subprocess.run(install, check=True)
    folder.mkdir()
    Image.fromarray(np.full((28, 28), 7, np.uint8)).save(folder / "picture.png")

    def alexnet(*words):
        environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "TFDS_DATA_DIR": str(tmp_path / "data"),
        }
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [venv / "bin/alexnet", *words],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    assert "alexnet train --config=digits" in alexnet("--help")
    out = alexnet("train", "--config=digits", "--config.num_train_steps=3")
    assert "finished  test top-1 " in out
    assert alexnet("report", "runs/digits").startswith("page ")
    assert "picture.png" in alexnet("predict", "runs/digits", "picture.png")
