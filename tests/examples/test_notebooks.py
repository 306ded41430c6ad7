"""The notebooks, cell by cell, and what they begin with."""

import tomllib
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
# What makes each short enough for a test, and how many pictures it draws.
NOTEBOOKS = {
    "alexnet": ({"d2l.FashionMNIST": "d2l.Digits", "max_steps=10": "max_steps=2"}, 3),
    "alexnet_2012": ({"config.num_epochs = 16, 6": "config.num_epochs = 100, 1"}, 6),
}


def read(name):
    return nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the notebook's client
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, data_dir, tmp_path, monkeypatch):
    """On digits, so that it needs no download."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    changes, pictures = NOTEBOOKS[name]
    notebook = read(name)
    for old, new in changes.items():
        assert any(old in cell.source for cell in notebook.cells), old
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)
    client = nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    drawn = sum("image/png" in output.get("data", {}) for output in outputs)
    assert drawn >= pictures
    assert not [output for output in outputs if output.output_type == "error"]


def test_each_notebook_is_here():
    there = {path.stem for path in (ROOT / "examples").glob("*.ipynb")}
    assert there == {*NOTEBOOKS}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_opens_elsewhere(name):
    """In Colab, by the repository's address, where it installs the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    repository = project["urls"]["Homepage"].removeprefix("https://github.com/")
    first, install = read(name).cells[:2]
    address = f"/github/{repository}/blob/main/examples/{name}.ipynb)"
    assert address in first.source
    assert f'"alexnet_jax @ git+https://github.com/{repository}"' in install.source
    assert install.source.splitlines()[2] == (
        'if importlib.util.find_spec("alexnet_jax") is None:'
    )
