"""Builders of one's own, by an import path."""

import contextlib
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from alexnet_jax.config import default_config
from alexnet_jax.data import create_data, prepare
from alexnet_jax.data.pictures import read_picture
from alexnet_jax.errors import InputError
from tests.tfds_copies import write_copy

MNIST = "tensorflow_datasets.image_classification.mnist"

BUILDER = """
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


class MyBuilder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.2.3")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({
                "image": tfds.features.Image(shape=SHAPE),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            }),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        examples = self._generate_examples
        return {"train": examples(12), "test": examples(6)}

    def _generate_examples(self, count):
        for index in range(count):
            image = np.full(SIDES, index, np.uint8)
            yield index, {"image": image, "label": index % 2}


def my_builder(data_dir):
    return MyBuilder(data_dir=data_dir)


def nothing():
    return None
"""


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Writes a module into the current folder, which is not on the path."""
    monkeypatch.setattr(sys, "path", [word for word in sys.path if word])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    names = []

    def write(text=BUILDER, shape=(6, 5, 1), sides=None, name=None):
        name = name or f"mod_{tmp_path.name}_{len(names)}"
        names.append(name)
        lines = f"SHAPE, SIDES = {shape}, {sides or shape}\n"
        Path(f"{name}.py").write_text(lines + textwrap.dedent(text))
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


def load(data_dir, name, **settings):
    data = default_config().data
    data.name, data.data_dir, data.stored_size = name, str(data_dir), 8
    data.update(settings)
    return create_data(data, batch_size=4, eval_batch_size=4, seed=0)


def test_by_the_command_from_nothing(write_module, tmp_path, capsys):
    module = write_module()
    for builder in ("MyBuilder", "my_builder"):
        folder = tmp_path / builder
        for _ in range(2):
            prepare.main([f"{module}:{builder}", f"--data-dir={folder}"])
            last = capsys.readouterr().out.splitlines()[-1]
            assert last.startswith("ready     my_builder 1.2.3, 12 train, 6 test")
        data = load(folder, f"{module}:{builder}")
        assert data.spec.name == "my_builder 1.2.3"
        assert data.spec.class_names == ("cat", "dog")
        assert data.train.image.shape == (12, 6, 5, 1)
        assert {*data.train.image[:, 0, 0, 0].tolist()} == {*range(12)}
        assert (data.train.image[:, 0, 0, 0] % 2 == data.train.label).all()


FUNCTIONS = """
def of_nothing():
    return MyBuilder(data_dir=HERE)

def of_a_keyword(*, data_dir):
    return MyBuilder(data_dir=data_dir)

def of_another_name(folder):
    return MyBuilder(data_dir=folder, file_format="array_record")

def of_all(data_dir, manual_dir=None, on_broken="skip", *, data, more=1, **others):
    assert data.manual_dir == manual_dir and on_broken == "fail"
    return MyBuilder(data_dir=str(data_dir))

def that_prepares(data_dir):
    builder = MyBuilder(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare()
    return builder

def of_a_class(data_dir):
    return MyBuilder

an_instance = MyBuilder(data_dir=HERE)
"""


@pytest.mark.parametrize(
    "name",
    [
        *("of_nothing", "of_a_keyword", "of_another_name", "of_all", "that_prepares"),
        *("of_a_class", "an_instance"),
    ],
)
def test_forms_of_a_builder(name, write_module, tmp_path):
    text = BUILDER + f"\nHERE = {str(tmp_path / 'data')!r}\n" + FUNCTIONS
    if name == "that_prepares":  # TFDS encodes an array with TensorFlow
        text = text.replace("np.full(SIDES, ", "Image.new('L', SIDES[1::-1], ")
        text = text.replace("index, np.uint8)", "index)")
    module = write_module(text)
    for _ in range(2):
        data = load(tmp_path / "data", f"{module}:{name}")
        assert data.folder == tmp_path / "data" / "my_builder" / "1.2.3"
        assert data.train.num_examples == 12
    (data.folder / "dataset_info.json").write_text("{")  # prepared anew
    assert load(tmp_path / "data", f"{module}:{name}").train.num_examples == 12


def test_the_loaders_of_the_package_are_such(data_dir):
    for name in ("load", "Digits"):
        data = load(data_dir, f"alexnet_jax.data.digits:{name}")
        assert data.train.num_examples == 1500


def test_images_of_any_size_are_streamed(write_module, tmp_path):
    module = write_module(shape=(None, None, 3), sides=(6, 5, 3))
    data = load(tmp_path / "data", f"{module}:my_builder")
    assert data.train.batch(0)["image"].shape == (4, 8, 8, 3)
    data.close()


PICTURES = """
import io
from pathlib import Path

def of(color, mode, shape=(6, 6)):
    pixels = np.full((*shape, *np.shape(color)), color, "uint16" if mode else "uint8")
    return Image.fromarray(pixels)

def turned(kind, **options):
    pixels = np.zeros((6, 6, 3), np.uint8)
    pixels[:3] = 250
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6
    return picture, dict(exif=exif, **options)

def pictures():
    yield "wide.png", of(20000, "I;16"), {}
    yield "clear.png", of((100, 100, 100, 0), ""), {}
    yield "half.png", of((0, 100, 200, 128), ""), {}
    yield "gray.png", of(77, ""), {}
    yield "palette.png", of((200, 30, 30), "").quantize(4), {}
    yield "key.png", of((200, 30, 30), "").quantize(4), {"transparency": 0}
    yield "cmyk.jpg", of((20, 30, 40), "").convert("CMYK"), {"quality": 95}
    yield "float.tiff", Image.fromarray(np.full((6, 6), 0.5, np.float32)), {}
    yield "turned.jpg", *turned("jpg", quality=95)
    yield "turned.png", *turned("png")

def _examples(self, count):
    for index, (name, picture, options) in enumerate(pictures()):
        picture.save(name, **options)
        image = name
        if FORM == "bytes":
            image = io.BytesIO(Path(name).read_bytes())
        elif FORM == "image":
            image = Image.open(io.BytesIO(Path(name).read_bytes()))
        yield index, {"image": image, "label": index % 2}

MyBuilder._generate_examples = _examples
"""


@pytest.mark.parametrize("form", ["path", "bytes", "image"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_are_trained_on_as_they_are_predicted(
    form, channels, write_module, tmp_path
):
    text = f"{BUILDER}\nFORM = {form!r}\n{PICTURES}"
    module = write_module(text, shape=(6, 6, channels))
    data = load(tmp_path / "data", f"{module}:MyBuilder")
    assert data.spec.image_shape == (6, 6, 1 if channels == 1 else 3)
    trained = {image.tobytes() for image in data.train.image}
    names = [name for name, *_ in vars(sys.modules[module])["pictures"]()]
    assert len(names) == len(data.train.image) == 10
    for name in names:
        assert read_picture(Path(name), data.spec).image.tobytes() in trained, name


def test_transparent_arrays_are_laid_on_white(write_module, tmp_path):
    text = BUILDER.replace("np.full(SIDES, index", "np.full(SIDES, (9, 9, 9, index)")
    data = load(tmp_path / "data", f"{write_module(text, (6, 5, 4))}:MyBuilder")
    assert {*data.train.image.reshape(-1).tolist()} == {*range(244, 256)}


@pytest.mark.parametrize("form", ["path", "bytes", "image"])
def test_the_size_is_that_of_the_upright_picture(form, write_module, tmp_path):
    text = f"{BUILDER}\nFORM = {form!r}\n{PICTURES}"
    text = text.replace("np.zeros((6, 6, 3)", "np.zeros((6, 4, 3)")
    text = text.replace(
        "def pictures():\n",
        """def pictures():
    yield "turned.jpg", *turned("jpg")
    yield "turned.tiff", *turned("tiff")
    return
""",
    )
    data = load(tmp_path / "a", f"{write_module(text, (4, 6, 3))}:MyBuilder")
    assert data.train.image.shape == (2, 4, 6, 3)
    with pytest.raises(InputError, match="height 4 and width 6, where the features"):
        load(tmp_path / "b", f"{write_module(text, (6, 4, 3))}:MyBuilder")


def test_a_broken_picture_is_named_before_it_is_stored(write_module, tmp_path):
    text = BUILDER.replace(
        "image = np.full(SIDES, index, np.uint8)",
        """image = "x.png"
            Image.effect_noise((5, 6), 99).save(image)
            import os
            os.truncate(image, 60)""",
    )
    with pytest.raises(InputError, match=r"cannot be encoded \(.*truncated"):
        load(tmp_path / "data", f"{write_module(text)}:MyBuilder")


def test_a_validation_part_is_drawn(write_module, tmp_path):
    text = BUILDER.replace(', "test": examples(6)', "")
    module = write_module(text)
    with pytest.raises(InputError, match="^data.val_share: .* set data.val_share=0.2"):
        load(tmp_path / "data", f"{module}:MyBuilder")
    data = load(tmp_path / "data", f"{module}:MyBuilder", val_share=0.5)
    assert np.bincount(data.test.label).tolist() == [3, 3]
    pixels = [*data.train.image[:, 0, 0, 0], *data.test.image[:, 0, 0, 0]]
    assert sorted(pixels) == [*range(12)]


def bad(old, new):
    assert old in BUILDER
    return BUILDER.replace(old, new)


GENERATE = "            image = np.full(SIDES, index, np.uint8)\n"
FAULTS = {
    "syntax": ("def broken(:\n", "line 2: SyntaxError"),
    "import": ("import nosuchmodule\n", "line 2: ModuleNotFoundError: No module named"),
    "missing": (BUILDER, "has no 'Builder'; it has MyBuilder"),
    "none": (BUILDER, "gives NoneType; it must be a class"),
    "value": (BUILDER, "gives tuple; it must be a class"),
    "raises": (
        bad(GENERATE, GENERATE + "            raise KeyError('a\\nb')\n"),
        "line 28: KeyError: ",
    ),
    "file": (
        bad(GENERATE, GENERATE + "            open('/no/such')\n"),
        "line 28: FileNotFoundError: ",
    ),
    "info": (bad("builder=self", "bilder=self"), "line 12: TypeError: "),
    "downloads": (
        bad("dl_manager):\n", "dl_manager):\n        1 / 0\n"),
        "line 22: ZeroDivisionError: ",
    ),
    "dtype": (bad("index, np.uint8", "index, np.float32"), "dtype float32; an array "),
    "size": (bad("np.full(SIDES", "np.full((9, 9, 1)"), "height 9 and width 9, where"),
    "label": (bad('"label": index % 2', '"label": "cow"'), "no class 'cow'; the 2 cla"),
    "number": (
        bad('"label": index % 2', '"label": 2'),
        "no class '2'; the 2 classes are",
    ),
    "no label": (
        bad(', "label": index % 2', ""),
        "an example has no feature 'label'; ",
    ),
    "more": (bad("index % 2}", 'index % 2, "x": 1}'), "has 'x', which is none; the fe"),
    "no dict": (
        bad("yield index, {", "yield {"),
        "train yields dict; examples must be",
    ),
    "key": (bad("yield index,", "yield index // 2,"), "of train share the key 0"),
    "text key": (bad("yield index,", "yield 'a',"), "of train share the key 'a'"),
    "nothing": (bad('"train": examples(12)', '"train": None'), "of train are None"),
    "features": (bad('"label": tfds', '"kind": tfds.features.Text(), "lab": tfds'), ""),
    "no train": (
        bad('"train": exam', '"all_of_it": exam'),
        "has no training images; its s",
    ),
    "arguments": (
        bad("def my_builder(data_dir)", "def my_builder(data_dir, size)"),
        "must take no arguments but data_dir, manual_dir, on_broken, data; it takes ",
    ),
}
NAMES = {"missing": "Builder", "none": "nothing", "value": "SHAPE"}
NAMES |= {"arguments": "my_builder"}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_line(fault, write_module, tmp_path, error_line):
    text, reason = FAULTS[fault]
    name = f"{write_module(text)}:{NAMES.get(fault, 'MyBuilder')}"
    line = error_line(prepare.main, name, f"--data-dir={tmp_path / 'data'}")
    assert line.startswith("error: data.name: ") and reason in line, line
    left = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert fault == "no train" or not left, left


def test_no_such_module(tmp_path, error_line):
    for name in ("nosuchmodule:B", "nosuch.module:B", "alexnet_jax.nosuch:B"):
        line = error_line(prepare.main, name, f"--data-dir={tmp_path}")
        assert f"there is no module {name[:-2]!r} for {name!r}" in line


def test_the_name_of_a_file(write_module, tmp_path):
    name = write_module("1 / 0")
    with pytest.raises(InputError, match=f"did you mean {name}:MyBuilder"):
        load(tmp_path, f"{name}.py:MyBuilder")


def test_other_features_than_the_prepared_ones(write_module, tmp_path):
    load(tmp_path / "data", f"{write_module()}:MyBuilder")
    changed = write_module(shape=(7, 5, 1))
    with pytest.raises(InputError, match="other features .* give it another VERSION"):
        load(tmp_path / "data", f"{changed}:MyBuilder")


def test_names_with_spaces(write_module, tmp_path):
    text = BUILDER.replace('["cat", "dog"]', '[" cat", "wild dog "]')
    name = f"{write_module(text)}:MyBuilder"
    for _ in range(2):
        assert load(tmp_path, name).train.num_examples == 12


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ('["cat", ""]', "name '' is empty"),
        ('["cat", " "]', "name ' ' is empty"),
        (r'["cat", "two\nlines"]', r"name 'two\nlines' has several lines"),
        (r'["cat", "dog\r"]', r"name 'dog\r' has several lines"),
        ('["cat", "cat "]', "name 'cat ' is 'cat' but for spaces"),
    ],
)
@pytest.mark.parametrize("builder", ["MyBuilder", "my_builder"])
def test_class_names_that_cannot_be_stored(
    names, fault, builder, write_module, tmp_path
):
    module = write_module(BUILDER.replace('["cat", "dog"]', names))
    with pytest.raises(InputError) as error:
        load(tmp_path / "data", f"{module}:{builder}")
    line = str(error.value)
    assert f"the class {fault}, and cannot be stored; rename" in line, line
    assert not [*(tmp_path / "data").rglob("dataset_info.json")]


def test_other_class_names_than_the_prepared_ones(write_module, tmp_path):
    name = write_module()
    load(tmp_path / "data", f"{name}:MyBuilder")
    for names in ('["dog", "cat"]', '["cat", "cow"]'):
        del sys.modules[name]
        write_module(BUILDER.replace('["cat", "dog"]', names), name=name)
        for builder in ("MyBuilder", "my_builder"):
            with pytest.raises(InputError, match="other features .* another VERSION"):
                load(tmp_path / "data", f"{name}:{builder}")


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("damage", ["", "record", "shard", "info", "features"])
@pytest.mark.parametrize("builder", ["Mnist", "my_builder"])
def test_a_copy_of_another_builder_is_left(builder, damage, write_module, tmp_path):
    """Also one of the same features and classes."""
    folder = write_copy(tmp_path, "mnist", (6, 5, 1), classes=["cat", "dog"])
    if damage == "info":
        (folder / "dataset_info.json").write_text("{")
    elif damage == "features":
        (folder / "features.json").unlink()
    elif damage:
        (shard,) = folder.glob("mnist-train*")
        shard.write_bytes(shard.read_bytes()[:-100] if damage == "record" else b"")
    before = stamps(tmp_path / "mnist")
    text = BUILDER.replace("MyBuilder", "Mnist").replace("1.2.3", "1.0.0")
    with pytest.raises(
        InputError, match=r"prepared by another builder, .* VERSION or "
    ):
        load(tmp_path, f"{write_module(text)}:{builder}")
    assert stamps(tmp_path / "mnist") == before


def test_a_copy_that_tfds_prepared_of_the_same_class(write_module, tmp_path):
    text = BUILDER.replace("np.full(SIDES, ", "Image.new('L', SIDES[1::-1], ")
    name = write_module(text.replace("index, np.uint8)", "index)"))
    load(tmp_path / "other", f"{name}:my_builder")
    cls = sys.modules[name].MyBuilder
    cls(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    before = stamps(tmp_path / "my_builder")
    assert load(tmp_path, f"{name}:MyBuilder").train.num_examples == 12
    assert {*before} < {*stamps(tmp_path / "my_builder")}  # a decoded copy


@pytest.mark.parametrize("damage", [False, True])
def test_a_builder_of_tfds_in_a_function(damage, write_module, tmp_path):
    folder = Path(write_copy(tmp_path, "mnist", (6, 5, 1)))
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("tests.tfds_copies", MNIST))
    if damage:
        (folder / "features.json").unlink()
    before = stamps(folder)
    text = f"""
    import tensorflow_datasets as tfds
    def mnist(data_dir):
        return tfds.builder_from_directory(r"{folder}")
    """
    name = f"{write_module(text)}:mnist"
    with pytest.raises(InputError) if damage else contextlib.nullcontext():
        assert load(tmp_path, name).train.num_examples == 40
    assert stamps(folder) == before


def test_a_name_that_tfds_has_too(write_module, tmp_path):
    module = write_module(BUILDER.replace("class MyBuilder", "class Mnist"))
    data = load(tmp_path / "data", f"{module}:Mnist")
    assert data.spec.name == "mnist 1.2.3"
