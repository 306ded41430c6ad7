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

from alexnet_jax.weights.pickles import DataUnpickler, check_keys, inert
from alexnet_jax.weights.source import Damaged, NotRead, Source
from alexnet_jax.weights.state_dicts import unwrap

# What files of before PyTorch 1.6 begin with: their magic number, pickled.
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_TYPES: dict[str, np.dtype] = {
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
    "ComplexFloat": np.dtype("complex64"),
    "ComplexDouble": np.dtype("complex128"),
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
# Types that are named beside tensors, in settings.
_DTYPES = ("float16", "bfloat16", "float32", "float64", "int32", "int64", "uint8")
_MAX_PICKLE_BYTES = 1 << 22  # of names and shapes alone
_MAX_REPEATED = 1 << 16  # numbers of a tensor that has more of them than its storage
_REMEDY = "save its weights alone, torch.save(model.state_dict(), FILE)"


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
    """Builds dicts, lists and tensors, and nothing else.

    Attributes:
      types: Of all storages by key.
    """

    def __init__(self, file: IO[bytes]) -> None:
        """Takes the pickle."""
        self.types: dict[str, np.dtype] = {}

        def rebuild_tensor(
            storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
        ) -> _Tensor:
            return _Tensor(storage, offset, tuple(shape), tuple(strides))

        def rebuild_untyped(
            storage: Any, offset: Any, shape: Any, strides: Any, *others: Any
        ) -> _Tensor:
            kind = _UNTYPED[_text(others[2])]
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

        def ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
            pairs = [*pairs]
            check_keys(key for key, _ in pairs)
            return OrderedDict(pairs)

        super().__init__(
            file,
            {
                **inert(),
                "collections.OrderedDict": ordered,
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
                **{f"torch.{name}": name for name in (*_UNTYPED, *_DTYPES)},
            },
            _MAX_PICKLE_BYTES,
        )

    def persistent_load(self, identity: Any) -> _Storage:
        """Returns the storage that a pickle refers to."""
        word, kind, key, _, count, *view = identity
        if word != "storage" or any(part is not None for part in view):
            raise Damaged(f"no storage: {type(word).__name__}")
        storage = _Storage(_TYPES[_text(kind)], _text(key), _size(count))
        self.types[storage.key] = storage.type
        return storage


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
            raise NotRead("a zip archive that torch.save did not write; unpack it")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in names or any(
            name.startswith(f"{root}code/") for name in names
        ):
            raise NotRead(
                f"a program of TorchScript, which is not run; load it with PyTorch and "
                f"{_REMEDY}"
            )

        def content(name: str) -> bytes:
            member = archive.getinfo(name)
            if member.compress_type != zipfile.ZIP_STORED:
                raise Damaged(f"{name} is compressed, which PyTorch does not do")
            return archive.read(member)

        if archive.getinfo(pickles[0]).file_size > _MAX_PICKLE_BYTES:
            raise Damaged("data.pkl is longer than names and shapes are")
        found = _Unpickler(io.BytesIO(content(pickles[0]))).load()
        is_big = (
            f"{root}byteorder" in names
            and content(f"{root}byteorder").strip() == b"big"
        )

        def read(storage: _Storage) -> np.ndarray:
            member = archive.getinfo(f"{root}data/{storage.key}")
            kind = storage.type.newbyteorder(">" if is_big else "<")
            if member.file_size != storage.length * kind.itemsize:
                raise Damaged(f"{member.filename} has {member.file_size:,} bytes")
            return np.frombuffer(content(member.filename), kind)

        return Source("PyTorch state dict", _arrays(found, read))


def read_legacy(file: IO[bytes]) -> Source:
    """Reads a file of before PyTorch 1.6: five pickles, and the storages behind them.

    Raises:
      HoldsCode: A pickle in it asks for more than tensors.
      Exception: Of any kind, as pickle does on damaged bytes.
    """
    file.seek(len(LEGACY_MAGIC))
    unpicklers = [_Unpickler(file) for _ in range(4)]
    version, system, found, keys = (one.load() for one in unpicklers)
    if version != 1001 or not isinstance(keys, list):
        raise Damaged("another version of PyTorch's format")
    is_big = not system.get("little_endian", True)
    wanted = {tensor.storage.key for tensor in _state_dict(found).values()}
    start = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(start)
    storages = {}
    for key in map(_text, keys):  # they follow in the order of the keys
        (count,) = struct.unpack("<q", file.read(8))
        kind = unpicklers[2].types[key].newbyteorder(">" if is_big else "<")
        size = _size(count) * kind.itemsize
        if size > end - file.tell():
            raise Damaged(f"it ends within storage {key:.40}")
        if key in wanted:
            storages[key] = np.frombuffer(file.read(size), kind)
        else:  # an optimizer's
            file.seek(size, io.SEEK_CUR)
    arrays = _arrays(found, lambda storage: storages[storage.key])
    return Source("PyTorch state dict, of before 1.6", arrays)


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise Damaged(f"{_kind(value)} below 0 or no integer as a size")
    return value


def _text(value: Any) -> str:
    if type(value) not in (str, int):  # others may take long to be shown or hashed
        raise Damaged(f"{_kind(value)} in place of a name")
    return str(value)


def _state_dict(found: Any) -> dict[str, _Tensor]:
    """Returns the tensors by name; a checkpoint may hold them among other things.

    Raises:
      NotRead: What was saved is no state dict.
    """
    found = unwrap(found)
    if not isinstance(found, Mapping):
        kind = "nothing (None)" if found is None else _kind(found)
        raise NotRead(f"what torch.save made of {kind}, no state dict; {_REMEDY}")
    if not found:
        raise NotRead(f"what torch.save made of an empty dict; {_REMEDY}")
    others = [name for name, value in found.items() if not isinstance(value, _Tensor)]
    if others:
        raise NotRead(
            f"what torch.save made of a dict whose {others[0]!r:.60} is "
            f"{_kind(found[others[0]])}, no tensor; {_REMEDY}"
        )
    return {str(name): one for name, one in found.items()}


def _kind(value: Any) -> str:
    """Returns the name of a value's type, with its article."""
    name = type(value).__name__
    others = {"_Tensor": "tensor", "Inert": "setting", "_Storage": "storage"}
    name = others.get(name, name)
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


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
        if math.prod(sizes) > max(numbers.size, _MAX_REPEATED):
            raise NotRead(
                f"a state dict whose {name!r:.60} repeats a few numbers, as `expand` "
                f"does; make it contiguous and save it again"
            )
        arrays[name] = np.lib.stride_tricks.as_strided(
            numbers[offset:],
            sizes,
            [step * numbers.itemsize for step in steps],
            writeable=False,
        )
    return arrays
