"""The dashboard and the alerts: structure, and metrics that the service exposes."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import URL

from kitsu.app import create_app
from kitsu.controllers.operations.metrics import MetricsController
from kitsu.settings import Settings
from tests.conftest import client_of

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "kitsu.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
CONFIG: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]

PROMETHEUS_LABELS = {"job", "instance", "le"}
"""Labels of Prometheus, and `le` of the buckets."""
SELECTOR = re.compile(r"\b(kitsu_[a-z_]+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z_]+)(=|!=|=~|!~)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


def expressions() -> Iterator[tuple[str, str]]:
    """Yield the name of each alert, panel or variable with its PromQL expression."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


EXPRESSIONS = list(expressions())
EXPR = pytest.mark.parametrize("expr", [expr for _, expr in EXPRESSIONS], ids=[name for name, _ in EXPRESSIONS])


@pytest.fixture(scope="session")
async def exposed(catalogue: URL) -> dict[str, dict[str, set[str]]]:
    """Return the exposed samples: name to label to values."""
    found: dict[str, dict[str, set[str]]] = {}
    async with client_of(catalogue, metrics_enabled=True) as client:
        await client.get("/anime")
        text = (await client.get("/metrics")).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


@pytest.fixture(scope="session")
def routes(catalogue: URL) -> set[str]:
    """Return the path templates of all routes."""
    app = create_app(Settings(secret_key="k" * 32, database_url=catalogue))
    return {MetricsController.path, *(route.path_format for route in app.routes)}


@EXPR
def test_metrics_and_labels_of_expression_are_exposed(expr: str, exposed: dict[str, dict[str, set[str]]]) -> None:
    known = exposed | {"up": {}}
    selectors = SELECTOR.findall(expr)
    assert selectors
    labels = set(PROMETHEUS_LABELS)
    for name, matchers in selectors:
        assert name in known
        labels |= set(known[name])
        assert {label for label, _, _ in MATCHER.findall(matchers)} <= PROMETHEUS_LABELS | set(known[name])
        assert 'job="kitsu"' in matchers, "other jobs may expose a metric of this name"
    for grouping in GROUPING.findall(expr):
        assert {label.strip() for label in grouping.split(",")} <= labels


@EXPR
def test_label_values_of_expression_are_exposed(
    expr: str, exposed: dict[str, dict[str, set[str]]], routes: set[str]
) -> None:
    for name, matchers in SELECTOR.findall(expr):
        for label, _, pattern in MATCHER.findall(matchers):
            if label == "route":
                assert all(any(re.fullmatch(one, route) for route in routes) for one in pattern.split("|")), pattern
            elif label in {"outcome", "state", "pool", "result", "kind", "command"}:
                assert all(one in exposed[name][label] for one in pattern.split("|")), pattern


def test_dashboard_shows_every_metric(exposed: dict[str, dict[str, set[str]]]) -> None:
    shown = {
        name
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
        for name, _ in SELECTOR.findall(target["expr"])
    }
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in exposed}
    assert families == {re.sub("_(bucket|sum|count)$", "", name) for name in shown} - {"up"}


def test_alerts_have_severity_summary_and_description() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names) == 13
    for rule in RULES:
        assert re.fullmatch("[0-9]+m", rule["for"])
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_panels_are_complete_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert all(target["expr"].count("(") == target["expr"].count(")") for target in panel["targets"])
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_job_of_prometheus_has_the_name_of_the_alerts() -> None:
    assert CONFIG["rule_files"] == ["alerts.yml"]
    (job,) = CONFIG["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("kitsu", "/metrics")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml")),
        ("test", "rules", str(Path(__file__).with_name("alert_cases.yml"))),
    ],
)
def test_promtool_accepts_config_and_rules(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
