"""The public API in fresh processes: every name, in whatever order."""

import os
import subprocess
import sys

import pytest

import alexnet_jax as aj

# Each name, called twice; CONFIG and WORKDIR are the test's own.
CALLS = {
    "Classifier": "aj.Classifier(num_classes=3).num_classes == 3",
    "__version__": "aj.__version__.count('.') == 2",
    "create_model": "aj.create_model('lenet5', num_classes=3).num_classes == 3",
    "default_config": "aj.default_config().batch_size == 128",
    "list_models": "'alexnet_paper' in aj.list_models()",
    "load": "aj.load({workdir!r}).step == 8",
    "summarize": "aj.summarize('lenet5').params == 61706",
    "train_and_evaluate": "aj.train_and_evaluate(*run)['step'] == 1",
}
RUN = """
config = aj.default_config()
config.data.name, config.data.data_dir = "digits", {data_dir!r}
config.model.name, config.data.image_size = "lenet5", 28
config.num_train_steps, config.log.tensorboard = 1, False
run = config, {new!r}
"""


@pytest.mark.parametrize(
    "before",
    [
        "",
        pytest.param(
            "import alexnet_jax.train, alexnet_jax.main", marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.slow] * (n == "train_and_evaluate"))
        for n in CALLS
    ],
)
def test_every_name_twice_in_a_fresh_process(name, before, trained, data_dir, tmp_path):
    """No module of the package takes the place of a function."""
    call = CALLS[name].format(workdir=str(trained))
    lines = ["import alexnet_jax as aj", before]
    if "run" in call:
        lines.append(RUN.format(data_dir=str(data_dir), new=str(tmp_path / "new")))
    lines += [f"assert {call}"] * 2
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_every_name_has_a_call():
    assert set(aj.__all__) == CALLS.keys()


def test_importing_it_loads_no_jax():
    code = (
        "import sys; before = set(sys.modules); import alexnet_jax;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert set(done.stdout.split()) <= {"alexnet_jax", *sys.stdlib_module_names}


@pytest.mark.slow
def test_the_examples_that_train_and_load(data_dir, tmp_path):
    code = "\n".join(
        [
            "import doctest, alexnet_jax.train, alexnet_jax.trained",
            "from alexnet_jax.config import default_config",
            "from alexnet_jax.train import train_and_evaluate",
            "from alexnet_jax.trained import load",
            "flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS",
            "for subject in (train_and_evaluate, load):",
            "    doctest.run_docstring_examples(subject, globals(), optionflags=flags)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"TFDS_DATA_DIR": str(data_dir), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (tmp_path / "runs" / "mine" / "config.json").exists()


def test_a_networks_summary_imports_nothing_of_runs_or_data():
    code = (
        "import sys; from alexnet_jax.summary import main; main(['lenet5', '--json']);"
        "print({'orbax', 'tensorflow_datasets', 'matplotlib'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()"
