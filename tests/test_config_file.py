"""Config files and flags that cannot be used: the file, the line, one sentence."""

import json
import os
import re
import shlex
from importlib.machinery import SourceFileLoader
from types import SimpleNamespace

import pytest
from absl import flags

from alexnet_jax import main as module
from alexnet_jax.config import (
    SIZES,
    default_config,
    flatten_config,
    optional_keys,
    validate,
)
from alexnet_jax.errors import InputError
from alexnet_jax.main import load_config
from alexnet_jax.terminal import experiments
from alexnet_jax.transfer.settings import patterns_of, rates_of

HEAD = "from alexnet_jax.config import default_config\n\ndef get_config(variant=''):\n"


def check(path, body, expected, head=HEAD):
    path.write_text(head + body)
    with pytest.raises(InputError) as error:
        load_config(str(path))
    assert str(error.value) == f"--config: {path}{expected}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("  1 / 0", ", line 4: ZeroDivisionError: division by zero"),
        ("  a = {}\n  return a['b']", ", line 5: KeyError: 'b'"),
        ("  raise ValueError('why')", ", line 4: ValueError: why"),
        ("  raise OSError(2, 'gone')", ", line 4: FileNotFoundError: [Errno 2] gone"),
        ("  raise SystemExit(3)", ", line 4: SystemExit: 3"),
        ("  assert not default_config()", ", line 4: AssertionError"),
        ("  import no_such_thing", ", line 4: ModuleNotFoundError: No module named "
         "'no_such_thing'"),
        # With its argument: some versions of Python 3.13 let calls without one go on.
        ("  get_config(variant)", None),
        ("  import json\n  json.loads('x')", ", line 5: JSONDecodeError: Expecting "
         "value: line 1 column 1 (char 0)"),
        ("  config = default_config()\n  config.seed = 'one'", None),
        ("  config = default_config()\n  config.sede = 1", None),
        ("  return None", ": get_config must return a ConfigDict, such as "
         "default_config() makes; got NoneType"),
        ("  return {'seed': 1}", ": get_config must return a ConfigDict, such as "
         "default_config() makes; got dict"),
        ("  return default_config().model", None),
        ("  config = default_config().unlock()\n  config.more = 1\n  return config",
         ": what get_config returns has unknown keys: more; begin with "
         "default_config()"),
        ("  class Odd(Exception):\n    def __str__(self): return 1 / 0\n  raise Odd",
         ", line 6: Odd"),
    ],
)  # fmt: skip
def test_what_get_config_does(body, expected, tmp_path):
    path = tmp_path / "config.py"
    if expected is not None:
        check(path, body, expected)
        return
    path.write_text(HEAD + body)
    with pytest.raises(InputError) as error:
        load_config(str(path))
    places = {
        "  get_config(variant)": "line 4: RecursionError",
        "  return default_config().model": "what get_config returns lacks keys: ",
    }
    assert places.get(body, "line 5: ") in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a = (\n", "line 1: SyntaxError: '(' was never closed"),
        (b"\n  a = 1\n", "line 2: IndentationError: unexpected indent"),
        (b"a = '\xff'\n", "SyntaxError: "),
        (b"a = 1\0\n", "cannot contain null bytes"),
        (b"x = 1\nimport no.such\n", "line 2: ModuleNotFoundError: No module named"),
        (b"get_config = 5\n", "defines no get_config(variant='')"),
        (b"", "defines no get_config(variant='')"),
        (b"get_config = lambda: 0\n", "get_config must return a ConfigDict"),
        (b"(" * 100_000 + b"\n", "SyntaxError: "),
        (b"-" * 200_000 + b"1\n", "Error"),
        (b"raise BaseException('no exception')", "line 1: BaseException: no exc"),
        (b"raise GeneratorExit", "line 1: GeneratorExit"),
        (b"raise ValueError('x' * 10**6)", "line 1: ValueError: xxx"),
    ],
)
def test_files_that_are_no_config(text, expected, tmp_path):
    path = tmp_path / "config.py"
    path.write_bytes(text)
    with pytest.raises(InputError, match=f"^--config: {path}") as error:
        load_config(str(path))
    assert expected in str(error.value) and len(str(error.value)) < 1000


def test_a_helper_of_the_file_is_not_blamed(tmp_path, monkeypatch):
    """The line is that of the file's own code, however deep the error."""
    (tmp_path / "helper_of_config.py").write_text("def f():\n\n\n\n\n  1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    check(
        tmp_path / "config.py",
        "  from helper_of_config import f\n  f()",
        ", line 5: ZeroDivisionError: division by zero",
    )


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    with (tmp_path / "large.py").open("wb") as file:
        file.truncate(10**12)
    for name, expected in {
        "pipe": " must be a regular file; .*pipe' is a pipe or a device; try --config=",
        "link": " must be a regular file; .*link' is a pipe or a device",
        "": " must be a regular file; .* is a folder; try --config=digits .exp",
        "none.py": ": there is no .*none.py'; try --config=digits .exp",
        "a\0b": ": there is no ",
        "large.py": ": .*large.py' has 1,000,000 MB, too much for code",
    }.items():
        with pytest.raises(InputError, match=f"^--config{expected}"):
            load_config(f"{tmp_path}/{name}:variant")


@pytest.mark.parametrize(
    "given", ["digits", "digits.py", "experiments/digits.py", "experiments/digits"]
)
def test_experiments_are_found_from_anywhere(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()  # of images, say; a folder is no config
    assert load_config(given).name == "digits"
    own = tmp_path / given
    if own.is_dir():
        own.rmdir()
    own.parent.mkdir(exist_ok=True)
    own.write_text(f"{HEAD}  config = default_config()\n  config.name = variant\n"
                   "  return config")  # fmt: skip
    assert load_config(f"{given}:mine").name == "mine"


def test_variants_of_an_experiment_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("fashion:half").model.name == "alexnet_half"
    with pytest.raises(InputError, match="variant must be one of .*; got 'big'"):
        load_config("fashion:big")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("fasion", "fashion$"),
        ("experiments/fasion.py", "fashion$"),
        ("elsewhere/lenet.py", "lenet$"),
        ("mine.py", r"digits \(experiments: ablations, cifar10, digits, fashion, f"),
    ],
)
def test_the_nearest_experiment_is_named(given, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=f"there is no '{given}'; try --config={expected}"
    ):
        load_config(given)


def test_an_address_is_no_config_file():
    with pytest.raises(InputError, match="^--config: 'gs:.*' is an address; only "):
        load_config("gs://b/c.py:variant")


def test_without_experiments(monkeypatch):
    monkeypatch.setattr(experiments, "experiments", dict)
    with pytest.raises(InputError, match="there is no 'x.py'; give a file whose get_c"):
        load_config("x.py")


def test_a_frozen_config_and_an_own_error(tmp_path):
    path = tmp_path / "config"
    path.write_text(
        "from ml_collections import FrozenConfigDict\n"
        f"{HEAD}  return FrozenConfigDict(default_config())"
    )
    validate(load_config(str(path)))
    path.write_text(
        "from alexnet_jax.errors import InputError\n"
        f"{HEAD}  raise InputError('variant must be a or b')"
    )
    with pytest.raises(InputError, match="^variant must be a or b$"):
        load_config(str(path))


@pytest.fixture
def parse(monkeypatch):
    """Parses flags as a process does, with flags of the test's own."""

    def parse(*words):
        argv = ["main", *words]
        monkeypatch.setattr("sys.argv", argv)
        values = flags.FlagValues()
        flags.DEFINE_string("workdir", None, "", flag_values=values)
        monkeypatch.setattr(module.flags, "FLAGS", values)
        for name in ("_SEEDS", "_SWEEP"):
            monkeypatch.setattr(module, name, SimpleNamespace(value=None))
        module._parse_flags(argv)
        return values.config

    return parse


DIGITS = "--config=experiments/digits.py"


def test_our_loader_is_the_only_one(parse, monkeypatch):
    """ml_collections' calls `load_module`, which Python 3.15 has no more."""
    monkeypatch.setattr(SourceFileLoader, "load_module", None, raising=False)
    assert parse(DIGITS, "--config.seed=3").seed == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config.foo.bar=1"], "--config has no key bar in foo; see --help"),
        (
            ["--config.batchsize=1"],
            '--config has no key batchsize. Did you mean "batch',
        ),
        (["--config.optim.momentun=1"], 'in optim. Did you mean "optim.momentum"'),
        (["--config.lr=1"], 'no key lr. Did you mean "optim.learning_rate"?'),
        (["--config.model.lr=1"], 'lr in model. Did you mean "optim.learning_rate"?'),
        (
            ["--config.data.max_test=1"],
            'Did you mean "data.image_size" or "data.name"?',
        ),
        (["--config.wd=1"], 'Did you mean "optim.weight_decay"?'),
        (["--config.epochs=1"], 'Did you mean "num_epochs" or '),
        (["--config.classes=1"], 'Did you mean "model.num_classes"?'),
        (["--config.dataset=digits"], 'Did you mean "data.name"'),
        (["--config.optimizer=sgd"], 'Did you mean "optim.name"'),
        (["--config.data.batch_size=1"], 'Did you mean "batch_size"'),
        (["--config.modle.name=x"], 'Did you mean "model.name"'),
        (["--config.seed.x=1"], "--config has no key x in seed"),
        (["--config.__class__=1"], "--config has no key __class__"),
        (["--config.get_type=1"], "--config has no key get_type"),
        (["--config.a..b[=1"], "--config has no key b[ in a."),
        (["--config.=1"], "--config has no key "),
        (
            ["--config.model={'name': 'x'}"],
            "a group of keys; set one of them, such as --config.model.name=alex",
        ),
        (["--lr=1"], "flag 'lr'. Did you mean --config.optim.learning_rate?"),
        (["--noconfig.seed"], "Unknown command line flag"),
        (["--config.augment.canvas"], "Missing value for flag --config.augment.canvas"),
        (["--config.num_train_steps=none"], "must be an integer"),
        (["--config.seed"], "Missing value for flag --config.seed"),
        (["--config.seed="], "must be an integer"),
        (["--config.seed=" + "9" * 5000], "--config.seed="),
        (["--config.augment.mirror=maybe"], "--config.augment.mirror=maybe: "),
        (["--config.optim.momentum=fast"], "--config.optim.momentum=fast: "),
        ([DIGITS], "--config must be given once; got 'experiments/digits.py', 'exp"),
        (["--config=/dev/zero"], "--config must be given once; got 'experiments/digi"),
        (["--config"], "--config must be given once; got 'experiments/digits.py', ''"),
        (["--flagfile=/dev/zero"], "--flagfile is not supported; give the flags"),
    ],
)
def test_flags(words, expected, parse):
    with pytest.raises(InputError) as error:
        parse(DIGITS, *words)
    assert expected in str(error.value)


def test_flags_that_can_be_used(parse):
    config = parse(
        DIGITS,
        "--config.seed=7",
        "--config.optim.decay_epochs=(3, 6)",
        "--noconfig.log.tensorboard",
        "--config.num_train_steps",
        "5",
        "--config.optim.eps=1",
        "--config.name=a",
        "--config.name=b",
    )
    assert (config.seed, config.optim.decay_epochs) == (7, (3, 6))
    assert (config.log.tensorboard, config.num_train_steps) == (False, 5)
    assert (config.optim.eps, config.name) == (1.0, "b")
    with pytest.raises(InputError, match=r"optim.eps is not read by optim.name 'sgd'"):
        validate(config)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["=96"], 96),
        (["", "96"], 96),
        (["=(96,128)"], (96, 128)),
        (["", "(96, 128)"], (96, 128)),
        (["=[96, 128]"], [96, 128]),
        (["=96,128"], (96, 128)),
        (["=96", "=96,128"], (96, 128)),
    ],
)
@pytest.mark.parametrize("key", sorted(SIZES))
def test_sizes(key, words, expected, parse):
    flag = f"--config.{key}"
    words = [word if word[:1].isdigit() or word[:1] == "(" else flag + word
             for word in words]  # fmt: skip
    assert flatten_config(parse(DIGITS, *words))[key] == expected


@pytest.mark.parametrize("text", ["", "x", "96x128", "1.5", "(96,", "'96'", "{}"])
def test_sizes_that_do_not_parse(text, parse):
    with pytest.raises(InputError, match="image_size=.*: must be an integer or a pair"):
        parse(DIGITS, f"--config.data.image_size={text}")


# The config of a file; what it holds is not set by a flag.
MAKERS = {
    "defaults": "return default_config()",
    "locked": "c = default_config(); c.augment.canvas = None; return c.lock()",
    "json": "c = default_config(); return ConfigDict(json.loads(c.to_json()))",
    "resolved": "return default_config().copy_and_resolve_references()",
    "frozen": "return FrozenConfigDict(default_config())",
    "set": "c = default_config(); c.update_from_flattened_dict(SET); return c",
}
SET = {
    "num_train_steps": 3,
    "steps_per_dispatch": 3,
    "eval.batch_size": 250,
    "data.manual_dir": "a",
    "data.data_dir": "a",
    "data.val_share": 0.2,
    "data.stored_size": 240,
    "augment.canvas": (240, 260),
    "augment.color_epochs": 3,
    "checkpoint.every_steps": 3,
    "checkpoint.every_seconds": 0.5,
    "checkpoint.init_from": "a",
    "checkpoint.init_layers": ("conv*", "fc6"),
    "model.cfg_layers": "a",
    "model.cfg_params": "a",
    "model.dropout_rate": 0.1,
    "optim.params": "a",
    "optim.learning_rate": 0.5,
    "optim.ema": 0.5,
    "early_stop.patience": 3,
    "optim.freeze": "conv*",
    "optim.rates": ("fc8=10", "conv*=0.1"),
    "parallel.coordinator": "a:1",
    "parallel.num_processes": 2,
    "parallel.process_id": 1,
}


@pytest.mark.parametrize("maker", MAKERS)
def test_none_is_not_set(maker, parse, tmp_path):
    """For every key that need not be set, whatever the file made of it."""
    assert SET.keys() == set(optional_keys())
    path = tmp_path / "config.py"
    path.write_text(
        "import json\nfrom ml_collections import ConfigDict, FrozenConfigDict\n"
        f"{HEAD}  SET = {SET}\n  {MAKERS[maker]}"
    )
    words = [f"--config.{key}=None" for key in SET]
    flat = flatten_config(parse(f"--config={path}", *words))
    assert {flat[key] for key in SET} == {None}
    words = [word for key in SET for word in (f"--config.{key}", "None")]
    flat = flatten_config(parse(f"--config={path}", *words))
    assert {flat[key] for key in SET} == {None}
    # And as without it: the last flag holds.
    words = [f"--config.{key}={value}" for key, value in SET.items()]
    nones = [f"--config.{key}=None" for key in SET]
    flat = flatten_config(parse(f"--config={path}", *nones, *words))
    assert {key: flat[key] for key in SET} == SET


@pytest.mark.parametrize("maker", MAKERS)
def test_layers_and_rates(maker, parse, tmp_path, monkeypatch):
    """From a file, whatever it made of the config, and by flags, as often as meant."""
    path = tmp_path / "config.py"
    path.write_text(
        "import json\nfrom ml_collections import ConfigDict, FrozenConfigDict\n"
        f"{HEAD}  SET = {SET}\n  {MAKERS[maker]}\n"
    )
    words = ["--config.optim.rates={'fc8': 10}", "--config.optim.freeze=conv*,norm1"]
    config = parse(f"--config={path}", *words)
    longer = shlex.split(module._longer_command(config, tmp_path / "run"))
    again = parse(*longer[longer.index("alexnet_jax.main") + 1 :])
    for one in (config, again):
        assert rates_of(one.optim.rates) == {"fc8": 10.0}
        assert patterns_of(one.optim.freeze) == ("conv*", "norm1")
    if maker == "frozen":  # which takes no value
        return
    text = path.read_text().replace("return ", "c = ")
    path.write_text(
        f"{text}  with c.unlocked():\n"
        "    c.optim.rates, c.optim.freeze = {'fc8': 10.0}, ['conv*', 'norm1']\n"
        "  return c"
    )
    config = parse(f"--config={path}")
    assert rates_of(config.optim.rates) == {"fc8": 10.0}
    assert patterns_of(config.optim.freeze) == ("conv*", "norm1")
    assert flatten_config(config)["optim.rates"] == ("fc8=10.0",)
    with pytest.raises(InputError, match="rates=fc8=x: must be a factor for each of"):
        parse(DIGITS, "--config.optim.rates=fc8=x")


@pytest.mark.parametrize(
    "key", ["name", "batch_size", "optim.momentum", "model.links", "eval.metrics"]
)
def test_none_where_a_key_must_be_set(key, parse):
    forms = [[f"--config.{key}=None"], [f"--config.{key}", "None"]]
    for words in forms[: 1 if key == "model.links" else 2]:  # a switch takes no word
        with pytest.raises(InputError, match=f"--config.{key}=None: it must be set"):
            parse(DIGITS, *words)


def test_a_file_that_sets_none(parse, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(f"{HEAD}  c = default_config(); c.seed = c.name = None; return c")
    config = parse(f"--config={path}", "--config.seed=5")
    assert config.seed == 5
    with pytest.raises(InputError, match="^name must be a folder's name; got None"):
        module._train.__wrapped__(["main"])


def test_a_command_to_train_longer_is_read_as_it_was_meant(parse, tmp_path):
    """A length of the file's does not come back; None and pairs are as given."""
    path = tmp_path / "config.py"
    path.write_text(
        f"{HEAD}  c = default_config(); c.num_train_steps = 5\n"
        "  c.augment.canvas = 240\n  return c"
    )
    size = "--config.data.image_size=(96, 128)"
    for words, epochs in {(): 10, ("--config.num_train_steps=None",): 20}.items():
        config = parse(f"--config={path}", size, "--config.augment.canvas=None", *words)
        longer = shlex.split(module._longer_command(config, tmp_path / "run"))
        assert {size, "--config.augment.canvas=None"} <= {*longer}
        config = parse(*longer[longer.index("alexnet_jax.main") + 1 :])
        assert (config.num_train_steps, config.num_epochs) == (None, epochs)
        assert (config.data.image_size, config.augment.canvas) == ((96, 128), None)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_run_that_stopped_early_goes_on_with_more_patience(parse, tmp_path, stopped):
    """It is to be as long as it was meant to; one that did not, twice as long."""
    rows = [0.5, 0.4, 0.3 if stopped else 0.6]
    for name in ("seed-0", "seed-1"):  # of several, one is enough
        folder = tmp_path / "run" / name
        folder.mkdir(parents=True)
        lines = [
            {"step": 9 * epoch, "epoch": float(epoch), "train/loss": 1.0,
             "train/top1": 0.5, "test/top1": top1 if name == "seed-0" else epoch / 9}
            for epoch, top1 in enumerate(rows, 1)
        ]  # fmt: skip
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = parse(DIGITS, "--config.num_epochs=7", "--config.early_stop.patience=2")
    longer = shlex.split(module._longer_command(config, tmp_path / "run"))
    config = parse(*longer[longer.index("alexnet_jax.main") + 1 :])
    found = config.num_epochs, config.early_stop.patience
    assert found == ((7, 4) if stopped else (14, 2))


@pytest.mark.parametrize("text", ["(1", "(" * 99_999, "[[]]", "one"])
def test_tuples_that_do_not_parse(text, parse):
    with pytest.raises(InputError, match=r"optim.decay_epochs"):
        validate(parse(DIGITS, f"--config.optim.decay_epochs={text}"))


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("name", 5, "a folder's name"),
        ("seed", True, "in [0, 2**32)"),
        ("batch_size", 2.0, "an integer of at least 1"),
        ("data.name", [], "a string"),
        ("data.name", "a\0b", "a string"),
        ("data.manual_dir", 5, "a path, or not set"),
        ("model.init", None, "a string"),
        ("model.links", 1, "True or False"),
        ("eval.metrics", 5, "a tuple of metrics"),
        ("eval.metrics", ([], {}), "a tuple of metrics"),
        ("optim.decay_epochs", 5, "a tuple of increasing epochs"),
        ("optim.momentum", "0", "in [0, 1)"),
        ("parallel.coordinator", 5, "HOST:PORT"),
        ("optim.name", [], "one of"),
    ],
)
def test_values_of_another_type(key, value, allowed):
    config = default_config()
    with config.ignore_type():
        config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError, match=re.escape(f"{key} must be {allowed}")):
        validate(config)
