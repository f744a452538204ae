"""The documentation: its links, and the tables that must agree with the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import make_url

from kitsu.app import create_app
from kitsu.cli import main
from kitsu.observability.logs import RequestLine
from kitsu.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    ROOT / "deploy" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
GENERATED = {"docs/openapi.json"}
"""Files of the site that `make docs` writes."""
LEVELS = {"debug", "info", "warning", "error", "critical"}

_LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]*)(?:#([^)\s]+))?\)")


def prose(page: Path) -> str:
    """Return the text of a page without its blocks of code."""
    return re.sub(r"^(```.*?^```|(?: {4}|\t).*?)$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ +(.+?)\s*$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_and_anchors_exist(page: Path) -> None:
    for path, anchor in _LINK.findall(prose(page)):
        target = (page.parent / path).resolve() if path else page
        if str(target.relative_to(ROOT)) in GENERATED:
            continue
        assert target.exists(), f"{path} does not exist"
        assert not anchor or anchor in anchors(target), f"{path} has no heading for #{anchor}"


def table(page: str, name: str) -> Iterator[list[str]]:
    """Yield the rows of the table between two comments, as lists of cells."""
    text = (ROOT / "docs" / page).read_text()
    found = re.search(rf"<!-- {name}: .*? -->\n(.*?)<!-- end of {name} -->", text, re.DOTALL)
    assert found is not None, f"docs/{page} has no table of {name}"
    for line in found[1].strip().splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def code(cell: str) -> set[str]:
    """Return the names in backticks of a cell."""
    return set(re.findall(r"`([^`]+)`", cell))


def texts(argument: ast.expr) -> list[str]:
    """Return the literal texts that an argument may have."""
    if isinstance(argument, ast.IfExp):
        return texts(argument.body) + texts(argument.orelse)
    return [argument.value] if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else []


def passed_as(variable: ast.Name, module: ast.Module) -> Iterator[ast.expr]:
    """Yield the arguments that the module passes for a parameter."""
    for function in ast.walk(module):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and variable in ast.walk(function):
            names = [argument.arg for argument in function.args.args if argument.arg != "self"]
            for call in ast.walk(module) if variable.id in names else ():
                if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == function.name:
                    yield from call.args[names.index(variable.id) :][:1]
                    yield from (keyword.value for keyword in call.keywords if keyword.arg == variable.id)


def log_calls() -> Iterator[tuple[str, str, set[str]]]:
    """Yield event, level and fields of every `log.LEVEL(EVENT, …)` and `burst_log.LEVEL(EVENT, …)` in kitsu/."""
    for path in (ROOT / "kitsu").rglob("*.py"):
        module = ast.parse(path.read_text())
        for call in ast.walk(module):
            if isinstance(call, ast.Call) and call.args:
                owner, _, level = ast.unparse(call.func).rpartition(".")
                event = call.args[0]
                arguments = passed_as(event, module) if isinstance(event, ast.Name) else [event]
                if owner in {"log", "burst_log"} and level in LEVELS:
                    fields = {each.arg for each in call.keywords if each.arg and each.arg != "exc_info"}
                    fields |= {"count"} if owner == "burst_log" else set()
                    yield from ((text, level, fields) for argument in arguments for text in texts(argument))


def log_events() -> dict[str, tuple[str, set[str]]]:
    """Return the level and the fields of every log event of kitsu/. Fields differ from call to call."""
    line = RequestLine(request_id="", ip="", method="", route="", status=200, ms=0.0)
    common = {"event", "level", "time", "request_id", "ip"}
    events = {line.event: (line.level, set(line.__struct_fields__) - common)}
    for event, level, fields in log_calls():
        events[event] = (level, fields | events.get(event, (level, set()))[1])
    return events


def test_table_of_log_events_has_level_and_fields_of_every_event() -> None:
    documented = {}
    for event, level, names, meaning, action in table("operations.md", "log events"):
        (name,) = code(event)
        documented[name] = (level, code(names))
        assert meaning
        assert action
    assert documented == log_events()


async def test_table_of_metrics_has_type_and_labels_of_every_metric() -> None:
    url = make_url("postgresql+asyncpg://localhost/kitsu")
    app = create_app(Settings(secret_key="0" * 32, database_url=url, metrics_enabled=True))
    metrics = app.state.parts.metrics
    metrics.count_request("GET", "/anime", 200, 0.1)
    exposed = {}
    for family in text_string_to_metric_families((await metrics.text()).decode()):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        exposed[family.name + ("_total" if family.type == "counter" else "")] = (family.type, labels)
    documented = {}
    for metric, kind, names, meaning in table("operations.md", "metrics"):
        (name,) = code(metric)
        documented[name] = (kind, code(names))
        assert meaning
    assert documented == exposed


def test_page_of_commands_lists_every_command() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    assert set(re.findall(r"^\| `kitsu ([a-z-]+)", text, re.MULTILINE)) == set(main.commands)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100
