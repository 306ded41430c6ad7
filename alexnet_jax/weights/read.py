"""Opens a file of weights and tells from what it holds which reader it wants."""

import dataclasses
import mmap
from pathlib import Path
from typing import BinaryIO

from alexnet_jax.atomic import open_regular
from alexnet_jax.errors import InputError
from alexnet_jax.weights import caffe, npy, onnx_files, safetensors, torch_files
from alexnet_jax.weights.conventions import (
    CAFFE,
    TENSORFLOW,
    TORCHVISION,
    TWIN,
    Convention,
    of_state_dict,
)
from alexnet_jax.weights.source import HoldsCode, NotRead, Source
from alexnet_jax.weights.state_dicts import plain_names

_READ = (
    "PyTorch's .pth, .safetensors, .caffemodel, bvlc_alexnet.npy or .onnx of an AlexNet"
)
_KINDS = ("conv", "fc", "norm")
# What files begin with that are often found in place of weights.
_KNOWN = {
    b"\x89HDF": "HDF5, which is not read",
    b"<": "a page of HTML or XML, perhaps an error of the server it came from",
    b"version https://git-lfs": "a pointer of Git LFS, not the file it stands for",
    b"\x1f\x8b": "gzip; unpack it first",
    b"BZh": "bzip2; unpack it first",
    b"\x80": "a pickle of other than torch.save's; pickles are not run",
}


def read_source(path: Path) -> tuple[Source, Convention]:
    """Reads the weights in a file, whatever its name.

    Args:
      path: The file.

    Returns:
      What it holds, and how that is laid out.

    Raises:
      InputError: It is of no format that is read, damaged, or a pickle with code in it.
      OSError: It cannot be read.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, but no run's; give {_READ}")
    with open_regular(path) as file:
        head = file.read(64)
        file.seek(0)
        try:
            return _read(path, file, head)
        except HoldsCode as error:
            raise InputError(
                f"{path} is a pickle that asks for {str(error):.80}, which builds no "
                "array; nothing of it was run; choose a file of weights alone, as "
                "torch.save(model.state_dict(), FILE) writes it"
            ) from error
        except NotRead as error:
            raise InputError(f"{path} is {error}") from error
        except InputError:
            raise
        except Exception as error:  # on damaged bytes libraries raise any kind
            if isinstance(error, OSError) and error.filename is not None:
                raise  # of a file that another names
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise InputError(
                f"{path} is damaged or cut short ({reason}); download it again"
            ) from error


def _read(path: Path, file: BinaryIO, head: bytes) -> tuple[Source, Convention]:
    # Before the others, like whose files the length of its header can begin.
    if safetensors.looks_like(head):
        return _named(safetensors.read(path))
    if head.startswith(b"PK"):
        return _named(torch_files.read_zip(file))
    if head.startswith(torch_files.LEGACY_MAGIC):
        return _named(torch_files.read_legacy(file))
    if head.startswith(b"\x93NUMPY"):
        return npy.read(file), TENSORFLOW
    if not head:
        raise InputError(f"{path} is empty; give {_READ}")
    for begin, words in _KNOWN.items():
        if head.startswith(begin):
            raise InputError(f"{path} is {words}; give {_READ}")
    content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if onnx_files.looks_like(content):
        source = _with_plain_names(onnx_files.read(content, path))
        return source, _convention_of_graph(source)
    if caffe.looks_like(content):
        return caffe.read(content), CAFFE
    raise InputError(f"{path} is of no format that is read; give {_READ}")


def _named(source: Source) -> tuple[Source, Convention]:
    """Returns a state dict and its convention."""
    source = _with_plain_names(source)
    return source, of_state_dict(source.arrays)


def _with_plain_names(source: Source) -> Source:
    """Returns a source whose names are without those of wrappers."""
    names = plain_names(source.arrays)
    return dataclasses.replace(
        source,
        arrays={names[name]: array for name, array in source.arrays.items()},
        weighted=tuple(
            (kind, tuple(names.get(name, name) for name in arrays))
            for kind, arrays in source.weighted
        ),
    )


def _convention_of_graph(source: Source) -> Convention:
    """Returns the convention of an ONNX graph, from its metadata, names and layers."""
    counts = [sum(kind == one for kind, _ in source.weighted) for one in _KINDS]
    is_published = counts == [5, 3, 0]
    is_ours = source.metadata.get("network") in TWIN.networks
    if is_ours or not is_published or of_state_dict(source.arrays) is TWIN:
        return TWIN
    return CAFFE if "LRN" in source.operations else TORCHVISION
