"""The rules of ARCHITECTURE.md for imports and names."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePath

import pytest

PACKAGE = Path(__file__).parent.parent / "kitsu"
MAX_LINES = 300

DOMAIN = ("domain.accounts", "domain.catalogue", "domain.media", "domain.operations", "domain.viewer")
SHARED = {"domain", "db", "errors"}
CONTROLLER = {"web", "domain", "domain.accounts", "errors"}

# Part of the code to the parts that it may import besides itself. A part is a folder or a module of the package, and in
# `domain` and `controllers` an app; `domain` alone is what several apps share.
MAY_IMPORT: dict[str, set[str]] = {
    "addresses": set(),
    "deadlines": set(),
    "errors": set(),
    "settings": {"addresses"},
    "db": {"deadlines", "errors"},
    "domain": {"db", "deadlines", "errors"},
    "domain.accounts": SHARED | {"addresses"},
    "domain.catalogue": SHARED,
    "domain.media": SHARED | {"domain.accounts"},
    "domain.viewer": SHARED | {"domain.accounts", "domain.catalogue"},
    "domain.operations": SHARED | set(DOMAIN),
    "observability": {"errors"},
    "web": {"db", "deadlines", "domain", "domain.accounts", "errors", "observability"},
    "controllers.accounts": CONTROLLER | {"domain.media"},
    "controllers.catalogue": CONTROLLER | {"domain.catalogue"},
    "controllers.media": CONTROLLER | {"domain.media"},
    "controllers.viewer": CONTROLLER | {"domain.viewer"},
    "controllers.front_end": CONTROLLER | {"domain.catalogue", "domain.viewer"},
    "controllers.operations": CONTROLLER | {"domain.operations", "observability"},
    "admin": {"domain", "errors", "observability", "web"} | set(DOMAIN),
    "mail": {"settings"},
    "jobs": SHARED | set(DOMAIN) | {"mail", "settings"},
    "cli": SHARED | set(DOMAIN) | {"mail", "observability", "settings"},
}
MAY_IMPORT["controllers"] = {part for part in MAY_IMPORT if part.startswith("controllers.")}
MAY_IMPORT["parts"] = {*MAY_IMPORT}
MAY_IMPORT["app"] = {*MAY_IMPORT}
MAY_IMPORT["worker"] = {"app", "observability", "settings", "web"}
MAY_IMPORT["__main__"] = {"cli"}
MAY_IMPORT["__init__"] = set()

# Libraries that a part never imports: HTTP ends at the controllers, SQL at the domain.
FORBIDDEN: dict[str, set[str]] = {
    "controllers": {"sqlalchemy", "advanced_alchemy", "asyncpg"},
    "web": {"sqlalchemy", "advanced_alchemy", "asyncpg"},
    "admin": {"sqlalchemy", "advanced_alchemy", "asyncpg"},
    "domain": {"litestar", "advanced_alchemy.extensions.litestar"},
}
PUBLIC_NAMES = {"_exit"}
"""Names that begin with an underscore and are documented: `os._exit`."""
# The one place where a session from the plugin becomes a service for a handler.
ALLOWED = {"web/services.py": {"sqlalchemy", "advanced_alchemy"}}
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base"}


def violations(module: PurePath, source: str) -> list[str]:
    """Return the violations of a module; its path is relative to the package."""
    part = part_of(["kitsu", *module.with_suffix("").parts])
    found = [f"the name {name} has no meaning" for name in {*module.with_suffix("").parts} & EMPTY_NAMES]
    if part not in MAY_IMPORT:
        return [*found, f"{part} has no line in MAY_IMPORT"]
    if source.count("\n") > MAX_LINES:
        found.append(f"more than {MAX_LINES} lines")
    tree = ast.parse(source)
    forbidden = FORBIDDEN.get(part.partition(".")[0], set()) - ALLOWED.get(str(module), set())
    return [*found, *_import_violations(part, forbidden, tree), *_code_violations(tree)]


def _import_violations(part: str, forbidden: set[str], tree: ast.AST) -> Iterator[str]:
    for name in imported(tree):
        other = part_of(name.split("."))
        if other is not None and other != part and other not in MAY_IMPORT[part]:
            yield f"{part} may not import {other} ({name})"
        if any(f"{name}.".startswith(f"{library}.") for library in forbidden):
            yield f"{part} never imports {name}"
        if not name.startswith(("kitsu", "__future__")) and any(_is_private(each) for each in name.split(".")):
            yield f"private import {name}"


def _code_violations(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if getattr(node, "level", 0):
            yield f"relative import in line {node.lineno}"  # type: ignore[attr-defined] # an import has one
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and not _is_own(node.value):
            yield f"private name {node.attr} in line {node.lineno}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (f"import inside a function in line {each.lineno}" for each in _import_nodes(node))


def part_of(name: list[str]) -> str | None:
    """Return the part that a dotted name belongs to, or None for a library and for the version."""
    if name[0] != "kitsu" or len(name) == 1 or name[1] == "__version__":
        return None
    if name[1] in {"domain", "controllers"} and len(name) > 2 and (PACKAGE / name[1] / name[2]).is_dir():
        return f"{name[1]}.{name[2]}"
    return name[1]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a module imports: `kitsu.db.engine`, `kitsu.db.engine.Timeouts`."""
    for node in _import_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from (alias.name for alias in node.names)


def _import_nodes(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC_NAMES


def _is_own(value: ast.expr) -> bool:
    """Return whether a private attribute of this value is allowed; `os._exit` is documented."""
    return isinstance(value, ast.Name) and value.id in {"self", "cls", "os"}


MODULES = {path.relative_to(PACKAGE): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module_has_no_violations(module: Path) -> None:
    assert violations(module, MODULES[module]) == []


def test_imports_have_no_cycle() -> None:
    names = {".".join(["kitsu", *module.with_suffix("").parts]).removesuffix(".__init__") for module in MODULES}
    graph = {}
    for module, source in MODULES.items():
        name = ".".join(["kitsu", *module.with_suffix("").parts]).removesuffix(".__init__")
        targets = {each if each in names else each.rpartition(".")[0] for each in imported(ast.parse(source))}
        graph[name] = (targets & names) - {name, "kitsu"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_part_of_table_exists(part: str) -> None:
    path = PACKAGE.joinpath(*part.split("."))
    assert path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize(
    ("module", "source", "violation"),
    [
        ("db/reads.py", "from kitsu import settings", "db may not import settings"),
        ("db/reads.py", "import kitsu.domain.catalogue.anime as anime", "db may not import domain.catalogue"),
        ("db/reads.py", "if TYPE_CHECKING:\n    from kitsu.settings import Settings", "db may not import settings"),
        ("domain/accounts/x.py", "from kitsu.domain.viewer import library", "may not import domain.viewer"),
        ("domain/catalogue/x.py", "from kitsu.controllers import bind", "may not import controllers"),
        ("domain/catalogue/x.py", "from litestar.exceptions import HTTPException", "never imports litestar"),
        ("web/who.py", "from sqlalchemy import select", "web never imports sqlalchemy"),
        ("controllers/catalogue/anime.py", "import sqlalchemy.orm", "never imports sqlalchemy"),
        ("controllers/catalogue/anime.py", "from kitsu.db.models import Anime", "may not import db"),
        ("cli/run.py", "from kitsu.app import create_app", "cli may not import app"),
        ("queue.py", "", "queue has no line"),
        ("domain/changes.py", "from . import paging", "relative import in line 1"),
        ("errors.py", "class A:\n  async def f(self):\n    if 1:\n      from json import loads", "in line 4"),
        ("domain/utils.py", "", "the name utils has no meaning"),
        ("web/x.py", "from litestar._kwargs import KwargsModel", "private import litestar._kwargs.KwargsModel"),
        ("web/x.py", "import msgspec\nmsgspec._core.x()", "private name _core in line 2"),
        ("web/x.py", "def f(request):\n    return request._body", "private name _body in line 2"),
        ("errors.py", "\n" * (MAX_LINES + 1), f"more than {MAX_LINES} lines"),
    ],
)
def test_violation_is_reported(module: str, source: str, violation: str) -> None:
    found = violations(PurePath(module), source)
    assert any(violation in each for each in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("domain/viewer/x.py", "from kitsu.domain.catalogue.anime import Anime\nfrom kitsu.errors import NotFound"),
        ("controllers/viewer/x.py", "from litestar import get\nfrom kitsu.domain.accounts.identities import Identity"),
        ("web/x.py", "class A:\n    def f(self):\n        return self._x"),
        ("app.py", "from kitsu import __version__\nfrom kitsu.controllers import bind"),
    ],
)
def test_allowed_code_has_no_violations(module: str, source: str) -> None:
    assert violations(PurePath(module), source) == []
