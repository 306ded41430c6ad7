"""The laws of the house, read from the imports."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from alexnet_jax import cli

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "alexnet_jax"
# The files of the commands at the top of the package.
COMMANDS = {command.module for command in cli.COMMANDS.values()}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(node):
    """What a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return set()


def imports(path):
    tree = ast.parse(path.read_text())
    return {name for node in ast.walk(tree) for name in imported(node)}


PATHS = {module_name(path): path for path in PACKAGE.rglob("*.py")}
IMPORTS = {module: imports(path) for module, path in PATHS.items()}


def within(name, package):
    return name == package or name.startswith(package + ".")


def importers(package):
    """The modules outside a package that import it or something in it."""
    return {
        module
        for module, names in IMPORTS.items()
        if not within(module, package) and any(within(n, package) for n in names)
    }


def test_models_know_no_data_and_data_no_model():
    data, models = importers("alexnet_jax.data"), importers("alexnet_jax.models")
    assert not any(within(name, "alexnet_jax.models") for name in data)
    assert not any(within(name, "alexnet_jax.data") for name in models)


def test_layers_know_no_models_and_have_their_cpu_forms_to_themselves():
    models = importers("alexnet_jax.models")
    assert not any(within(name, "alexnet_jax.layers") for name in models)
    cpu = importers("alexnet_jax.layers.cpu")
    assert all(within(name, "alexnet_jax.layers") for name in cpu)
    layers = {name for name in IMPORTS if within(name, "alexnet_jax.layers")}
    for name in layers:
        if within(name, "alexnet_jax.layers.cpu"):
            ours = {n for n in IMPORTS[name] if within(n, "alexnet_jax")}
            assert all(within(n, "alexnet_jax.layers.cpu") for n in ours), name


def test_preparation_is_the_data_rooms_own():
    for name in importers("alexnet_jax.data.preparation"):
        assert within(name, "alexnet_jax.data"), name


def test_what_tfds_keeps_to_itself_is_used_in_one_module():
    (alone,) = importers("tensorflow_datasets.core")
    assert alone == "alexnet_jax.data.preparation.tfds_internals"
    for module, path in PATHS.items():
        inner = {n for n in IMPORTS[module] if n.startswith("tensorflow_datasets.")}
        assert not inner or module == alone, module
        for name in re.findall(r"\btfds\.core\.(\w+)", path.read_text()):
            assert name in tfds.core.__all__, (module, name)
        for name in re.findall(r"\btfds\.(\w+)", path.read_text()):
            assert name in tfds.__all__, (module, name)
        assert "_get_filename_template" not in path.read_text()


def test_who_knows_a_runs_folder():
    allowed = {"train", "loop", "trained", "reporting", "exporting", "d2l", *COMMANDS}
    for name in importers("alexnet_jax.run"):
        assert name.split(".")[1] in allowed, name


# Who may import a room, as its `__init__` says; `layers/` and `data/` have laws above.
IMPORTERS = {
    "parallel": {"optim", "step", "loop", "train", "run", "inspection", "d2l"}
    | {"feeding"},
    "feeding": {"loop"},
    "preprocessing": {"step", "loop", "trained", "inspection", "exporting", "d2l"}
    | {"weights", "explanation"},
    "inspection": {"reporting", "train", "loop", "trained", "exporting"}
    | {"extraction", "explanation", "feeding", "sweep"},
    "explanation": {"trained", "reporting"},
    "reporting": {"train"},
    "weights": {"exporting", "reporting"},
    "exporting": set(),
    "extraction": {"trained"},
    "transfer": {"config", "optim", "step", "loop", "train", "inspection", "run"}
    | {"extraction"},
    # And the package's own `__init__`, before anything else.
    "terminal": {"cli", "inspection", "reporting", "run", "data", "train"}
    | {"extraction", "explanation", "exporting", "loop", "sweep", "trained"},
}


@pytest.mark.parametrize("room", IMPORTERS)
def test_who_may_import_a_room(room):
    for name in importers(f"alexnet_jax.{room}") - {"alexnet_jax"}:
        assert name.split(".")[1] in IMPORTERS[room] | COMMANDS, name


def test_the_terminals_room_is_there_at_once():
    """But for tables, which commands print at their end; the bar imports Rich late."""
    names = {
        name
        for path in (PACKAGE / "terminal").glob("*.py")
        if path.stem != "tables"
        for node in ast.parse(path.read_text()).body
        for name in imported(node)
    }
    ours = {name for name in names if within(name, "alexnet_jax")}
    assert "alexnet_jax.terminal.tables" not in ours
    allowed = ("alexnet_jax.terminal", "alexnet_jax.errors")
    assert all(name.startswith(allowed) for name in ours)
    assert {name.partition(".")[0] for name in names - ours} <= sys.stdlib_module_names


def test_a_room_says_what_it_is_for_and_the_top_stays_small():
    for path in PACKAGE.rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert path.parent == PACKAGE or "import" in text, path
    assert len(list(PACKAGE.glob("*.py"))) <= 23  # of which 11 are commands


def test_train_is_the_top():
    assert importers("alexnet_jax.train") == {"alexnet_jax.main"}
    assert importers("alexnet_jax.main") == set()
    assert importers("alexnet_jax.d2l") == set()


def test_nothing_imports_experiments_or_tensorflow():
    for package in ("experiments", "tensorflow", "torch"):
        assert importers(package) == set()


def test_no_circles():
    graph = {
        module: {name for name in names if name in IMPORTS and name != module}
        for module, names in IMPORTS.items()
    }
    while leaves := [module for module, needs in graph.items() if not needs]:
        for leaf in leaves:
            del graph[leaf]
        for needs in graph.values():
            needs.difference_update(leaves)
    # A package's own `__init__` gathers its modules, which never import it back.
    assert graph == {}


def test_test_modules_import_nothing_from_each_other():
    for path in (ROOT / "tests").rglob("*.py"):
        for name in imports(path):
            assert ".test_" not in name or not within(name, "tests"), path


def test_no_attic():
    assert not [path for path in PACKAGE.rglob("*.py") if "util" in path.stem]


def test_experiments_import_the_config_alone():
    for path in (ROOT / "experiments").glob("*.py"):
        ours = {name for name in imports(path) if within(name, "alexnet_jax")}
        allowed = ("alexnet_jax.config", "alexnet_jax.errors")
        assert all(name.startswith(allowed) for name in ours), path


def test_every_import_is_declared():
    """Every third-party package that the code imports stands in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = " ".join(project["dependencies"]).lower().replace("-", "_")
    names = {"absl": "absl_py", "orbax": "orbax_checkpoint", "PIL": "pillow"}
    names |= {"yaml": "pyyaml"}
    used = {name.partition(".")[0] for names in IMPORTS.values() for name in names}
    brought_along = {"IPython"}  # by the notebook that the code runs in, if it does
    for name in used - sys.stdlib_module_names - {"alexnet_jax"} - brought_along:
        assert names.get(name, name).lower() in text, name


def test_weights_know_networks_and_nothing_of_runs():
    allowed = ("weights", "models", "data", "preprocessing", "config", "atomic")
    allowed += ("errors",)
    for module in IMPORTS:
        if within(module, "alexnet_jax.weights"):
            ours = {name for name in IMPORTS[module] if within(name, "alexnet_jax")}
            for name in ours - {"alexnet_jax"}:
                assert name.split(".")[1] in allowed, (module, name)
