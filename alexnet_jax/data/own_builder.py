"""A data set of one's own, `my_module:MyBuilder`: prepared on first use."""

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from alexnet_jax.atomic import read_regular
from alexnet_jax.data.own_examples import named_examples
from alexnet_jax.data.preparation.builder import (
    keep_other_format,
    prepare,
    stored_format,
)
from alexnet_jax.data.preparation.damage import INFO_FILE
from alexnet_jax.data.preparation.keys import find_keys
from alexnet_jax.data.preparation.prepared import Access, accessed, open_prepared
from alexnet_jax.data.preparation.tfds_internals import skip_registration
from alexnet_jax.data.tfds_sets import is_of_tfds, list_names, not_replaced
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.paths import expand
from alexnet_jax.terminal.user_code import named_errors

FORM = "MODULE:BUILDER"
_NOWHERE = Path("/nowhere")
_NAME = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


def is_name(name: str) -> bool:
    """Whether a name is of the form `MODULE:BUILDER`."""
    return _NAME.fullmatch(name) is not None


def load(data_dir: Path, name: str, data: ConfigDict) -> tfds.core.DatasetBuilder:
    """Returns a user's builder, prepared; prepares it once.

    Its code is run: the user has typed its name.

    Args:
      data_dir: Folder of prepared data sets.
      name: `MODULE:BUILDER`. The module is importable, or lies in the current folder;
        the builder is a class of TFDS's, or a function that returns one's instance and
        takes any of `data_dir`, `manual_dir`, `on_broken` and `data`.
      data: `config.data`.

    Raises:
      InputError: There is no such builder, its code raises, or it can be neither read
        nor prepared.
    """
    module, target = _import(name)
    create = _creator(target, name, module, data)
    if isinstance(target, type):
        made = create(_NOWHERE)
        place = Path(made.data_path).relative_to(_NOWHERE)
        data_dir = keep_other_format(data_dir, place)
        folder = data_dir / place
    else:
        folder, made = _call_once(create, data_dir)
        if os.path.lexists(folder) and stored_format(folder) != "array_record":
            raise InputError(
                f"data.name: {folder}, of {name}, holds {stored_format(folder)} files, "
                "which need TensorFlow; choose another data.data_dir"
            )
    _check_maker(folder, made, name)

    def write(builder: Any) -> None:
        find_keys(builder.info)  # before anything is prepared
        builder.info.set_file_format("array_record", override=True)
        files = expand(data.manual_dir, "data.manual_dir") if data.manual_dir else None
        with named_examples(builder, _file(builder, module)):
            prepare(builder, files, check_downloads=False)

    with contextlib.ExitStack() as stack:
        if is_of_tfds(made) and folder.exists():  # a copy that is not ours to replace
            stack.enter_context(not_replaced())
            stack.enter_context(accessed(Access(may_write=False)))
        builder = open_prepared(folder, lambda: create(data_dir), write, has_test=False)
    stored = tfds.builder_from_directory(builder.data_path)
    if _described(stored) != _described(builder):
        raise InputError(
            f"data.name: {builder.data_path} was prepared with other features than "
            f"{name} has now; give it another VERSION, or delete that folder"
        )
    return builder


def _described(builder: tfds.core.DatasetBuilder) -> tuple[str, dict[str, list[str]]]:
    """Returns the features of a builder, and the names of classes, which they hide."""
    features = builder.info.features
    names = {
        key: [name.strip() for name in one.names]  # as TFDS stores them
        for key, one in features.items()
        if isinstance(one, tfds.features.ClassLabel)
    }
    return str(features), names


def _check_maker(folder: Path, made: Any, name: str) -> None:
    """Checks that a prepared copy, if there is one, is of this builder.

    Raises:
      InputError: Another builder of the same name and version has prepared it.
    """
    if not os.path.lexists(folder):
        return
    maker = None
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # damaged
        maker = json.loads(read_regular(folder / INFO_FILE))["moduleName"]
    if maker == made.__module__ or (maker is None and made.name not in list_names()):
        return
    whose = f"of {maker}" if maker else "maybe of TFDS"
    raise InputError(
        f"data.name: {folder} was prepared by another builder, {whose}, maybe with "
        f"other features than {name} has; give it another VERSION or another name, or "
        "choose another data.data_dir"
    )


def _import(name: str) -> tuple[ModuleType, Any]:
    """Imports a module, also one in the current folder, and finds the builder in it."""
    path, _, attribute = name.partition(":")
    for wrong, right in (
        (path == "tfds", f"tfds/{attribute}"),
        (path.endswith(".py"), f"{path[:-3]}:{attribute}"),
    ):
        if wrong:
            raise InputError(
                f"data.name: there is no module {path!r}; did you mean {right}?"
            )
    if os.getcwd() not in sys.path and "" not in sys.path:  # as `python -m` has it
        sys.path.append(os.getcwd())
    try:
        importlib.invalidate_caches()
        with named_errors(path.partition(".")[0], "data.name"):
            spec = importlib.util.find_spec(path)
    except InputError as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        spec = None
    if spec is None:
        raise InputError(
            f"data.name: there is no module {path!r} for {name!r}, neither installed "
            f"nor in the current folder, {os.getcwd()}"
        )
    # A name that TFDS has, too, is no fault.
    with named_errors(spec.origin or path, "data.name"), skip_registration():
        module = importlib.import_module(path)
    found = getattr(module, attribute, None)
    if found is None:
        names = [name for name, one in vars(module).items() if _is_builder(one)]
        near = difflib.get_close_matches(attribute, [*vars(module)], 3)
        hint = ", ".join(names or near)
        raise InputError(
            f"data.name: {spec.origin or path} has no {attribute!r}"
            + (f"; it has {hint}" if hint else "")
        )
    if not callable(found) and not isinstance(found, tfds.core.DatasetBuilder):
        raise _no_builder(name, found)
    return module, found


def _is_builder(one: Any) -> bool:
    return (
        isinstance(one, type)
        and issubclass(one, tfds.core.DatasetBuilder)
        and not one.__module__.startswith("tensorflow_datasets.")
    )


def _no_builder(name: str, found: Any) -> InputError:
    kind = getattr(found, "__name__", type(found).__name__)
    return InputError(
        f"data.name: {name} gives {kind}; it must be a class that is derived from "
        "tfds.core.GeneratorBasedBuilder, or a function that returns such a builder"
    )


def _creator(
    target: Any, name: str, module: ModuleType, data: ConfigDict
) -> Callable[[Path], Any]:
    """Returns a function of the folder of prepared data sets to a builder."""

    def create(data_dir: Path) -> Any:
        if isinstance(target, tfds.core.DatasetBuilder):
            return target
        if isinstance(target, type):
            if not issubclass(target, tfds.core.DatasetBuilder):
                raise _no_builder(name, target)
            with named_errors(_file(target, module), "data.name"):
                return target(data_dir=data_dir, file_format="array_record")
        found = _call(target, name, data_dir, data)
        if isinstance(found, type) and issubclass(found, tfds.core.DatasetBuilder):
            with named_errors(_file(found, module), "data.name"):
                found = found(data_dir=data_dir, file_format="array_record")
        if not isinstance(found, tfds.core.DatasetBuilder):
            raise _no_builder(name, found)
        return found

    return create


def _call(target: Any, name: str, data_dir: Path, data: ConfigDict) -> Any:
    """Calls a user's function with those arguments that it takes."""
    known = {
        "data_dir": data_dir,
        "manual_dir": data.manual_dir,
        "on_broken": data.on_broken,
        "data": data,
    }
    try:
        parameters = inspect.signature(target).parameters
    except ValueError as error:  # of a function in C
        raise _no_builder(name, target) from error
    given = {key: value for key, value in known.items() if key in parameters}
    # The first may have any name: it is the folder.
    first = [] if given else [data_dir] * min(1, len(parameters))
    needed = [
        key
        for key, one in [*parameters.items()][len(first) :]
        if key not in known
        and one.default is one.empty
        and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if needed:
        raise InputError(
            f"data.name: {name} must take no arguments but {', '.join(known)}; it "
            f"takes {', '.join(needed)}"
        )
    code = getattr(inspect.unwrap(target), "__code__", None)
    with named_errors(code.co_filename if code else name, "data.name"):
        return target(*first, **given)


def _call_once(create: Callable[[Path], Any], data_dir: Path) -> tuple[Path, Any]:
    """Returns where the builder of a function keeps its data set, and the builder.

    The function is called once: it may prepare the data set, too.
    """
    try:
        made = create(data_dir)
        return Path(made.data_path), made
    except InputError as error:
        cause = error.__cause__
        # A builder cannot be made of a damaged copy: it is found where it failed.
        for frame, _ in traceback.walk_tb(cause.__traceback__ if cause else None):
            one = frame.f_locals.get("self")
            if isinstance(one, tfds.core.DatasetBuilder):
                folder = Path(getattr(one, "_data_dir", ""))
                if (folder / INFO_FILE).exists():
                    return folder, one
        raise


def _file(builder: Any, module: ModuleType) -> str:
    """Returns the file of the code of a builder or its class."""
    name = builder.__module__  # of a class as of its instances
    return getattr(sys.modules.get(name, module), "__file__", None) or name
