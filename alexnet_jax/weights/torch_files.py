"""Reads what `torch.save` writes, without PyTorch.

Source: pytorch/pytorch, torch/serialization.py (`_save`, `_legacy_save`).
"""

import io
import math
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from alexnet_jax.weights.pickles import DataUnpickler
from alexnet_jax.weights.source import Damaged, Source

# What files of before PyTorch 1.6 begin with: their magic number, pickled.
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_TYPES = {
    "Float": np.dtype("float32"),
    "Double": np.dtype("float64"),
    "Half": np.dtype("float16"),
    "BFloat16": np.dtype(jnp.bfloat16),
    "Long": np.dtype("int64"),
    "Int": np.dtype("int32"),
    "Short": np.dtype("int16"),
    "Char": np.dtype("int8"),
    "Byte": np.dtype("uint8"),
    "Bool": np.dtype("bool"),
}
# Of tensors that have no type of storage of their own: read, so that they can be named.
_UNTYPED = {
    **{f"uint{bits}": np.dtype(f"uint{bits}") for bits in (16, 32, 64)},
    **{
        name: np.dtype(getattr(jnp, name))
        for name in (
            "float8_e4m3fn",
            "float8_e5m2",
            "float8_e4m3fnuz",
            "float8_e5m2fnuz",
        )
    },
}
_MAX_PICKLE_BYTES = 1 << 26  # of names and shapes alone


class _Storage(NamedTuple):
    """A stretch of memory that tensors are cut from; `key` is its name in the file."""

    type: np.dtype
    key: str
    length: int


class _Tensor(NamedTuple):
    """A tensor whose numbers are not read yet."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(DataUnpickler):
    """Builds dicts, lists and tensors, and nothing else."""

    def __init__(self, file: IO[bytes]) -> None:
        """Takes the pickle."""

        def rebuild_tensor(
            storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
        ) -> _Tensor:
            return _Tensor(storage, offset, tuple(shape), tuple(strides))

        def rebuild_untyped(
            storage: Any, offset: Any, shape: Any, strides: Any, *others: Any
        ) -> _Tensor:
            kind = _UNTYPED[others[2]]
            storage = storage._replace(
                type=kind, length=storage.length // kind.itemsize
            )
            return _Tensor(storage, offset, tuple(shape), tuple(strides))

        def rebuild_parameter(data: Any, *_: Any) -> Any:
            return data

        def rebuild_typed(rebuild: Any, _: Any, arguments: Any, *__: Any) -> Any:
            if rebuild not in (rebuild_tensor, rebuild_untyped, rebuild_parameter):
                raise Damaged("a tensor that is rebuilt by no function")
            return rebuild(*arguments)

        def size(sides: Any) -> tuple[Any, ...]:
            return tuple(sides)

        super().__init__(
            file,
            {
                "collections.OrderedDict": OrderedDict,
                "torch._utils._rebuild_tensor": rebuild_tensor,
                "torch._utils._rebuild_tensor_v2": rebuild_tensor,
                "torch._utils._rebuild_tensor_v3": rebuild_untyped,
                "torch._utils._rebuild_parameter": rebuild_parameter,
                "torch._utils._rebuild_parameter_with_state": rebuild_parameter,
                "torch._tensor._rebuild_from_type_v2": rebuild_typed,
                "torch.Tensor": "Tensor",
                "torch.nn.parameter.Parameter": "Parameter",
                "torch.Size": size,
                **{f"torch.{name}Storage": name for name in _TYPES},
                "torch.storage.UntypedStorage": "Byte",
                **{f"torch.{name}": name for name in _UNTYPED},
            },
        )

    def persistent_load(self, identity: Any) -> _Storage:
        """Returns the storage that a pickle refers to."""
        word, kind, key, _, count, *view = identity
        if word != "storage" or any(part is not None for part in view):
            raise Damaged(f"no storage: {word!r:.40}")
        return _Storage(_TYPES[kind], str(key), _size(count))


def read_zip(file: IO[bytes]) -> Source:
    """Reads a file of PyTorch 1.6 or later.

    Raises:
      HoldsCode: The pickle in it asks for more than tensors.
      Exception: Of any kind, as zipfile and pickle do on damaged bytes.
    """
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Damaged("a zip archive without PyTorch's data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        if archive.getinfo(pickles[0]).file_size > _MAX_PICKLE_BYTES:
            raise Damaged("data.pkl is longer than names and shapes are")
        found = _Unpickler(io.BytesIO(archive.read(pickles[0]))).load()
        is_big = (
            f"{root}byteorder" in names
            and archive.read(f"{root}byteorder").strip() == b"big"
        )

        def read(storage: _Storage) -> np.ndarray:
            member = archive.getinfo(f"{root}data/{storage.key}")
            kind = storage.type.newbyteorder(">" if is_big else "<")
            if member.file_size != storage.length * kind.itemsize:
                raise Damaged(f"{member.filename} has {member.file_size:,} bytes")
            return np.frombuffer(archive.read(member), kind)

        return Source("PyTorch state dict", _arrays(found, read))


def read_legacy(file: IO[bytes]) -> Source:
    """Reads a file of before PyTorch 1.6: five pickles, and the storages behind them.

    Raises:
      HoldsCode: A pickle in it asks for more than tensors.
      Exception: Of any kind, as pickle does on damaged bytes.
    """
    file.seek(len(LEGACY_MAGIC))
    version, system, found, keys = (_Unpickler(file).load() for _ in range(4))
    if version != 1001 or not isinstance(keys, list):
        raise Damaged(f"version {version!r:.20} of PyTorch's format")
    is_big = not system.get("little_endian", True)
    # They follow in the order of the keys, whose types the tensors alone know.
    types = {
        tensor.storage.key: tensor.storage.type
        for tensor in _state_dict(found).values()
    }
    storages = {}
    for key in map(str, keys):
        (count,) = struct.unpack("<q", file.read(8))
        kind = types[key].newbyteorder(">" if is_big else "<")
        content = file.read(_size(count) * kind.itemsize)
        if len(content) != count * kind.itemsize:
            raise Damaged(f"it ends within storage {key}")
        storages[key] = np.frombuffer(content, kind)
    arrays = _arrays(found, lambda storage: storages[storage.key])
    return Source("PyTorch state dict, of before 1.6", arrays)


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise Damaged(f"no size: {value!r:.40}")
    return value


def _state_dict(found: Any) -> dict[str, _Tensor]:
    """Returns the tensors by name; a checkpoint may hold them among other things."""
    for key in ("state_dict", "model"):  # as PyTorch's and torchvision's scripts save
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping):
        raise Damaged("no dict of tensors")
    others = [name for name, value in found.items() if not isinstance(value, _Tensor)]
    if others:
        raise Damaged(f"{others[0]!r:.60} is no tensor")
    # `DataParallel` puts its own name before, or between, those of the layers.
    return {str(name).replace("module.", ""): one for name, one in found.items()}


def _arrays(
    found: Any, read: Callable[[_Storage], np.ndarray]
) -> dict[str, np.ndarray]:
    storages: dict[str, np.ndarray] = {}
    arrays = {}
    for name, (storage, offset, shape, strides) in _state_dict(found).items():
        if storage.key not in storages:
            storages[storage.key] = read(storage)
        numbers = storages[storage.key]
        sizes = [*map(_size, shape)]
        steps = [*map(_size, strides)]
        last = sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
        if math.prod(sizes) and _size(offset) + last >= numbers.size:
            raise Damaged(f"{name} reaches beyond its storage")
        arrays[name] = np.lib.stride_tricks.as_strided(
            numbers[offset:],
            sizes,
            [step * numbers.itemsize for step in steps],
            writeable=False,
        )
    return arrays
