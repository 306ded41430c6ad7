"""Tables of image files and their classes: CSV and Parquet."""

import os

import pyarrow
import pytest
from pyarrow import parquet

from alexnet_jax.config import default_config
from alexnet_jax.data import create_data, image_folder, prepare
from alexnet_jax.data.table import read_table
from alexnet_jax.errors import InputError
from tests.pictures import picture


@pytest.fixture
def folder(tmp_path):
    """A folder of twelve images, not yet in any table."""
    (tmp_path / "images").mkdir()
    for index in range(12):
        (tmp_path / "images" / f"{index}.jpg").write_bytes(picture(index))
    return tmp_path


def rows(label="{}".format, split=None, prefix="images/"):
    lines = [(f"{prefix}{index}.jpg", label(index % 3)) for index in range(12)]
    if split:
        lines = [(*line, split(index)) for index, line in enumerate(lines)]
    return lines


def write(folder, lines, header="path,label", end="\n", encoding="utf-8"):
    delimiter = next((one for one in ";\t|" if one in header), ",")
    text = end.join([header, *(delimiter.join(line) for line in lines), ""])
    (folder / "labels.csv").write_bytes(text.encode(encoding))
    return folder / "labels.csv"


def load(path, **settings):
    data = default_config().data
    data.name, data.manual_dir = "image_folder", str(path)
    data.data_dir, data.stored_size = str(path.parent / "data"), 16
    data.update(settings)
    return create_data(data, batch_size=4, eval_batch_size=4, seed=0)


def last_third(index):
    return "train" if index < 9 else "val"


def test_a_table_without_parts(folder):
    data = load(write(folder, rows()), val_share=0.25)
    assert (data.train.num_examples, data.test.num_examples) == (9, 3)
    assert data.spec.class_names == ("0", "1", "2")
    assert {*data.division.names} == {f"images/{index}.jpg" for index in range(12)}
    for name, label in zip(data.division.names, data.division.labels, strict=True):
        assert int(name[7:-4]) % 3 == label
    assert data.folder.parts[-2].startswith("labels-")
    data.close()
    with pytest.raises(InputError, match=r"^data.val_share: .*labels.csv has no"):
        load(write(folder, rows()))


@pytest.mark.parametrize("name", ["val", "Valid", "VALIDATION", "dev", "test"])
def test_parts(name, folder):
    path = write(folder, rows(split=last_third), "path,label,split")
    path.write_text(path.read_text().replace(",val\n", f",{name}\n"))
    data = load(path)
    assert (data.train.num_examples, data.test.num_examples) == (9, 3)
    data.close()
    with pytest.raises(InputError, match="leave data.val_share out"):
        load(path, val_share=0.2)


def test_of_two_parts_the_one_to_validate_on(folder, capsys):
    def split(index):
        return ("train", "train", "val", "test")[index // 3]

    lines = [(*line[:2], "test") for line in rows(label=lambda index: "")[9:]]
    path = write(folder, [*rows(split=split)[:9], *lines], "path,label,split")
    data = load(path)
    assert (data.train.num_examples, data.test.num_examples) == (6, 3)
    line = "note      3 rows of the split test left out: the validation part is m"
    assert line in capsys.readouterr().err
    data.close()


FORMS = {
    "comma": {},
    "semicolon": {"header": "path;label"},
    "tab": {"header": "path\tlabel"},
    "bar": {"header": "path|label"},
    "case": {"header": " Path , LABEL"},
    "bom": {"encoding": "utf-8-sig"},
    "unicode": {"encoding": "utf-16"},
    "windows": {"end": "\r\n"},
    "mac": {"end": "\r"},
    "blank lines": {"end": "\n\n"},
    "quotes": {"header": '"path","label"'},
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_csv(form, folder):
    table = read_table(write(folder, rows(), **FORMS[form]))
    assert [(row.path, row.label) for row in table.rows] == rows()
    assert table.class_names == ("0", "1", "2")


def test_quotes_and_further_columns_in_any_order(folder):
    lines = ['1,"a, b","images/0.jpg"', '2,"c ""d""\ne",images/1.jpg']
    text = "\n".join(["id,label,path", *lines])
    (folder / "labels.csv").write_text(text)
    table = read_table(folder / "labels.csv")
    assert [row.label for row in table.rows] == ["a, b", 'c "d"\ne']
    assert [row.number for row in table.rows] == [2, 3]


def test_classes_are_in_the_order_of_numbers(folder):
    path = write(folder, rows(label=lambda index: str((2, 10, 1)[index])))
    assert read_table(path).class_names == ("1", "2", "10")
    path = write(folder, rows(label=lambda index: ("b", "10", "2")[index]))
    assert read_table(path).class_names == ("10", "2", "b")


def test_absolute_paths(folder):
    data = load(write(folder, rows(prefix=f"{folder}/images/")), val_share=0.25)
    assert data.train.num_examples == 9
    data.close()


@pytest.mark.parametrize("kind", [int, float, str, "dictionary"])
def test_parquet(kind, folder):
    labels = [index % 3 for index in range(12)]
    if kind == "dictionary":
        column = pyarrow.array([str(label) for label in labels]).dictionary_encode()
    else:
        column = pyarrow.array([kind(label) for label in labels])
    names = [name for name, _ in rows()]
    columns = {"more": names, "label": column, "Path": names}
    path = folder / "labels.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    table = read_table(path)
    expected = ("0.0", "1.0", "2.0") if kind == "never" else ("0", "1", "2")
    assert table.class_names == expected
    assert [(row.number, row.path) for row in table.rows] == [*enumerate(names, 2)]
    data = load(path, val_share=0.25)
    assert data.train.num_examples == 9
    data.close()


def test_labels_that_only_look_like_numbers(folder):
    """`float` reads them, and NaN has no place in an order."""
    lines = [(f"images/{index}.jpg", label) for index, label in enumerate(
        ["10", "1", "2", "nan", "3", "NaN", "4", "inf", "1_0", "5"])]  # fmt: skip
    table = read_table(write(folder, lines))
    assert table.class_names == tuple(sorted(label for _, label in lines))
    lines = [(path, label) for path, label in lines if label.isdigit()] + [
        ("images/10.jpg", "-1.5")
    ]
    names = ("-1.5", "1", "2", "3", "4", "5", "10")
    assert read_table(write(folder, lines)).class_names == names


def test_a_test_part_without_labels(folder, capsys):
    lines = rows(split=lambda index: "train" if index < 9 else "test")
    lines[9:] = [(path, "", split) for path, _, split in lines[9:]]
    data = load(write(folder, lines, "path,label,split"), val_share=0.25)
    assert data.train.num_examples + data.test.num_examples == 9
    data.close()
    line = "note      3 rows of the split test left out: they have no label"
    assert line in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    "header", ["sep=;\npath;label", "\n\npath;label", "sep=;\r\n\r\npath;label"]
)
def test_what_stands_before_the_header(header, folder):
    table = read_table(write(folder, rows(), header))
    first = table.rows[0]
    assert (first.number, first.path) == (header.count("\n") + 2, "images/0.jpg")


def test_a_space_before_a_quote(folder):
    lines = [(path, f' "{label}, cat"') for path, label in rows()]
    assert read_table(write(folder, lines)).class_names == (
        "0, cat",
        "1, cat",
        "2, cat",
    )


def change(number, path="images/3.jpg", label="0"):
    def lines():
        found = rows()
        found[number - 2] = (path, label)
        return found

    return lines


FAULTS = {
    "no such file": (change(5, "images/no.jpg"), "row 5: images/no.jpg (No such file"),
    "a folder": (change(5, "images.jpg"), "row 5: images.jpg (it is a folder"),
    "empty path": (change(5, ""), "row 5: path is empty; fill it in"),
    "empty label": (change(5, label=" "), "row 5: label is empty; fill it in"),
    "twice": (change(7, "images/../images/3.jpg"), "stands in row 5 already"),
    "suffix": (change(5, "images/3"), "row 5: path 'images/3' is of no image that can"),
    "more columns": (lambda: [*rows()[:3], ("a", "b", "c")], "row 5: it has 3 columns"),
    "fewer columns": (lambda: [*rows()[:3], ("a",)], "row 5: it has 1 columns, the"),
    "open quote": (lambda: [*rows()[:3], ('"a', "b")], "row 5: unexpected end of data"),
    "address": (change(5, "gs://b/1.jpg"), "row 5: 'gs://b/1.jpg' is an address; only"),
    "backslash": (
        change(5, "images\\3.jpg"),
        "has backslashes; write / between fol",
    ),
    "no rows": (list, "it has no row of the split train"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_have_the_rows_number(fault, folder, error_line):
    (folder / "images.jpg").mkdir()
    lines, reason = FAULTS[fault]
    path = write(folder, lines())
    words = f"--manual-dir={path}", f"--data-dir={folder / 'data'}", "--val-share=0.2"
    line = error_line(prepare.main, "image_folder", *words)
    assert line.startswith(f"error: data.manual_dir: {path}") and reason in line, line
    assert not (folder / "data").exists()


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (
            "id,breed",
            "it has no column path and no column label; its columns are",
        ),
        ("path,class", "it has no column label; its columns are path, class; rename"),
        ("label,image", "it has no column path; its columns are label, image; rename"),
        ("path,label,Path", "it has several columns path; keep one of them"),
        ("", "it has no column path and no column label; its columns are none"),
    ],
)
def test_columns(header, reason, folder):
    path = write(folder, [], header)
    with pytest.raises(InputError) as error:
        load(path, val_share=0.2)
    assert f"{path}: {reason}" in str(error.value)


def test_the_delimiter_is_the_one_that_makes_the_columns(folder):
    notes = "made by (web, press, own)|licence"
    lines = [(*row, "press, licensed") for row in rows()]
    path = write(folder, lines, f"path;label;{notes}")
    assert len(read_table(path).rows) == 12


def test_a_column_twice_in_parquet(folder):
    path = folder / "labels.parquet"
    one = pyarrow.array(["a.jpg", "b.jpg"])
    for names in (["path", "label", "path"], ["path", "Label", "label", "x", "x"]):
        table = pyarrow.Table.from_arrays([one] * len(names), names=names)
        parquet.write_table(table, path)
        with pytest.raises(InputError, match="it has several columns"):
            read_table(path)
    names = ["path", "label", "x", "x"]
    table = pyarrow.Table.from_arrays([one] * len(names), names=names)
    parquet.write_table(table, path)
    assert len(read_table(path).rows) == 2


def test_splits_that_are_none(folder):
    path = write(folder, rows(split=lambda index: "holdout"), "path,label,split")
    with pytest.raises(
        InputError, match="row 2: split is 'holdout'; it must be one of"
    ):
        load(path)
    path = write(folder, rows(split=lambda index: "val"), "path,label,split")
    with pytest.raises(InputError, match="no row of the split train"):
        load(path)
    lines = rows(split=last_third)
    lines[10] = ("images/10.jpg", "new", "val")
    path = write(folder, lines, "path,label,split")
    with pytest.raises(InputError, match="row 12: label 'new' is in validation but"):
        load(path)


def test_files_that_are_no_tables(folder):
    path = folder / "labels.csv"
    for content in (b"\xff\xfa\xfb" * 9, b"PAR1damaged", b"", b"\0" * 99):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"^data.manual_dir: .*labels.csv"
        ) as error:
            load(path, val_share=0.2)
        assert "\n" not in str(error.value)
    columns = {"path": [{"bytes": b"a"}], "label": [1]}
    parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(InputError, match="its column path holds lists; give one"):
        load(path, val_share=0.2)


def test_missing_files_are_skipped_if_asked(folder, capsys):
    os.remove(folder / "images" / "3.jpg")
    data = load(write(folder, rows()), val_share=0.25, on_broken="skip")
    assert data.train.num_examples + data.test.num_examples == 11
    told = capsys.readouterr().err
    assert "broken    images/3.jpg (row 5: No such file or directory): skipped" in told
    data.close()


def test_another_table_is_another_data_set(folder):
    path = write(folder, rows())
    load = image_folder.load
    first = load(folder / "data", str(path), "fail", 0.2).data_path
    assert load(folder / "data", str(path), "fail", 0.5).data_path == first
    write(folder, rows(label=lambda index: str(index // 2)))
    assert load(folder / "data", str(path), "fail", 0.2).data_path != first
