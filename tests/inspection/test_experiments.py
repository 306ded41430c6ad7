"""The table of cuda-convnet's experiments, and how their layers learn."""

import json
from pathlib import Path

import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.inspection.experiments import cells, read_experiments, totals
from alexnet_jax.inspection.rates import layer_rates, rate_text, rates_table, stages
from alexnet_jax.inspection.tables import summarize
from alexnet_jax.models.cuda_convnet.notes import error_rates
from alexnet_jax.models.cuda_convnet.updates import Rate
from alexnet_jax.summary import main
from alexnet_jax.terminal.tables import print_table
from tests.experiment_files import CONV, RATES


@pytest.fixture
def folder(tmp_path):
    """Files in pairs, alone, and of what is not supported."""
    sub = tmp_path / "sub"
    sub.mkdir()
    files = {
        tmp_path / "layers-1.cfg": CONV,
        tmp_path / "layer-params-1.cfg": RATES,
        sub / "layers-2.cfg": CONV,  # without its constants
        tmp_path / "layer-params-3.cfg": RATES,  # without a network
        tmp_path / "layers-4.cfg": CONV.replace("type=fc", "type=treefc"),
        tmp_path / "layer-params-4.cfg": RATES,
        tmp_path / "layer-params-5.cfg": RATES.replace("0.8", "often"),
        tmp_path / "notes.txt": "none of them",
    }
    for file, text in files.items():
        file.write_text(text)
    return tmp_path


def test_a_row_for_each_file_that_stands_alone(folder):
    rows = {row.name: row for row in read_experiments(folder)}
    assert [*rows] == ["1", "3", "4", "5", "sub/2"]
    both, lone, params = rows["1"], rows["sub/2"], rows["3"]
    weights = 5 * 5 * 3 * 16 + 16 + 17 * 17 * 16 * 10 + 10
    assert both.params == lone.params == weights
    assert both.macs == lone.macs == 17 * 17 * 16 * 75 + 17 * 17 * 16 * 10
    assert cells(both)[3] == "40.66 / 18.21; 40.25 / 17.99"
    assert cells(lone)[3] == "-" and not lone.has_params
    name, *counts, errors, differs = cells(params)
    assert counts == ["-", "-"] and errors == cells(both)[3] and differs == "-"


def test_what_differs_from_145(folder):
    rows = {row.name: row for row in read_experiments(folder)}
    words = rows["1"].differences
    assert "conv1 5×5/2 pad 2 ceil 16 for 96" in words
    assert "norm1 elsewhere 5 maps α 0.001/5 k 2" in words
    assert "-conv2" in words and "fc8 10 for 1,000" in words
    # Without the file that has them, nothing is said of the constants.
    assert "norm1 elsewhere" in rows["sub/2"].differences


@pytest.mark.heavy
def test_what_is_not_supported_says_why_with_file_and_line(folder):
    rows = {row.name: row for row in read_experiments(folder)}
    assert rows["4"].refused.startswith("layers-4.cfg:25: [fc10] type treefc is not")
    assert cells(rows["4"])[1:3] == ("-", "-")
    assert rows["5"].params_refused.startswith(
        "layer-params-5.cfg:5: [conv1] momW must"
    )
    assert totals([*rows.values()]) == (
        "3 layer files: 2 read, 1 not supported; 4 layer-parameter files: 3 read, 1 "
        "not supported"
    )


def test_a_file_that_is_no_text_is_a_row_of_its_own(folder):
    for name in ("layers-6.cfg", "layer-params-1.cfg", "layer-params-7.cfg"):
        (folder / name).write_bytes(b"\xff\xfe\x00")
    rows = {row.name: row for row in read_experiments(folder)}
    assert "UTF-8" in rows["6"].refused and "UTF-8" in rows["7"].params_refused
    assert "UTF-8" in rows["1"].params_refused and rows["1"].params == 47_466


@pytest.mark.parametrize(
    ("name", "expected"),
    [("none", "must be a directory"), ("empty", "it has none"), ("f", "must be a dir")],
)
def test_a_directory_without_files(tmp_path, name, expected):
    (tmp_path / "empty").mkdir()
    (tmp_path / "f").write_text("")
    with pytest.raises(InputError, match=f"^--report: .*{expected}"):
        read_experiments(tmp_path / name)


def test_the_command_prints_the_report(folder, capsys):
    main([f"--report={folder}"])
    *lines, last, why = capsys.readouterr().out.splitlines()
    assert why.startswith("5: layer-params-5.cfg:5: [conv1] momW must be")
    assert any("[fc10]" in line for line in lines)
    assert lines[2].split()[:3] == ["1", "47,466", "393,040"]
    assert last.startswith("3 layer files: 2 read")
    main([f"--report={folder}", "--json"])
    first, *_ = json.loads(capsys.readouterr().out)
    assert first["name"] == "1" and first["params"] == 47_466
    assert first["errors"][0] == {"top1": 0.40664, "top5": 0.1821}


def test_results_of_the_examples():
    comments = ["26% error on CIFAR-10 in 80 seconds", "13% error on CIFAR-10"]
    assert error_rates([*comments, comments[0]]) == [(0.26, None), (0.13, None)]
    assert error_rates(["set epsw to 0.00001, 0.0001, 0.01", "12% more"]) == []


class TestRates:
    def test_of_a_file(self, folder):
        summary = summarize(f"cfg:{folder / 'layers-1.cfg'}")
        rates = layer_rates(summary)
        assert rates["conv1"] == ("1e-05", "0.002", "0.8, 0.9", "0.001")
        assert rates["fc8"] == ("0.01 → 4e-05 in 4 steps", "0.02", "0.9", "0")
        (line,) = stages([summary])
        assert line == (
            "layer-params-1.cfg: rates as the file was left; the latest of 1 notes of "
            "a change: 'epoch 3: set epsw to 0.00001 from 0.001 on conv1'"
        )

    @pytest.mark.heavy
    def test_of_the_networks_here(self):
        rates = layer_rates(summarize("alexnet_2012"))
        assert rates["conv1"] == ("0", "0", "0.9", "0.0005")
        assert rates["fc8"] == ("1e-05", "0.02", "0.9", "0.0005")
        rates = layer_rates(summarize("alexnet_one_weird_trick"))
        assert rates["conv3"][:2] == (
            "0.01 → 4e-05 in 4 steps",
            "0.02 → 0.002 in 2 steps",
        )
        assert layer_rates(summarize("lenet5")) == {}

    @pytest.mark.heavy
    @pytest.mark.parametrize("name", ["alexnet_2012_one_gpu", "alexnet_2012_conv6"])
    def test_of_networks_whose_rates_changed_at_other_epochs(self, name):
        summary = summarize(name)
        assert set(layer_rates(summary).values()) == {("-", "-", "0.9", "0.0005")}
        assert stages([summary]) == []

    @pytest.mark.parametrize(
        ("rate", "text"),
        [
            (Rate(0.01), "0.01"),
            (Rate(0.0, "exp", 10.0), "0"),
            (Rate(0.01, "linear", 1000.0), "0.01 → 1e-05"),
            (Rate(0.001, "linear", 1.0, noise=1.0), "0.001, noise 1"),
            (Rate(0.02, "exp", 10.0), "0.02 → 0.002, exponential"),
            (
                Rate(0.01, "jdexp", 250.0, 4),
                "0.01 → 4e-05 in 4 steps, half of each between two",
            ),
        ],
        ids=str,
    )
    def test_in_words(self, rate, text):
        assert rate_text(rate) == text

    def test_side_by_side_marks_what_does_not_depend_on_the_stage(self, folder, capsys):
        both = [summarize(f"cfg:{folder / 'layers-1.cfg'}"), summarize("alexnet_2012")]
        print_table(rates_table(both))
        rows = {
            line.replace("≠", " ").split()[0]: line
            for line in capsys.readouterr().out.splitlines()[2:]
        }
        assert rows["conv1"].startswith("≠") and rows["fc8"].startswith("≠")
        assert not rows["conv2"].startswith("≠")
        assert rates_table([summarize("alexnet_2012")]) is None

    def test_the_command_prints_them(self, folder, capsys):
        main([f"cfg:{folder / 'layers-1.cfg'}"])
        *_, last = capsys.readouterr().out.splitlines()
        assert last.startswith("layer-params-1.cfg: rates as the file was left")
        main(
            [
                f"cfg:{folder / 'sub/layers-2.cfg'}",
                f"--params={folder}/layer-params-3.cfg",
            ]
        )
        *_, last = capsys.readouterr().out.splitlines()
        assert last.startswith("layer-params-3.cfg: rates as")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--report=.", "lenet5"),
        ("--report=.", "--list"),
        ("--code", "alexnet_2012"),
        ("--code", "cfg:a.cfg", "cfg:b.cfg"),
        ("--params=a.cfg", "lenet5"),
        ("--list", "--code"),
    ],
)
def test_arguments_that_exclude_each_other(arguments, capsys):
    with pytest.raises(SystemExit, match="^1$"):
        main([*arguments])
    last = capsys.readouterr().err.splitlines()[-1]
    said = ("--report takes no", "take one NAME, cfg:FILE", "exclude each other; give")
    assert any(one in last for one in said)


def test_the_command_prints_the_class(folder, capsys):
    main([f"cfg:{folder / 'layers-1.cfg'}", "--code"])
    names: dict = {}
    exec(capsys.readouterr().out, names)
    ours = summarize(f"cfg:{folder / 'layers-1.cfg'}")
    model = names["Layers1"](num_classes=10)
    assert model.layer_shapes((1, 32, 32, 3)) == [
        (kind, shape)
        for kind, shape in ours.network(num_classes=10).layer_shapes((1, 32, 32, 3))
    ]


@pytest.mark.slow
def test_the_page_has_the_tables_of_the_released_files(released):
    from benchmarks.experiments_of_2012 import PAGE, tables_of

    page = Path(PAGE).read_text()
    for name, table in tables_of(released).items():
        assert f"<!-- {name} -->\n\n{table}\n\n<!-- end of {name} -->" in page, name


def test_tables_are_written_between_their_comments(tmp_path):
    from benchmarks.experiments_of_2012 import write_page

    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\nold\n<!-- end of x -->\nb\n")
    for _ in range(2):
        write_page({"x": "| new |"}, page)
        text = "a\n<!-- x -->\n\n| new |\n\n<!-- end of x -->\nb\n"
        assert page.read_text() == text
