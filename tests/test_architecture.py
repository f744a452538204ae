"""The house's import rule: who may know whom. Arrows point down; a wish for another one means that code lies wrong."""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

PACKAGE = Path(__file__).parent.parent / "kitsu"

# Each floor, and what it may know of Kitsu besides itself. A new top-level module needs a line here.
MAY_KNOW: dict[str, set[str]] = {
    "settings": set(),
    "errors": set(),
    "logs": set(),
    "metrics": set(),
    "stall": set(),
    "tracing": {"logs"},
    "db": set(),
    "domain": {"db", "errors"},
    "answers": set(),
    "exception_handlers": {"answers", "db", "errors"},
    "openapi": {"errors"},
    "middleware": {"domain", "errors", "logs"},
    "controllers": {"answers", "domain", "middleware", "errors", "openapi"},
    "streams": {"domain", "exception_handlers"},
    "handling": {"answers", "controllers", "domain", "exception_handlers", "middleware", "streams"},
    "cli": {"domain", "db", "errors", "settings", "logs", "metrics", "tracing"},
}
MAY_KNOW["app"] = {*MAY_KNOW}
MAY_KNOW["__main__"] = {"cli"}
MAY_KNOW["__init__"] = set()

# Libraries that a floor never imports: HTTP ends at the controllers, SQL at the domain.
FORBIDDEN: dict[str, set[str]] = {
    "controllers": {"sqlalchemy", "advanced_alchemy", "asyncpg"},
    "middleware": {"sqlalchemy", "advanced_alchemy", "asyncpg"},
    "domain": {"litestar", "advanced_alchemy.extensions.litestar"},
}

# Names that say nothing about what lives inside. The database may have a base.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base"}


def complaints(module: PurePath, source: str) -> list[str]:
    """What is wrong with a module, its path relative to the package."""
    floor = PurePath(module.parts[0]).stem
    found = [
        f"the name {name} says nothing" for name in _names(module) & EMPTY_NAMES if (floor, name) != ("db", "base")
    ]
    if floor not in MAY_KNOW:
        return [*found, f"{floor} is no floor of the house: give it a line in MAY_KNOW"]
    tree = ast.parse(source)
    for name in _imports(tree):
        known = _floor_of(name)
        if known is not None and known != floor and known not in MAY_KNOW[floor]:
            found.append(f"{floor} may not know {known} ({name})")
        if any(f"{name}.".startswith(f"{library}.") for library in FORBIDDEN.get(floor, ())):
            found.append(f"{floor} never imports {name}")
    found += [f"relative import in line {node.lineno}" for node in _import_nodes(tree) if getattr(node, "level", 0)]
    return found + [f"import inside a function in line {line}" for line in _inner_imports(tree)]


def _names(module: PurePath) -> set[str]:
    return set(module.with_suffix("").parts)


def _import_nodes(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def _imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a module imports: `kitsu.db.reads`, `kitsu.db.reads.Reads`."""
    for node in _import_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from (alias.name for alias in node.names)


def _floor_of(name: str) -> str | None:
    """The floor that a dotted name belongs to, None for a library and for what the package itself says."""
    package, _, rest = name.partition(".")
    floor = rest.partition(".")[0]
    return floor if package == "kitsu" and floor not in {"", "__version__"} else None


def _inner_imports(tree: ast.AST) -> set[int]:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {inner.lineno for function in functions for inner in _import_nodes(function)}


MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module_keeps_the_rule(module: Path) -> None:
    assert complaints(module, (PACKAGE / module).read_text()) == []


@pytest.mark.parametrize("floor", MAY_KNOW)
def test_table_names_what_exists(floor: str) -> None:
    assert (PACKAGE / floor).is_dir() or (PACKAGE / f"{floor}.py").is_file()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("db/reads.py", "from kitsu.db.sqlstate import is_disconnect\nimport sqlalchemy"),
        ("domain/anime.py", "from kitsu import errors\nfrom kitsu.domain.paging import Page\nimport kitsu.db.reads"),
        ("controllers/anime.py", "from litestar import get\nfrom kitsu.domain.anime import Anime"),
        ("middleware/who.py", "from kitsu.domain.sessions import Identity\nfrom kitsu.errors import Forbidden"),
        ("controllers/me.py", "from kitsu.middleware.who import guard\nfrom kitsu.errors import NotFound"),
        ("cli/accounts.py", "from kitsu.errors import AppError"),
        ("openapi.py", "from kitsu import __version__"),
        ("app.py", "from kitsu.settings import Settings\nfrom kitsu.controllers import ROUTES"),
        ("db/models/base.py", ""),
    ],
)
def test_good_source_passes(module: str, source: str) -> None:
    assert complaints(PurePath(module), source) == []


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("db/reads.py", "from kitsu.errors import NotFound", "db may not know errors"),
        ("db/reads.py", "from kitsu import errors", "db may not know errors"),
        ("db/reads.py", "import kitsu.domain.anime as anime", "db may not know domain"),
        ("db/reads.py", "if TYPE_CHECKING:\n    from kitsu.settings import Settings", "db may not know settings"),
        ("errors.py", "from kitsu.logs import configure_logs", "errors may not know logs"),
        ("domain/anime.py", "from kitsu.controllers.anime import AnimeController", "domain may not know controllers"),
        ("domain/anime.py", "from kitsu.settings import Settings", "domain may not know settings"),
        ("domain/anime.py", "from litestar.exceptions import NotFoundException", "domain never imports litestar"),
        ("domain/x/__init__.py", "import litestar", "domain never imports litestar"),
        ("middleware/who.py", "from sqlalchemy import select", "middleware never imports sqlalchemy"),
        ("middleware/who.py", "from kitsu.db.models import User", "middleware may not know db"),
        ("middleware/who.py", "from kitsu.settings import Settings", "middleware may not know settings"),
        ("controllers/anime.py", "import sqlalchemy.orm", "controllers never imports sqlalchemy"),
        ("controllers/anime.py", "from kitsu.db.models import Anime", "controllers may not know db"),
        ("cli/run.py", "from kitsu.app import create_app", "cli may not know app"),
        ("__main__.py", "from kitsu.app import create_app", "__main__ may not know app"),
        ("mail.py", "", "mail is no floor"),
        ("jobs/send.py", "", "jobs is no floor"),
        ("domain/anime.py", "from . import paging", "relative import in line 1"),
        ("settings.py", "def load():\n    import json", "import inside a function in line 2"),
        ("settings.py", "class A:\n  async def f(self):\n    if 1:\n      from json import loads", "in line 4"),
        ("domain/utils.py", "", "the name utils says nothing"),
        ("controllers/helpers/anime.py", "", "the name helpers says nothing"),
        ("domain/base.py", "", "the name base says nothing"),
    ],
)
def test_bad_source_fails(module: str, source: str, complaint: str) -> None:
    assert complaint in "; ".join(complaints(PurePath(module), source))


def test_library_of_a_similar_name_passes() -> None:
    assert complaints(PurePath("domain/anime.py"), "import litestar_offline\nimport kitsune.cli") == []
