"""The documentation: its links, and the tables that must agree with the code."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from kitsu.cli import main
from kitsu.observability.logs import RequestLine

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    ROOT / "deploy" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
GENERATED = {"docs/openapi.json"}
"""Files of the site that `make docs` writes."""
LEVELS = {"debug", "info", "warning", "error", "critical"}
METRIC_SUFFIX = {"counter": "_total", "gauge": "", "histogram": ""}

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


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Yield the calls in kitsu/ with arguments: what stands before the last dot, the name, the call."""
    for path in (ROOT / "kitsu").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args:
                owner, _, name = ast.unparse(node.func).rpartition(".")
                yield owner, name, node


def texts(node: ast.expr) -> list[str]:
    """Return the texts that an argument may have."""
    if isinstance(node, ast.IfExp):
        return texts(node.body) + texts(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def log_events() -> dict[str, tuple[str, set[str]]]:
    """Return the level and the fields of every log event of kitsu/. Fields differ from call to call."""
    line = RequestLine(request_id="", ip="", method="", route="", status=200, ms=0.0)
    common = {"event", "level", "time", "request_id", "ip"}
    events = {line.event: (line.level, set(line.__struct_fields__) - common)}
    fields: defaultdict[str, set[str]] = defaultdict(set)
    for owner, level, call in calls():
        if owner == "log" and level in LEVELS:
            for event in texts(call.args[0]):
                fields[event] |= {keyword.arg for keyword in call.keywords if keyword.arg and keyword.arg != "exc_info"}
                events[event] = (level, fields[event])
    return events


def test_table_of_log_events_has_level_and_fields_of_every_event() -> None:
    documented = {}
    for event, level, names, meaning, action in table("operations.md", "log events"):
        (name,) = code(event)
        documented[name] = (level, code(names))
        assert meaning
        assert action
    assert documented == log_events()


def metrics() -> dict[str, tuple[str, set[str]]]:
    """Return the type and the labels of every metric that kitsu/ makes."""
    found = {}
    for _, name, call in calls():
        kind = name.removeprefix("add_").lower()
        if kind in METRIC_SUFFIX and (metric := texts(call.args[0])):
            labels = next((arg for arg in (*call.args[2:], *(k.value for k in call.keywords)) if is_labels(arg)), None)
            found[metric[0] + METRIC_SUFFIX[kind]] = (kind, set(ast.literal_eval(labels)) if labels else set())
    return found


def is_labels(node: ast.expr) -> bool:
    """Return whether an argument is a tuple of texts."""
    return isinstance(node, ast.Tuple) and all(texts(element) for element in node.elts)


def test_table_of_metrics_has_type_and_labels_of_every_metric() -> None:
    documented = {}
    for metric, kind, labels, meaning in table("operations.md", "metrics"):
        (name,) = code(metric)
        documented[name] = (kind, code(labels))
        assert meaning
    assert documented == metrics()


def test_page_of_commands_lists_every_command() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    assert set(re.findall(r"^\| `kitsu ([a-z-]+)", text, re.MULTILINE)) == set(main.commands)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100
