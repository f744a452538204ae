"""A hook of mkdocs: adds the API reference and pages from files outside `docs/` to the site of `make docs`."""

import posixpath
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import msgspec
import swagger_ui_bundle
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from sqlalchemy.engine import make_url

from kitsu.app import create_app
from kitsu.settings import Settings
from kitsu.web.openapi import openapi_schema

ROOT = Path(__file__).parent.parent
SOURCE_URL = "https://github.com/kitsu-backend/kitsu/blob/main/"
PAGES = {
    "deployment.md": "deploy/README.md",
    "architecture.md": "ARCHITECTURE.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}
"""Pages of the site to the files that they are made from."""
ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js")
OPERATIONS = "<!-- operations -->"
"""Where the API page lists the operations."""

_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, the OpenAPI document and Swagger UI."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, "openapi.json", content=_openapi_json()))
    for name in ASSETS:
        content = (Path(swagger_ui_bundle.swagger_ui_path) / name).read_bytes()
        files.append(File.generated(config, f"assets/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """List the operations on the API page, and point links to files of the repository to their pages or to GitHub."""
    del config, files
    uri = page.file.src_uri
    if OPERATIONS in markdown:
        markdown = markdown.replace(OPERATIONS, operations())
    return with_site_links(markdown, PAGES.get(uri, f"docs/{uri}"))


def with_site_links(markdown: str, source: str) -> str:
    """Return the text of a file of the repository with links that are right on the site."""

    def replace(link: re.Match[str]) -> str:
        return f"]({_site_link(posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1])))}{link[2] or ''})"

    return _LINK.sub(replace, markdown)


def _site_link(path: str) -> str:
    """Return the link to a file of the repository; all pages of the site are in one folder."""
    for page, source in PAGES.items():
        if path == source:
            return page
    return path.removeprefix("docs/") if path.startswith("docs/") else SOURCE_URL + path


@cache
def _openapi_json() -> bytes:
    settings = Settings(secret_key="0" * 32, database_url=make_url("postgresql+asyncpg://localhost/kitsu"))
    return msgspec.json.format(msgspec.json.encode(openapi_schema(create_app(settings))), indent=1)


def operations() -> str:
    """Return a list of all operations, by tag, in a block that is closed until the reader opens it."""
    by_tag = defaultdict(list)
    for path, methods in msgspec.json.decode(_openapi_json())["paths"].items():
        for method, operation in methods.items():
            by_tag[operation["tags"][0]].append(f"- {operation['summary']}: `{method.upper()} {path}`")
    lines = ['??? note "All operations"']
    for tag, listed in by_tag.items():
        lines += ["", f"    **{tag}**", "", *(f"    {line}" for line in listed)]
    return "\n".join(lines)
