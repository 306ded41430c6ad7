"""Brings into the site what lies outside docs/, and leads links there.

README is the site's first page; pictures that pages show come along; what else a page
links to in the repository is looked at there.
"""

import logging
import posixpath
import re
import tomllib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Pages of the site from outside docs/.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
PICTURES = (".png", ".jpg", ".svg")
# A fenced block, which has no links, or a link's target.
LINK = re.compile(r"(?P<fence>^ *```.*?^ *```$)|\]\((?P<link>[^)\s]+)\)", re.M | re.S)

log = logging.getLogger("mkdocs.hooks.links")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Takes the repository's address from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    config.repo_url = project["urls"]["Homepage"]
    config.repo_name = config.site_name
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from outside docs/, and the pictures that pages show."""
    for source, page in PAGES.items():
        files.append(_from_outside(config, source, page))
    for file in files.documentation_pages():
        for match in LINK.finditer(file.content_string):
            target = _target(file, match["link"]) or ""
            is_outside = target.endswith(PICTURES) and not target.startswith("docs/")
            if is_outside and target not in files.src_uris and (ROOT / target).exists():
                files.append(_from_outside(config, target, target))
    return files


def _from_outside(config: MkDocsConfig, source: str, uri: str) -> File:
    file = File.generated(config, uri, abs_src_path=str(ROOT / source))
    file.edit_uri = f"../{source}"
    return file


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Rewrites the links that lead out of docs/, or start outside of it."""
    # A search finds what explains a word before what only bears it.
    low = page.file.src_uri.startswith("api/") or page.file.src_uri == "changelog.md"
    page.meta.setdefault("search", {"boost": 0.3 if low else 1})

    def replace(match: re.Match[str]) -> str:
        target = _target(page.file, match["link"])
        if target is None:
            return match[0]
        uri = PAGES.get(target, target.removeprefix("docs/"))
        anchor = "".join(match["link"].partition("#")[1:])
        if uri in files.src_uris:
            start = posixpath.dirname(page.file.src_uri)
            return f"]({posixpath.relpath(uri, start)}{anchor})"
        path = ROOT / target
        if not path.exists():
            log.warning("%s links to %s, which is not there", page.file, match["link"])
        kind = "tree" if path.is_dir() else "blob"
        return f"]({config.repo_url}/{kind}/main/{target}{anchor})"

    return LINK.sub(replace, markdown)


def _target(file: File, link: str | None) -> str | None:
    """Returns a link's path in the repository; None if it does not lead there."""
    path = (link or "").partition("#")[0]
    if not path or re.match(r"[a-z]+:", path):
        return None
    outside = {page: source for source, page in PAGES.items()}
    source = outside.get(file.src_uri, f"docs/{file.src_uri}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
