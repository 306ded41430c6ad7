import copy
import json
import math

import pytest

from alexnet_jax.config import (
    SIZES,
    config_of,
    default_config,
    differences,
    flatten_config,
    in_one_form,
    learning_rate,
    shown_values,
    side_pair,
    size_text,
    stored_pair,
    unread,
    validate,
)
from alexnet_jax.errors import InputError

BAD = {
    "name": [" ", ".."],
    "seed": [-1, 2**32],
    "batch_size": [0, -8, 2**31],
    "num_epochs": [0, 10**400],
    "num_train_steps": [0],
    "steps_per_dispatch": [0, -1, 2**31],
    "dtype": ["float16"],
    "model.num_classes": [0],
    "model.dropout_rate": [-0.1, 1.0, math.nan],
    "model.width": [0.0, -1.0, 17.0, 1e300, math.inf, math.nan],
    "data.image_size": [0, 10**9, (), (96,), (96, 0), (96, 2**14 + 1), (9, 9, 9)],
    "data.stored_size": [0, 10**9, [96, True], (96, "128"), (96.0, 128), ((9, 9), 9)],
    "data.val_share": [0.0, 1.0, -0.2, 1.5, float("nan")],
    "data.fit": ["pad"],
    "data.resize": ["nearest", "torchvision"],
    "data.workers": [-1],
    "data.on_broken": ["replace"],
    "data.memory": ["gpu"],
    "augment.canvas": [0, 10**7, (0, 0), True],
    "augment.crop": ["centre"],
    "augment.color": [-0.1, 1.0, math.nan],
    "augment.color_epochs": [0],
    "augment.shared": [0],
    "optim.name": ["adam"],
    "optim.b1": [-0.1, 1.0, math.nan],
    "optim.b2": [-0.1, 1.0, math.nan],
    "optim.eps": [-1e-8, math.nan],
    "optim.params": ["", " "],
    "optim.learning_rate": [-0.1, math.nan, math.inf, 1e39],
    "optim.momentum": [-0.1, 1.0, math.nan],
    "optim.weight_decay": [-1e-4, math.nan],
    "optim.label_smoothing": [-0.1, 1.0, math.nan],
    "optim.clip_norm": [-1.0, math.nan],
    "optim.accumulate_steps": [0, 2**31],
    "optim.ema": [0.0, 1.0, -0.1, math.nan],
    "early_stop.patience": [0],
    "optim.schedule": ["cosin"],
    "optim.warmup_steps": [-1, 2**31],
    "optim.decay_epochs": [(0,), (True, 2), (6, 3), (3, 3), (1.5,), ("a",)],
    "optim.decay_steps": [(0,), (6, 3), (3, 3), (1.5,), ("a",)],
    "optim.patience": [0],
    "optim.min_delta": [-0.1, 1.0, math.nan],
    "optim.max_drops": [0],
    "optim.decay_rate": [0.0, 1.5, math.nan],
    "optim.freeze": ["", " ,", ("conv1", ""), ("conv1", 5)],
    "optim.rates": [
        ("fc8",),
        ("=1",),
        ("fc8=",),
        ("fc8=x",),
        ("fc8=-1",),
        ("fc8=nan",),
        ("fc8=inf",),
        ("fc8=1", "fc8=2"),
        (5,),
        (b"fc8=10",),
    ],
    "eval.batch_size": [0, 10**11],
    "eval.every_epochs": [0],
    "eval.metrics": [(), ("loss",), ("top1",), ("loss", "top1", "top1")],
    "eval.views": [0, 5, 11],
    "checkpoint.every_epochs": [0],
    "checkpoint.every_steps": [0],
    "checkpoint.every_seconds": [0.0, -1.0, math.nan, math.inf],
    "checkpoint.keep": [0],
    "data.data_dir": ["", " "],
    "data.manual_dir": ["", " "],
    "checkpoint.init_from": ["", " "],
    "checkpoint.init_layers": ["", ("conv1", "")],
    "parallel.data": [0, -2],
    "parallel.model": [0, -1],
    "parallel.coordinator": ["localhost", ":80", "a b:80"],
    "parallel.num_processes": [0],
    "parallel.process_id": [-1],
    "log.every_steps": [0],
}
# Checked where their values are registered, or any value will do.
ELSEWHERE = {
    "model.name",
    "model.init",
    "model.normalization",
    "model.pooling",
    "model.activation",
    "data.name",
    "data.scale",
}
ANY = {
    "model.cfg_layers",
    "model.cfg_params",
    "model.links",
    "augment.mirror",
    "log.tensorboard",
    "log.gradients",
    "debug.nans",
    "debug.deterministic",
    "parallel.distributed",
}


def test_every_key_has_its_bad_values():
    assert BAD.keys() | ELSEWHERE | ANY == set(flatten_config(default_config()))


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in BAD.items() for value in values]
)
def test_bad_values_are_named(key, value):
    config = default_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError) as error:
        validate(config)
    assert str(error.value).startswith(f"{key} must be ")
    shown = repr(value)
    end = shown if len(shown) < 200 else f"{shown[:200]}..."
    assert str(error.value).endswith(f"; got {end}")
    assert "\n" not in str(error.value)


def test_defaults_and_good_values_pass():
    config = default_config()
    validate(config)
    config.optim.schedule, config.optim.decay_epochs = "step", (3, 6)
    config.num_train_steps = config.checkpoint.every_steps = 5
    validate(config)


def test_keys_that_go_together():
    config = default_config()
    config.optim.schedule = "step"
    with pytest.raises(InputError, match="decay_epochs must name the epochs"):
        validate(config)
    config.optim.decay_epochs, config.optim.decay_steps = (3,), (100,)
    with pytest.raises(InputError, match=r"or optim.decay_steps .* got .3,. and"):
        validate(config)
    config.optim.schedule, config.optim.decay_epochs = "2012", ()
    with pytest.raises(InputError, match="decay_steps is read by .* got .* '2012'"):
        validate(config)
    config.optim.schedule, config.optim.decay_steps = "plateau", ()
    config.eval.every_epochs = 2
    with pytest.raises(InputError, match="every_epochs must be 1 with .* 'plateau'"):
        validate(config)
    config.debug.nans = config.parallel.distributed = True
    with pytest.raises(InputError, match="debug.nans works in one process only"):
        validate(config)
    config.debug.nans = False
    config.checkpoint.init_layers = "conv*"
    with pytest.raises(InputError, match="init_layers is read with .*init_from only"):
        validate(config)
    config.checkpoint.init_from = "runs/digits"
    config.optim.schedule, config.optim.decay_epochs = "cosine", (3,)
    with pytest.raises(InputError, match="decay_epochs is read by .* 'cosine'"):
        validate(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [("patience", 2), ("min_delta", 0.1), ("max_drops", 1), ("decay_rate", 0.5)],
)
def test_what_the_schedule_does_not_read(key, value):
    config = default_config()
    config.optim[key] = value
    validate(config)  # runs of earlier versions may have it
    (line,) = unread(config)
    assert line.startswith(f"optim.{key} is not read: it is of optim.schedule '")
    config.optim.schedule = "plateau"
    assert not [*unread(config)]


def test_crops_want_something_to_be_cut_from():
    config = default_config()
    config.augment.canvas = 200
    with pytest.raises(InputError, match="canvas must be at least .* 224; got 200"):
        validate(config)
    expected = "canvas must be more than .*, 224, with {}, such as 256; got "
    config.augment.canvas, config.augment.crop = 224, "random"
    with pytest.raises(InputError, match=expected.format("augment.crop 'random'")):
        validate(config)
    config.augment.canvas, config.augment.crop = None, "random_resized"
    validate(config)
    config.eval.views = 10
    with pytest.raises(InputError, match=expected.format("eval.views 10")):
        validate(config)
    config.augment.canvas = 256
    validate(config)
    config.data.image_size, config.augment.canvas = 6, None
    with pytest.raises(InputError, match="more than .*, 6, with .*, such as 7; got"):
        validate(config)


def test_a_canvas_is_larger_in_one_direction_at_least():
    config = default_config()
    config.data.image_size, config.augment.crop = (96, 128), "random"
    for canvas, expected in {
        (96, 128): r"more than data.image_size, \(96, 128\), .* as \(109, 146\); got",
        (95, 200): r"at least data.image_size, \(96, 128\); got \(95, 200\)",
        127: r"at least data.image_size, \(96, 128\); got 127",
        None: "more than data.image_size, .* such as .*; got None",
        (96, 129): None,
        (97, 128): None,
        128: None,
    }.items():
        config.augment.canvas = canvas
        if expected is None:
            validate(config)
            continue
        with pytest.raises(InputError, match=f"^augment.canvas must be {expected}"):
            validate(config)


def test_sizes_are_sides_or_pairs():
    for value in (96, (96, 96), [96, 96]):
        assert side_pair(value) == (96, 96) and size_text(value) == "96×96"
    assert side_pair([96, 128]) == (96, 128) and size_text((96, 128)) == "96×128"
    config = default_config()
    config.augment.canvas = config.data.get_ref("stored_size")
    config.data.stored_size = [240, 256]
    validate(config)
    assert config.augment.canvas == [240, 256]
    for value in ("96", 96.0, {}):
        with pytest.raises(TypeError):
            config.data.image_size = value


def test_a_square_is_the_same_run_in_both_forms():
    one, other = default_config(), default_config()
    for key in SIZES:
        one.update_from_flattened_dict({key: 256})
        other.update_from_flattened_dict({key: (256, 256)})
    assert not list(differences(one, other)) and not list(differences(other, one))
    other.data.image_size = (256, 255)
    assert list(differences(one, other)) == [("data.image_size", 256, [256, 255])]


def test_unknown_keys_and_types_are_refused():
    config = default_config()
    with pytest.raises(AttributeError, match="batchsize"):
        config.batchsize = 3
    with pytest.raises(TypeError):
        config.batch_size = "many"


def test_differences():
    old, new = default_config(), default_config()
    new.optim.momentum, new.num_epochs, new.log.every_steps = 0.9, 20, 1
    assert list(differences(old, new)) == [("optim.momentum", 0.0, 0.9)]
    # A run from before there was such a key did what the default says.
    now = json.loads(json.dumps(default_config().to_dict()))
    before = copy.deepcopy(now)
    del before["augment"], before["optim"]["decay_epochs"]
    assert list(differences(before, now)) == []
    now["augment"]["mirror"] = True
    assert list(differences(before, now)) == [("augment.mirror", False, True)]
    # A key that one of two versions does not know.
    assert list(differences({"seed": 0, "gone": 1}, {"seed": 0})) == [("gone", 1, None)]


def test_an_integer_that_python_does_not_write_out():
    config = default_config()
    config.num_epochs = 10**5000
    with pytest.raises(InputError, match="num_epochs .*; got an integer of thousands"):
        validate(config)


@pytest.mark.parametrize(
    ("stored", "image", "expected"),
    [
        (None, 224, (256, 256)),
        (None, (96, 96), (256, 256)),
        (None, (96, 128), (222, 296)),
        (None, (1, 2**14), (2, 2**15)),
        (256, (96, 128), (256, 256)),
        ((64, 48), 32, (64, 48)),
    ],
)
def test_the_size_of_stored_images(stored, image, expected):
    data = default_config().data
    data.stored_size, data.image_size = stored, image
    assert stored_pair(data) == expected


def test_a_stored_size_that_is_not_set_is_one_run_with_what_it_stands_for():
    old, new = default_config(), default_config()
    old.data.stored_size = 256
    assert not list(differences(old, new))
    new.data.image_size = old.data.image_size = (96, 128)
    assert list(differences(old, new)) == [("data.stored_size", 256, [222, 296])]
    old.data.stored_size = (222, 296)
    assert not list(differences(old, new))


def test_a_learning_rate_that_is_not_set_is_the_default():
    config = default_config()
    assert learning_rate(config.optim) == learning_rate(config.optim.to_dict()) == 0.01
    config.optim.learning_rate = 0.0
    assert learning_rate(config.optim) == 0.0
    # Runs of before, whose default was a number.
    old, new = default_config(), default_config()
    old.optim.learning_rate = 0.01
    assert not list(differences(old, new)) and not list(differences(new, old))
    old.optim.learning_rate = 0.02
    assert list(differences(old, new)) == [("optim.learning_rate", 0.02, 0.01)]


class TestCfg:
    """Networks of a layer file, and the layer-parameter file."""

    def config(self, *, layers="[fc]\n", params=None, name="cfg:a.cfg", path=None):
        config = default_config()
        config.model.name, config.optim.params = name, path
        config.model.cfg_layers, config.model.cfg_params = layers, params
        return config

    def test_not_set_means_the_files_rates(self):
        by_file = self.config(params="x", path="p.cfg")
        by_rate = self.config(params="x", path="p.cfg")
        by_rate.optim.learning_rate = 0.01
        said = [("optim.learning_rate", None, 0.01)]
        assert list(differences(by_file, by_rate)) == said

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"optim.params": "a"}, r"optim.params is read with .* it with 'lenet5'"),
            ({"model.cfg_layers": "a"}, "model.cfg_layers is read with a model.name"),
            ({"model.cfg_params": "a"}, "model.cfg_params is read with a model.name"),
        ],
    )
    def test_other_networks_have_no_such_files(self, changes, said):
        config = default_config()
        config.update_from_flattened_dict({"model.name": "lenet5", **changes})
        with pytest.raises(InputError, match=said):
            validate(config)
        config.model.name = "cfg:a.cfg"
        validate(config)

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            (
                "name",
                "sgd_2012",
                "whose file decides: set --config.optim.name=sgd; got 'sgd_",
            ),
            ("momentum", 0.9, "set --config.optim.momentum=0.0; got 0.9"),
            ("weight_decay", 5e-4, "set --config.optim.weight_decay=0.0; got 0.0005"),
        ],
    )
    @pytest.mark.parametrize("rate", [None, 0.1])
    def test_what_the_file_says(self, key, value, said, rate):
        config = self.config(path="p.cfg")
        config.optim.update({"learning_rate": rate, key: value})
        with pytest.raises(InputError, match=f"optim.{key} must not be .* {said}"):
            validate(config)

    def test_all_that_the_file_says_is_named_at_once(self):
        config = self.config(path="p.cfg")
        config.optim.update({"momentum": 0.9, "schedule": "cosine"})
        line = (
            "optim.momentum, optim.schedule must not be set with optim.params, whose "
            "file decides: set --config.optim.momentum=0.0 "
            "--config.optim.schedule=constant, or set optim.learning_rate; got 0.9, "
            "'cosine'"
        )
        with pytest.raises(InputError, match=f"^{line}$"):
            validate(config)

    def test_reports_show_what_the_file_decides(self):
        shown = shown_values(flatten_config(self.config(path="p.cfg")))
        for key in ("name", "momentum", "weight_decay", "schedule", "learning_rate"):
            assert shown[f"optim.{key}"] == "as optim.params says"
        assert shown["model.dropout_rate"] == "as the layer file says"
        config = self.config(path="p.cfg")
        config.optim.learning_rate, config.model.dropout_rate = 0.1, 0.5
        shown = shown_values(flatten_config(config))
        assert shown["optim.schedule"] == "constant"
        assert shown["optim.momentum"] == "as optim.params says"
        assert shown["model.dropout_rate"] == 0.5

    def test_dropout_that_is_not_set_is_as_it_was(self):
        old, new = default_config(), default_config()
        old.model.dropout_rate = 0.5
        assert not [*differences(old, new)] and not [*differences(new, old)]
        assert shown_values(flatten_config(new))["model.dropout_rate"] == 0.5
        new.model.name = old.model.name = "cfg:a.cfg"
        said = [("model.dropout_rate", 0.5, None)]
        assert [*differences(old, new)] == said

    @pytest.mark.parametrize(
        ("key", "value"),
        [("schedule", "plateau"), ("schedule", "2012"), ("warmup_steps", 10)],
    )
    def test_schedules_are_of_a_learning_rate(self, key, value):
        config = self.config(path="p.cfg")
        config.optim[key] = value
        said = f"optim.{key} must not .*, or set optim.learning_rate; got {value!r}"
        with pytest.raises(InputError, match=said):
            validate(config)
        config.optim.learning_rate = 0.1
        validate(config)

    def test_files_are_known_by_their_texts(self):
        old = self.config(name="cfg:a.cfg", params="x", path="p.cfg")
        new = self.config(name="cfg:/elsewhere/b.cfg", params="x", path="q.cfg")
        stored = json.loads(json.dumps(old.to_dict()))
        assert not list(differences(stored, new)) and not list(differences(new, old))
        assert not list(differences(config_of(stored), new))

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"layers": "[other]\n"}, ("model.name", "cfg:a.cfg", "cfg:a.cfg")),
            (
                {"layers": "[other]\n", "name": "cfg:b.cfg"},
                ("model.name", "cfg:a.cfg", "cfg:b.cfg"),
            ),
            ({"params": "y"}, ("optim.params", "p.cfg", "p.cfg")),
            ({"params": "y", "path": "q.cfg"}, ("optim.params", "p.cfg", "q.cfg")),
            ({"params": None, "path": None}, ("optim.params", "p.cfg", None)),
            ({"path": None}, ("optim.params", "p.cfg", None)),
        ],
    )
    def test_changed_texts_are_named_by_their_keys(self, changes, expected):
        old = {"params": "x", "path": "p.cfg"}
        pair = self.config(**old), self.config(**{**old, **changes})
        assert list(differences(*pair)) == [expected]

    def test_a_changed_file_beside_the_layer_file(self):
        pair = self.config(params="x"), self.config(params="y")
        assert list(differences(*pair)) == [("model.cfg_params", None, None)]

    def test_another_kind_of_network(self):
        other = default_config()
        said = [("model.name", "alexnet_d2l", "cfg:a.cfg")]
        assert list(differences(other, self.config(params="x"))) == said
        old = json.loads(json.dumps(other.to_dict()))
        del old["model"]["cfg_layers"], old["model"]["cfg_params"]
        del old["optim"]["params"]
        assert list(differences(old, self.config(params="x"))) == said
        assert not list(differences(old, default_config()))

    def test_processes_compare_no_long_text(self):
        one = in_one_form(flatten_config(self.config(layers="a\n" * 9999, params="b")))
        assert max(len(str(value)) for value in one.values()) < 99

    def test_reports_show_no_long_text(self):
        flat = flatten_config(self.config(layers="a\n" * 1200, path="p.cfg"))
        shown = shown_values(flat)
        layers = "a text of 1,200 lines, SHA-256 610599ced9eff185"
        assert shown["model.cfg_layers"] == layers
        assert shown["model.cfg_params"] is None
        assert shown["optim.learning_rate"] == "as optim.params says"
        default = shown_values(flatten_config(default_config()))
        assert default["optim.learning_rate"] == 0.01
        assert shown_values({"seed": 0}) == {"seed": 0}  # a record without the key
