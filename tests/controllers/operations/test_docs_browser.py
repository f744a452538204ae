"""The documentation page in a real browser, in front of the real server."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests.chromium import OPTIONS, chromium, needs_chromium
from tests.cli.process import kitsu

pytestmark = [needs_chromium, pytest.mark.browser]


def test_docs_show_every_operation_and_request_no_other_host(catalogue: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "serve", database=catalogue) as server:
        server.serves()
        dom, requested = _visit(f"http://{server.address}/docs/", tmp_path)
        schema = server.get("/openapi.json")
        assert set(re.findall(r'data-path="([^"]+)"', dom)) == set(schema.json()["paths"])
        assert f"http://{server.address}/docs/assets/swagger-ui-bundle.js" in requested
        assert {url.split("/")[2] for url in requested} == {server.address}
        for url in requested:
            assert server.get("/" + url.split("/", 3)[3]).status_code == 200, url


def _visit(url: str, folder: Path) -> tuple[str, set[str]]:
    """Return the page in the browser, and the addresses that the page requested."""
    log = folder / "net.json"
    page = subprocess.run(
        [
            chromium(),
            *OPTIONS,
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={log}",
            "--virtual-time-budget=10000",
            "--dump-dom",
            url,
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    recorded = json.loads(log.read_text())
    # The browser's own start-up traffic has no initiator; a request of the page names the page's origin.
    origin = url.rsplit("/docs", 1)[0]
    return page, {
        event["params"]["url"]
        for event in recorded["events"]
        if event.get("params", {}).get("initiator") == origin and "url" in event["params"]
    }
