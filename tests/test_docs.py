"""README, CONTRIBUTING, CHANGELOG and docs name what exists, and quote what is true."""

import contextlib
import importlib.util
import re
import textwrap
from pathlib import Path

import pytest

import alexnet_jax as aj
from alexnet_jax import main
from alexnet_jax.config import default_config
from alexnet_jax.data import create_data
from alexnet_jax.inspection.tables import summarize

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES += DOCS
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

pages = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT))
)


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pages
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pages
def test_files_and_modules_exist(page):
    if page.name == "CHANGELOG.md":
        return  # it names what is gone
    text = page.read_text()
    folders = "alexnet_jax|benchmarks|experiments|examples|results|tests"
    for path in re.findall(rf"(?<![\w/])((?:{folders})/[\w./-]*\w)", text):
        assert (ROOT / path).exists(), path
    # In docs/performance.md: paths within the package.
    for path in re.findall(r"`((?:layers|models|data)/[\w/]*\.py)", text):
        assert (ROOT / "alexnet_jax" / path).exists(), path
    for name in re.findall(r"-m ((?:alexnet_jax|benchmarks|tests)\.[a-z][\w.]*)", text):
        assert importlib.util.find_spec(name), name
    for name in re.findall(r"`(alexnet_jax\.[a-z][\w.]*)`", text):
        parent, _, attribute = name.rpartition(".")
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # `parent` is a module, not a package
            found = None
        assert found or hasattr(importlib.import_module(parent), attribute), name


@pages
def test_flags_have_hyphens(page):
    flags = re.findall(r"(?<![\w.-])--([a-z]\w*(?:[_-]\w+)*)", page.read_text())
    # XLA's flags and pytest's are theirs.
    assert not [flag for flag in flags if "_" in flag and not flag.startswith("xla_")]


def test_every_page_is_in_the_site():
    """In its navigation, once; README, CONTRIBUTING and CHANGELOG by these names."""
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    named = re.findall(r"^ +- (\S+\.md)$", navigation, re.MULTILINE)
    outside = ["index.md", "contributing.md", "changelog.md"]
    there = [page.relative_to(ROOT / "docs").as_posix() for page in DOCS]
    assert sorted(named) == sorted(there + outside)


def test_the_api_pages_name_what_can_be_imported():
    found = [
        name
        for page in sorted((ROOT / "docs" / "api").glob("*.md"))
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    ]
    assert len(found) == len(set(found)) >= 40
    for name in found:
        parent, _, attribute = name.rpartition(".")
        module = importlib.import_module(parent)
        assert importlib.util.find_spec(name) or getattr(module, attribute), name
    public = {f"alexnet_jax.{name}" for name in aj.__all__}
    # `Classifier` stands where it is defined.
    assert public - {*found} == {"alexnet_jax.Classifier", "alexnet_jax.__version__"}


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 170


def test_readme_shows_a_network_to_the_letter():
    source = (ROOT / "alexnet_jax" / "models" / "krizhevsky.py").read_text()
    paper = source.partition("class AlexNetPaper")[2]
    setup = re.search(r"^    def setup.*?^        \)$", paper, re.M | re.S)
    assert textwrap.dedent(setup[0]) in (ROOT / "README.md").read_text()


@pytest.mark.heavy
def test_readme_counts_the_networks_parameters():
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [\d-]+ \| [^|]+ \| ([\d,]+) \|", text, re.M)
    assert len(rows) >= 14
    for name, params in rows:
        assert params == f"{summarize(name).params:,}", name


def test_running_quotes_the_help(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = (ROOT / "docs" / "running.md").read_text()
    assert f"```\n{main.make_parser().format_help()}```" in text


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """The scripts of docs/your_data.md, written as it names them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    text = (ROOT / "docs" / "your_data.md").read_text()
    found = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.DOTALL)
    for name, code in found:
        (tmp_path / name).write_text(code)
    return dict(found)


@pytest.mark.slow
def test_the_scripts_of_your_data_run(scripts, tmp_path):
    assert [*scripts] == ["write_digits.py", "my_module.py", "my_arrays.py"]
    exec(scripts["write_digits.py"], {})
    data = default_config().data
    data.data_dir, data.val_share = str(tmp_path / "prepared"), 0.2
    shapes = {}
    for name, files in (
        ("image_folder", "digits"),
        ("image_folder", "digits.csv"),
        ("my_module:OddDigits", None),
    ):
        data.name, data.manual_dir, data.stored_size = name, files, 28
        with contextlib.closing(
            create_data(data, batch_size=16, eval_batch_size=16, seed=0)
        ) as found:
            sizes = found.train.num_examples, found.test.num_examples
            shapes[files] = (*sizes, len(found.spec.class_names))
    assert shapes == {
        "digits": (1438, 359, 10),
        "digits.csv": (1438, 359, 10),
        None: (1438, 359, 2),
    }
    code = scripts["my_arrays.py"].replace("max_epochs=3", "max_epochs=1, max_steps=2")
    exec(code, {"__name__": "my_arrays"})
    assert (tmp_path / "half.png").exists()
