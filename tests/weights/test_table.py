"""The documentation's table of formats and networks is what the code does."""

import re
from pathlib import Path

import pytest

from alexnet_jax.exporting.onnx_graph import write_onnx
from alexnet_jax.exporting.operations import list_operations
from alexnet_jax.exporting.torch_layers import notes_of
from alexnet_jax.models import MODELS, create_model
from alexnet_jax.weights.conventions import CAFFE, TENSORFLOW, TORCHVISION, TWIN
from tests.exporting.cases import random_variables

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"
PUBLISHED = {"torchvision's": TORCHVISION, "Caffe's": CAFFE, "`.npy`": TENSORFLOW}


def cell(notes):
    layers = [*dict.fromkeys(re.match(r"\w+", note)[0] for note in notes)]
    return f"composed: {', '.join(layers)}" if layers else "as they are"


def row(name, folder):
    reference = MODELS[name].reference
    fields = {"width": 1 / 16} if hasattr(MODELS[name], "width") else {}
    model = create_model(name, num_classes=7, training=False, **fields)
    shape = reference.input_shape
    operations = list_operations(model, random_variables(model, shape), shape)
    published = [word for word, one in PUBLISHED.items() if name in one.networks]
    of_torch = [note for one in operations for note in notes_of(one)]
    of_onnx = write_onnx(folder, name, operations, metadata={})
    assert name in TWIN.networks  # so both are read back
    return [f"`{name}`", ", ".join(published) or "-", cell(of_torch), cell(of_onnx)]


@pytest.mark.heavy
def test_the_table_of_formats_and_networks(tmp_path):
    pytest.importorskip("onnx")
    section = PAGE.read_text().split("## Formats and networks")[1].split("\n## ")[0]
    lines = section.splitlines()
    found = [[one.strip() for one in line.strip("|").split("|")]
             for line in lines if line.startswith("| `")]  # fmt: skip
    assert found == [row(name, tmp_path) for name in MODELS]
