"""Reads `.caffemodel` files, of layers' first definition (V1) and of the second.

Source: BVLC/caffe, src/caffe/proto/caffe.proto.
"""

import math

import numpy as np

from alexnet_jax.weights.source import Damaged, NotRead, Source
from alexnet_jax.weights.wire import BYTES, VARINT, fields

# Numbers of fields: of `NetParameter` ...
_V1_LAYERS, _LAYER = 2, 100
# ... of name, type and blobs in `V1LayerParameter` and in `LayerParameter` ...
_FIELDS = {_V1_LAYERS: (4, 5, 6), _LAYER: (1, 2, 7)}
_V0_LAYER = 1  # of a layer of 2013
# ... and of `BlobProto`: num, channels, height and width are 1 to 4.
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8
# Of the V1 types, those that tell networks apart.
_V1_TYPES = {4: "CONVOLUTION", 14: "INNER_PRODUCT", 15: "LRN", 17: "POOLING"}
_NAMES = {"Convolution": "CONVOLUTION", "InnerProduct": "INNER_PRODUCT"}


def looks_like(content: memoryview) -> bool:
    """Whether a message can be a `NetParameter` with layers."""
    try:
        return any(
            field.number in _FIELDS and field.kind == BYTES for field in fields(content)
        )
    except Damaged:  # cut short, perhaps; so begins one that has a name
        return content[:1] == b"\n"


def read(content: memoryview) -> Source:
    """Reads a file.

    Args:
      content: All of it; arrays are views of it.

    Returns:
      Blobs as `conv1/0`, a kernel, and `conv1/1`, its bias.

    Raises:
      Damaged: It is cut short, or a blob does not fit its shape.
      NotRead: Its layers are of before the first definition (V0).
    """
    arrays: dict[str, np.ndarray] = {}
    operations = []
    for field in fields(content):
        if field.number not in _FIELDS:
            continue
        if field.number == _V1_LAYERS and _is_v0(field.content):
            raise NotRead(
                "a Caffe model of 2013, whose layers are of the definition before V1; "
                "bring it up to date with Caffe's upgrade_net_proto_binary"
            )
        name, kind, blobs = _layer(field.content, *_FIELDS[field.number])
        operations.append(kind)
        if blobs and f"{name}/0" in arrays:
            raise Damaged(f"two layers named {name} have weights")
        for place, blob in enumerate(blobs):
            arrays[f"{name}/{place}"] = read_blob(blob, f"{name}/{place}")
    return Source("Caffe model", arrays, operations=tuple(operations))


def _is_v0(message: memoryview) -> bool:
    """Whether a layer has another inside, which is of the definition before V1."""
    return any(field.number == _V0_LAYER and field.kind == BYTES
               for field in fields(message))  # fmt: skip


def _layer(
    message: memoryview, name_field: int, type_field: int, blobs_field: int
) -> tuple[str, str, list[memoryview]]:
    """Returns a layer's name, kind and blobs."""
    name = kind = ""
    blobs = []
    for field in fields(message):
        if field.number == name_field:
            name = field.text
        elif field.number == type_field and isinstance(field.value, int):
            kind = _V1_TYPES.get(field.value, "")
        elif field.number == type_field:
            kind = _NAMES.get(field.text, field.text.upper())
        elif field.number == blobs_field:
            blobs.append(field.content)
    return name, kind, blobs


def read_blob(message: memoryview, name: str) -> np.ndarray:
    """Returns a blob, its numbers packed or not, its shape in either form.

    Args:
      message: A `BlobProto`.
      name: What an error calls it.

    Raises:
      Damaged: It is cut short, or does not fit its shape.
    """
    parts: list[np.ndarray] = []
    sides, shape = [1, 1, 1, 1], None
    for field in fields(message):
        if field.number in (_DATA, _DOUBLE_DATA):
            if field.kind == VARINT:
                raise Damaged(f"{name} holds integers")
            kind = "<f4" if field.number == _DATA else "<f8"
            parts.append(np.frombuffer(field.content, kind))
        elif field.number == _SHAPE:
            shape = [n for dim in fields(field.content) for n in dim.integers]
        elif field.number <= 4:
            (sides[field.number - 1],) = field.integers
    numbers = parts[0] if len(parts) == 1 else np.concatenate(parts or [np.zeros(0)])
    wanted = sides if shape is None else shape
    if math.prod(wanted) != numbers.size:
        raise Damaged(f"{name} holds {numbers.size:,} numbers for {tuple(wanted)}")
    return numbers.reshape(wanted)
