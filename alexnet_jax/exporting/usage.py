"""How each format is used, as a model card says it."""

from collections.abc import Sequence

from alexnet_jax.trained import TrainedModel

_USE = {
    "safetensors": """\
`model.safetensors` has the arrays in this project's layout (kernels height, width, in,
out; images height, width, channels), the statistics of the training images, and in its
metadata the config. It becomes a run again, bit for bit:

```
python -m alexnet_jax.convert model.safetensors --to=runs/mine
```
""",
    "torch": """\
`model.pth` is a state dict, and `network.py` its module, which needs PyTorch alone.
Images go in as `preprocessing.json` says, channels first.

```python
import torch
from network import create_network

network = create_network()
network.load_state_dict(torch.load("model.pth", weights_only=True))
network.eval()
logits = network(images)  # IMAGE
```
""",
    "onnx": """\
`model.onnx` takes any number of images.

```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(["logits"], {"image": image})  # IMAGE
```
""",
    "stablehlo": """\
`model.stablehlo` takes stored bytes, (N, SHAPE) uint8, one image or more, and answers
probabilities, (N, CLASSES) float32, on CPUs, NVIDIA GPUs and TPUs. It needs jax and
flatbuffers.

```python
from jax import export

with open("model.stablehlo", "rb") as file:
    network = export.deserialize(bytearray(file.read()))
probabilities = network.call(image)
```
""",
}


# Formats that are evaluated as the run is: by this project, or with all of it inside.
_AS_THE_RUN = ("safetensors", "stablehlo")


def views_of(net: TrainedModel, form: str) -> int:
    """Returns how many views of an image a format's probabilities are averaged over."""
    return net.views if form in _AS_THE_RUN else 1


def dtype_of(net: TrainedModel, form: str) -> str:
    """Returns the type that a format computes in."""
    return net.config.dtype if form in _AS_THE_RUN else "float32"


def notes_on_results(net: TrainedModel, form: str) -> list[str]:
    """Returns how a file answers, where not by one view in float32 as the run.

    Args:
      net: The network.
      form: The format.
    """
    notes = []
    views, dtype = net.views, net.config.dtype
    if form == "stablehlo":
        if views > 1:
            notes.append(f"probabilities are averaged over {views} views")
        if dtype != "float32":
            notes.append(f"it computes in {dtype}, as the run did")
    if views_of(net, form) != views:
        notes.append(
            f"it takes one view of an image, its center; the run's test results are "
            f"averaged over {views} views"
        )
    if dtype_of(net, form) != dtype:
        notes.append(f"it computes in float32; the run's test results are of {dtype}")
    return notes


def how_to_use(
    net: TrainedModel,
    form: str,
    notes: Sequence[str],
    checked: str,
    with_preprocessing: bool,
) -> list[str]:
    """Returns the part of a model card that says how its file is used.

    Args:
      net: The network.
      form: The format.
      notes: On how it was written.
      checked: What came of opening it again.
      with_preprocessing: Whether an ONNX graph takes stored bytes.
    """
    *size, channels = net.spec.image_shape
    height, width, _ = net.input_shape[1:]
    image = f"(N, {channels}, {height}, {width}) float32, see preprocessing.json"
    if with_preprocessing:
        image = f"(N, {size[0]}, {size[1]}, {channels}) uint8"
    text = (
        _USE[form]
        .replace("IMAGE", image)
        .replace("SHAPE", ", ".join(map(str, net.spec.image_shape)))
        .replace("CLASSES", str(net.config.model.num_classes))
    )
    blocks = [f"## Use\n\n{text}"]
    lines = [f"- {line}\n" for line in (*notes, checked) if line]
    return [*blocks, "".join(lines)] if lines else blocks
