"""Writes files of weights as other frameworks do, without them."""

import contextlib
import io
import json
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from unittest import mock

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
}


class Storage:
    """An array as PyTorch's pickles refer to it."""

    def __init__(self, array):
        self.array = array


class Tensor:
    """A tensor as PyTorch pickles it: its storage, and how it is cut from that."""

    def __init__(self, array, strides=None, offset=0, shape=None):
        self.storage = Storage(np.ascontiguousarray(array))
        whole = self.storage.array
        self.shape = array.shape if shape is None else shape
        steps = tuple(s // whole.itemsize for s in whole.strides)
        self.strides = strides or steps[: len(self.shape)]
        self.offset = offset

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        parts = (self.storage, self.offset, self.shape, self.strides)
        return rebuild, (*parts, False, OrderedDict())


@contextlib.contextmanager
def _torch_names():
    """Modules with the names that PyTorch's pickles hold."""
    torch, inner = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in _STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_):
        raise NotImplementedError

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    inner._rebuild_tensor_v2 = _rebuild_tensor_v2
    tensor = types.ModuleType("torch._tensor")
    torch._utils, torch._tensor = inner, tensor
    modules = {"torch": torch, "torch._utils": inner, "torch._tensor": tensor}
    with mock.patch.dict(sys.modules, modules):
        yield


def torch_function(name):
    """A function with a name of PyTorch's, which its pickles can call."""
    module, _, word = name.rpartition(".")

    def function(*_):
        raise NotImplementedError

    function.__module__, function.__qualname__ = module, word
    setattr(sys.modules[module], word, function)
    return function


def _pickled(value, storages, legacy):
    """Pickles a value; its storages are noted by key."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, one):
            if not isinstance(one, Storage):
                return None
            keys = [key for key, known in storages.items() if known is one]
            key = keys[0] if keys else str(len(storages))
            storages[key] = one
            kind = getattr(sys.modules["torch"], _STORAGES[one.array.dtype.name])
            identity = ("storage", kind, key, "cpu", one.array.size)
            return (*identity, None) if legacy else identity

    buffer = io.BytesIO()
    with _torch_names():
        Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def state_dict(arrays):
    """A state dict of arrays, with the versions of modules that PyTorch notes."""
    found = OrderedDict((name, Tensor(array)) for name, array in arrays.items())
    found._metadata = OrderedDict({"": {"version": 1}})
    return found


def save_torch(path, value):
    """Writes what `torch.save` does since PyTorch 1.6."""
    storages = {}
    content = _pickled(value, storages, legacy=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", "little")
        for key, storage in storages.items():
            archive.writestr(f"archive/data/{key}", storage.array.tobytes())
        archive.writestr("archive/version", "3\n")


def save_torch_legacy(path, value):
    """Writes what `torch.save` did before PyTorch 1.6."""
    storages = {}
    content = _pickled(value, storages, legacy=True)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    with path.open("wb") as file:
        for head in (0x1950A86A20F9469CFC6C, 1001, system):
            pickle.dump(head, file, protocol=2)
        file.write(content)
        pickle.dump([*storages], file, protocol=2)
        for storage in storages.values():
            file.write(struct.pack("<q", storage.array.size))
            file.write(storage.array.tobytes())


def save_safetensors(path, arrays):
    """Writes safetensors."""
    kinds = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}
    header, place = {"__metadata__": {"format": "pt"}}, 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": kinds.get(array.dtype.name, "I64"),
            "shape": array.shape,
            "data_offsets": [place, place + array.nbytes],
        }
        place += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(array.tobytes() for array in arrays.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def save_npy(path, layers, protocol=2):
    """Writes `bvlc_alexnet.npy`'s kind: a dict of layers, each a list of arrays."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        content, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    whole = np.empty((), object)
    whole[()] = layers
    path.write_bytes(content.getvalue() + pickle.dumps(whole, protocol))


_LABELS = {"optional": 1, "repeated": 3}
_TYPES = {"double": 1, "float": 2, "int64": 3, "int32": 5, "string": 9, "bytes": 12}


def _messages(package, **definitions):
    """Makes message classes of lines such as `repeated float data = 5 packed`."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto2"
    )
    for message, lines in definitions.items():
        made = file.message_type.add(name=message)
        for line in lines.split(";"):
            label, kind, name, _, number, *packed = line.split()
            field = made.field.add(name=name, number=int(number), label=_LABELS[label])
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type, field.type_name = 11, f".{package}.{kind}"
            if packed:
                field.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{package}.{name}")
        )
        for name in definitions
    }


def _caffe(package, packed):
    """Caffe's messages; of `caffe.proto`, what a model's file holds of weights."""
    return _messages(
        package,
        BlobShape="repeated int64 dim = 1 packed",
        BlobProto="optional int32 num = 1;optional int32 channels = 2;"
        "optional int32 height = 3;optional int32 width = 4;"
        f"repeated float data = 5 {packed};optional BlobShape shape = 7;"
        "repeated double double_data = 8 packed",
        V1LayerParameter="repeated string bottom = 2;repeated string top = 3;"
        "optional string name = 4;optional int32 type = 5;"
        "repeated BlobProto blobs = 6;repeated float blobs_lr = 7",
        LayerParameter="optional string name = 1;optional string type = 2;"
        "repeated string bottom = 3;repeated string top = 4;"
        "repeated BlobProto blobs = 7",
        NetParameter="optional string name = 1;repeated V1LayerParameter layers = 2;"
        "repeated LayerParameter layer = 100",
    )


_CAFFE = {True: _caffe("packed", "packed"), False: _caffe("unpacked", "")}
_V1 = {"Data": 5, "Convolution": 4, "InnerProduct": 14, "LRN": 15, "Pooling": 17}


def save_caffe(
    path, layers, *, is_v1=False, is_old=False, is_packed=True, is_double=False
):
    """Writes a `.caffemodel`.

    Args:
      path: Of the file.
      layers: Name, type, and blobs of each.
      is_v1: Whether layers are of the first definition.
      is_old: Whether shapes are num, channels, height and width.
      is_packed: Whether floats follow each other without a tag each.
      is_double: Whether numbers are doubles.
    """
    net = _CAFFE[is_packed]["NetParameter"](name="Net")
    for name, kind, blobs in layers:
        layer = (net.layers if is_v1 else net.layer).add(name=name, top=[name])
        layer.type = _V1[kind] if is_v1 else kind
        if is_v1:
            layer.blobs_lr.extend([1.0, 2.0])
        for blob in blobs:
            made = layer.blobs.add()
            if is_old:
                sides = (1,) * (4 - blob.ndim) + blob.shape
                made.num, made.channels, made.height, made.width = sides
            else:
                made.shape.dim.extend(blob.shape)
            (made.double_data if is_double else made.data).extend(blob.ravel().tolist())
    path.write_bytes(net.SerializeToString())


_ONNX = _messages(
    "onnx",
    Entry="optional string key = 1;optional string value = 2",
    TensorProto="repeated int64 dims = 1;optional int32 data_type = 2;"
    "repeated float float_data = 4 packed;optional string name = 8;"
    "optional bytes raw_data = 9;repeated Entry external_data = 13;"
    "optional int32 data_location = 14;repeated int32 int32_data = 5 packed",
    AttributeProto="optional string name = 1;optional float f = 2;"
    "optional int64 i = 3;optional TensorProto t = 5;repeated int64 ints = 8",
    NodeProto="repeated string input = 1;repeated string output = 2;"
    "optional string name = 3;optional string op_type = 4;"
    "repeated AttributeProto attribute = 5",
    GraphProto="repeated NodeProto node = 1;optional string name = 2;"
    "repeated TensorProto initializer = 5",
    ModelProto="optional int64 ir_version = 1;optional string producer_name = 2;"
    "optional GraphProto graph = 7",
)


def save_onnx(path, nodes, arrays, *, form="raw"):
    """Writes an ONNX graph.

    Args:
      path: Of the file.
      nodes: Kind, inputs, attributes (integers, floats or arrays), and outputs of each,
        if these are named.
      arrays: The initializers, by name.
      form: Where floats lie: "raw", "floats", "external", or "integers", for the bits
        of narrow ones.
    """
    model = _ONNX["ModelProto"](ir_version=8, producer_name="tests")
    kinds = {"float32": 1, "int64": 7, "float16": 10, "bfloat16": 16}
    for kind, inputs, attributes, *outputs in nodes:
        node = model.graph.node.add(op_type=kind, input=inputs)
        node.output.extend(outputs[0] if outputs else ())
        for name, value in attributes.items():
            if isinstance(value, np.ndarray):
                made = node.attribute.add(name=name).t
                made.dims.extend(value.shape)
                made.data_type = kinds[value.dtype.name]
                made.raw_data = value.tobytes()
            else:
                word = "f" if isinstance(value, float) else "i"
                node.attribute.add(name=name, **{word: value})
    outside = b""
    for name, array in arrays.items():
        tensor = model.graph.initializer.add(
            name=name, dims=array.shape, data_type=kinds[array.dtype.name]
        )
        if form == "floats" and array.dtype == np.float32:
            tensor.float_data.extend(array.ravel().tolist())
        elif form == "integers" and array.itemsize == 2:
            tensor.int32_data.extend(array.ravel().view(np.uint16).tolist())
        elif form == "external":
            where = {"location": "w.data", "offset": len(outside)}
            where["length"] = array.nbytes
            for key, value in where.items():
                tensor.external_data.add(key=key, value=str(value))
            tensor.data_location = 1
            outside += array.tobytes()
        else:
            tensor.raw_data = array.tobytes()
    path.write_bytes(model.SerializeToString())
    if outside:
        (path.parent / "w.data").write_bytes(outside)


def save_mean(path, mean):
    """Writes Caffe's `imagenet_mean.binaryproto`: a blob `(1, 3, h, w)`, BGR."""
    blob = _CAFFE[True]["BlobProto"](num=1)
    blob.channels, blob.height, blob.width = mean.shape
    blob.data.extend(mean.ravel().tolist())
    path.write_bytes(blob.SerializeToString())
