"""A model card that the hub's own reader takes; its numbers are the run's."""

import json
import re
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from alexnet_jax.export import main
from alexnet_jax.exporting.model_card import model_card
from alexnet_jax.exporting.preprocessing_file import write_preprocessing
from alexnet_jax.exporting.usage import notes_on_results, views_of
from alexnet_jax.preprocessing.pipeline import make_preprocessing
from alexnet_jax.run.imported import Imported
from alexnet_jax.run.rows import read_rows
from alexnet_jax.trained import TrainedModel
from tests.exporting.runs import make_run


def card_of(folder):
    text = (folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_a_runs_own_results(trained, tmp_path):
    main([str(trained), "--format=safetensors", f"--to={tmp_path / 'out'}"])
    front, body = card_of(tmp_path / "out")
    assert front["license"] == "unknown" and front["library_name"] == "alexnet_jax"
    assert front["metrics"] == ["accuracy"]
    assert {"lenet5", "image-classification"} <= {*front["tags"]}
    (model,) = front["model-index"]
    (result,) = model["results"]
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"] == {
        "type": "digits",
        "name": "digits 1.0.0",
        "split": "test",
    }
    rows = [row for row in read_rows(trained / "metrics.jsonl") if "test/top1" in row]
    last, best = (one["value"] for one in result["metrics"])
    assert last == pytest.approx(rows[-1]["test/top1"], abs=1e-6)
    assert best == pytest.approx(max(row["test/top1"] for row in rows), abs=1e-6)
    assert f"| {100 * last:.2f} |" in body
    assert "61,706 parameters" in body and "digits 1.0.0, 10 classes" in body
    assert "not known" in body and "Apache" not in body
    versions = json.loads((trained / "config.json").read_text())["versions"]
    assert f"flax {versions['flax']}" in body and "Trained: alexnet_jax" in body
    assert re.search(r'data\.scale +"standard"', body)
    assert "data_dir" not in body  # a folder of this machine


@pytest.mark.heavy
def test_no_rows_no_numbers(tmp_path):
    make_run(tmp_path / "run", "lenet5", **{"eval.views": 10, "augment.canvas": 32})
    Imported("a.pth", "PyTorch state dict", 9, "ab" * 32).save(tmp_path / "run")
    flags = ["--format=stablehlo", "--license=cc-by-4.0", f"--to={tmp_path / 'out'}"]
    main([str(tmp_path / "run"), *flags])
    front, body = card_of(tmp_path / "out")
    assert front["license"] == "cc-by-4.0" and "license: cc-by-4.0." in body
    assert not front.keys() & {"model-index", "metrics", "datasets"}
    assert "No test result was recorded" in body
    assert "averaged over 10 views" in body and "jax" in body
    assert "a.pth" in body and "ab" * 32 in body
    assert "Imported: alexnet_jax" in body and "Trained:" not in body


@pytest.mark.parametrize(
    ("scale", "are_used"),
    [("pixels", True), ("standard", True), ("author", False), ("torchvision", False)],
)
def test_statistics_are_named_where_they_are_used(scale, are_used, tmp_path):
    make_run(tmp_path / "run", "lenet5", **{"data.scale": scale})
    net = TrainedModel(tmp_path / "run")
    assert (net.spec.statistics.source in model_card(net, "onnx")) == are_used


def test_what_is_no_record_of_a_source_is_none(tmp_path):
    make_run(tmp_path / "run", "lenet5")
    net = TrainedModel(tmp_path / "run")
    (tmp_path / "run" / "imported.json").write_text('{"source": "a.pth", "form": []}')
    assert "a.pth" not in model_card(net, "onnx")
    Imported("a", "run of this project", None, None).save(tmp_path / "run")
    text = model_card(net, "torch")
    assert "file a, form run of this project." in text
    assert "logits = network(images)  # (N, 3, 28, 28) float32" in text


@pytest.mark.parametrize("has_rows", [True, False])
def test_the_hubs_own_reader(has_rows, trained, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    run = trained
    if not has_rows:
        run = tmp_path / "run"
        make_run(run, "lenet5", name="a: 'b' # \"ü\"")
    main([str(run), "--format=safetensors", f"--to={tmp_path / 'out'}"])
    card = hub.ModelCard.load(tmp_path / "out" / "README.md")
    data = card.data.to_dict()
    assert data["library_name"] == "alexnet_jax" and data["license"] == "unknown"
    results = card.data.eval_results or []
    assert len(results) == 2 * has_rows
    assert all(one.metric_type == "accuracy" for one in results)


@pytest.mark.slow
def test_what_is_done_to_an_image_can_be_done_elsewhere(tmp_path):
    """In NumPy, by `preprocessing.json` alone, where nothing is resized."""
    cases = [
        ("pixels", {"augment.canvas": (40, 44)}),
        ("caffe", {"augment.canvas": (40, 44)}),
        ("torchvision", {"augment.canvas": (40, 44)}),
        ("standard", {"data.image_size": (40, 44)}),
        ("unit", {"augment.canvas": (40, 44)}),
    ]
    for scale, changes in cases:
        run, out = tmp_path / scale, tmp_path / scale / "export" / "safetensors"
        make_run(run, "lenet5", **{"data.scale": scale, **changes})
        main([str(run), "--format=safetensors"])
        about = json.loads((out / "preprocessing.json").read_text())
        mean = about["mean"]
        if mean == "mean_image.npy":
            mean = np.load(out / mean)
        assert (scale in ("pixels", "caffe")) == (out / "mean_image.npy").exists()
        image = np.random.default_rng(0).integers(0, 256, (2, 40, 44, 3), np.uint8)
        seen = image / np.float32(255) - np.float32(0 if mean is None else mean)
        sides = zip(about["canvas"], about["image_size"], strict=True)
        (top, height), (left, width) = [((a - b) // 2, b) for a, b in sides]
        seen = seen[:, top : top + height, left : left + width]
        seen = seen * np.float32(about["factor"])
        if about["channels"] == "BGR":
            seen = seen[..., ::-1]
        net = TrainedModel(run)
        np.testing.assert_allclose(net._preprocess(image), seen, rtol=0, atol=1e-4)
        assert about["class_names"] == list(net.spec.class_names)
        assert about["mode"] == "RGB" and about["stored_size"] == [40, 44]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("fashion_mnist 3.0.1", ["fashion_mnist"]),
        ("mnist 3.0.1", ["mnist"]),
        ("imagenet2012_256 1.0.0", ["imagenet-1k"]),
        ("image_folder 1.0.0", None),
        ("digits 1.0.0", None),
        ("emnist/letters 3.1.0", None),
    ],
)
def test_data_sets_by_the_hubs_names(name, wanted, tmp_path):
    make_run(tmp_path, "lenet5")
    data = json.loads((tmp_path / "data.json").read_text())
    (tmp_path / "data.json").write_text(json.dumps(data | {"data": name}))
    front = model_card(TrainedModel(tmp_path), "onnx").split("---\n")[1]
    assert yaml.safe_load(front).get("datasets") == wanted


@pytest.mark.parametrize("assumed", [True, False])
def test_data_that_are_assumed_are_not_stated(assumed, tmp_path):
    make_run(tmp_path, "lenet5")
    data = json.loads((tmp_path / "data.json").read_text())
    text = json.dumps(data | {"data": "imagenet2012_256 1.0.0"})
    (tmp_path / "data.json").write_text(text)
    made = Imported("a.pth", "PyTorch state dict", 9, "ab" * 32, assumed=assumed)
    made.save(tmp_path)
    net = TrainedModel(tmp_path)
    assert net.step == 0
    _, front, body = model_card(net, "onnx").split("---\n", 2)
    assert ("datasets" in yaml.safe_load(front)) is not assumed
    said = "Not known: the file that the weights come from does not say."
    assert (said in body) is assumed


@pytest.mark.parametrize("form", ["safetensors", "torch", "onnx", "stablehlo"])
def test_accuracies_that_are_not_the_files(form, trained, tmp_path):
    """Those of ten views in bfloat16, where the file takes one in float32."""
    changes = {"eval.views": 10, "augment.canvas": 32, "dtype": "bfloat16"}
    make_run(tmp_path, "lenet5", **changes)
    shutil.copy(trained / "metrics.jsonl", tmp_path)
    net = TrainedModel(tmp_path)
    notes = notes_on_results(net, form)
    card = model_card(net, form, notes=notes)
    is_other = form in ("torch", "onnx")
    assert ("They are the run's, not the file's" in card) == is_other
    assert "averaged over 10 views, in bfloat16" in card
    front = yaml.safe_load(card.split("---\n")[1])
    (metric,) = front["model-index"][0]["results"][0]["metrics"]
    assert metric["name"].endswith(", averaged over 10 views, in bfloat16")
    assert ("takes one view" in card and "in float32" in card) == is_other
    assert card.count("it computes in bfloat16") == (form == "stablehlo")
    pipeline = make_preprocessing(net.config, net.model, lambda: net.spec.statistics)
    write_preprocessing(tmp_path, net, pipeline, views=views_of(net, form))
    about = json.loads((tmp_path / "preprocessing.json").read_text())
    assert about["views"] == (1 if is_other else 10)
    assert any("10 views" in step for step in about["steps"]) != is_other


@pytest.mark.parametrize(("scale", "moves"), [("pixels", False), ("caffe", True)])
def test_the_mean_image_of_ten_views(scale, moves, tmp_path):
    """Redone as the steps say: in 2012 it stayed where it was, in Caffe it moves."""
    settings = {"data.scale": scale, "eval.views": 10, "augment.canvas": 32}
    make_run(tmp_path, "lenet5", (32, 32, 3), **settings)
    net = TrainedModel(tmp_path)
    pipeline = make_preprocessing(net.config, net.model, lambda: net.spec.statistics)
    write_preprocessing(tmp_path, net, pipeline)
    steps = json.loads((tmp_path / "preprocessing.json").read_text())["steps"]
    subtracted = [i for i, step in enumerate(steps) if "subtracted" in step]
    cropped = [i for i, step in enumerate(steps) if "cropped, each also" in step]
    assert len(subtracted) == len(cropped) == 1
    assert (subtracted < cropped) == moves
    mean = np.load(tmp_path / "mean_image.npy")
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    margin = 32 - pipeline.size[0]

    def redone(top, left, mirrored):
        rows, columns = (slice(one, one + pipeline.size[0]) for one in (top, left))
        center = slice(margin // 2, margin // 2 + pipeline.size[0])
        found = image[0, rows, columns] / 255 - (mean[rows, columns] * moves)
        found = found[:, ::-1] if mirrored else found
        found = found - mean[center, center] * (not moves)
        found = found * np.broadcast_to(pipeline.scale.factor.reshape(-1), 3)
        return found[..., ::-1] if pipeline.scale.reversed else found

    view = pipeline.views(jnp.asarray(image))
    wanted = [
        redone(top, left, mirrored)
        for mirrored in (False, True)
        for top in (0, margin)
        for left in (0, margin)
    ]
    found = [np.asarray(view(jnp.int32(index)))[0] for index in range(10)]
    for one in wanted:
        assert min(np.abs(one - other).max() for other in found) < 1e-4


def test_one_view_in_float32_needs_no_note(trained):
    net = TrainedModel(trained)
    for form in ("safetensors", "torch", "onnx", "stablehlo"):
        assert not notes_on_results(net, form)
        assert "not the file's" not in model_card(net, form)


@pytest.mark.heavy
def test_notes_on_results_are_printed(tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make_run(tmp_path, "lenet5", **{"eval.views": 10, "augment.canvas": 32})
    main([str(tmp_path), "--format=onnx"])
    assert "note      it takes one view of an image" in capsys.readouterr().out
    card = (tmp_path / "export" / "onnx" / "README.md").read_text()
    assert "- it takes one view of an image" in card
    about = json.loads((tmp_path / "export/onnx/preprocessing.json").read_text())
    assert about["views"] == 1
