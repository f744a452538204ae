"""Traces, sent by the real service to a collector of the test's own, over HTTP as OpenTelemetry has it."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy.engine import URL

from kitsu.observability.spans import Spans
from tests.cli.process import ROOT, SECRET_KEY, Process, kitsu, until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CREDENTIALS = {"email": "secret@example.org", "password": "a secret password"}
UNKNOWN_ID = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"


class Collector:
    """Takes spans, and keeps them as a test reads them."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.resources: list[dict[str, Any]] = []
        self.raw = b""

    def take(self, body: bytes) -> None:
        """Keep what was sent."""
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append({one.key: one.value.string_value for one in group.resource.attributes})
            self.spans += [_plain(span) for scope in group.scope_spans for span in scope.spans]

    def request(self, request_id: str) -> dict[str, Any]:
        """The span of a request, once it is there."""
        return until(
            lambda: next((one for one in self.spans if one.get("kitsu.request_id") == request_id), {}),
            f"the span of {request_id} came",
        )

    def statement(self, request: dict[str, Any], text: str) -> dict[str, Any]:
        """The span of a request's statement with this text, once it is there."""
        return until(
            lambda: next((one for one in self.within(request) if text in one["db.query.text"]), {}),
            f"the span of {text!r} came",
        )

    def within(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """The spans within that of a request."""
        return [one for one in self.spans if one["parent"] == request["id"]]


def _plain(span: Any) -> dict[str, Any]:
    values = {one.key: one.value.string_value or one.value.int_value for one in span.attributes}
    took = span.end_time_unix_nano - span.start_time_unix_nano
    own = {
        "name": span.name,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
    }
    return values | own | {"kind": span.kind, "status": span.status.code, "took": took, "events": len(span.events)}


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """A collector and its address."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            collector.take(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def traced(database: URL, folder: Path) -> Iterator[tuple[Collector, Process]]:
    """Serve with traces, and yield what collects them too."""
    with (
        collecting() as (collector, endpoint),
        kitsu(
            folder, "serve", database=database, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="100"
        ) as service,
    ):
        service.serves()
        yield collector, service


def test_requests_and_their_statements(database: URL, tmp_path: Path) -> None:
    with traced(database, tmp_path) as (collector, service):
        with httpx.Client(base_url=f"http://{service.address}", trust_env=False) as client:
            headers = {"X-Request-ID": "one", "traceparent": f"00-{TRACE}-{SPAN}-01"}
            client.get(f"/anime/{UNKNOWN_ID}?secret=secret", headers=headers)
            client.post("/auth/register", json=CREDENTIALS, headers={"X-Request-ID": "two"})
            client.get("/secret/path", headers={"X-Request-ID": "three"})
        request = collector.request("one")
        assert (request["name"], request["http.route"]) == ("GET /anime/{anime_id}", "/anime/{anime_id}")
        assert (request["trace"], request["parent"]) == (TRACE, SPAN)
        assert (request["http.response.status_code"], request["status"], request["kind"]) == (404, 0, 2)
        statement = collector.statement(request, "FROM anime")
        assert (statement["name"], statement["db.system.name"], statement["kind"]) == ("SELECT", "postgresql", 3)
        assert (statement["trace"], statement["status"]) == (TRACE, 0)
        assert 0 < statement["took"] <= request["took"]

        request = collector.request("two")
        assert (request["name"], request["http.response.status_code"]) == ("POST /auth/register", 201)
        assert (len(request["trace"]), request["parent"]) == (32, "")
        # One by the engine, in a transaction, and a single one.
        assert collector.statement(request, "INSERT INTO users")["name"] == "INSERT"
        assert collector.statement(request, "rate_limits")

        request = collector.request("three")
        assert (request["name"], request["http.response.status_code"]) == ("GET", 404)
        assert request.get("http.route") is None

        assert service.ended_by(signal.SIGTERM) == 0
    assert collector.resources[0]["service.name"] == "kitsu"
    assert b"secret" not in collector.raw
    assert UNKNOWN_ID.encode() not in collector.raw


def test_a_failed_statement_is_marked_and_says_nothing_of_values(database: URL, tmp_path: Path) -> None:
    with traced(database, tmp_path) as (collector, service):
        with httpx.Client(base_url=f"http://{service.address}", trust_env=False) as client:
            client.post("/auth/register", json=CREDENTIALS)
            client.post("/auth/register", json=CREDENTIALS, headers={"X-Request-ID": "again"})
        failed = collector.statement(collector.request("again"), "INSERT INTO users")
        assert (failed["status"], failed["name"], failed["error.type"], failed["events"]) == (2, "INSERT", "23505", 0)
        assert b"secret" not in collector.raw


def test_a_collector_that_is_away_keeps_nobody_waiting(database: URL, tmp_path: Path) -> None:
    with kitsu(tmp_path, "serve", database=database, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1") as service:
        service.serves()
        assert service.get("/anime").status_code == 200
        assert service.ended_by(signal.SIGTERM) == 0


async def test_span_of_failed_request_has_no_error_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ValueError("secret")

    async def unused(*_: object) -> Any:
        raise AssertionError

    scope: Any = {"type": "http", "method": "GET", "headers": [], "path": "/"}
    with collecting() as (collector, endpoint):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        spans = Spans("1.0")
        with pytest.raises(ValueError, match="secret"):
            await spans.trace_requests(fail)(scope, unused, unused)
        await spans.close()
    (span,) = collector.spans
    assert (span["status"], span["error.type"], span["events"]) == (2, "ValueError", 0)
    assert b"secret" not in collector.raw


@pytest.mark.parametrize("command", ["run", "serve"])
def test_without_the_library_one_line_says_what_to_install(tmp_path: Path, database: URL, command: str) -> None:
    # As in an install without it: whatever asks for the package finds none.
    hidden = "import sys; sys.modules['opentelemetry'] = None; sys.modules['opentelemetry.sdk'] = None\n"
    program = f"{hidden}sys.argv = ['kitsu', {json.dumps(command)}]; from kitsu.__main__ import main; main()"
    environment = {
        "PYTHONPATH": str(ROOT),
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": database.render_as_string(hide_password=False),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "kitsu[otel]" in line
