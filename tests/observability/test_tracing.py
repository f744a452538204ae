"""Traces that the real service sends to a collector over OTLP."""

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
    """Receives spans, and stores them as dicts."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.resources: list[dict[str, Any]] = []
        self.raw = b""

    def receive(self, body: bytes) -> None:
        """Store the spans of a request body."""
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append({each.key: each.value.string_value for each in group.resource.attributes})
            self.spans += [_as_dict(span) for scope in group.scope_spans for span in scope.spans]

    def wait_for_request(self, request_id: str) -> dict[str, Any]:
        """Wait for the span of a request."""
        return until(
            lambda: next((each for each in self.spans if each.get("kitsu.request_id") == request_id), {}),
            f"the span of {request_id} arrived",
        )

    def wait_for_statement(self, request: dict[str, Any], text: str) -> dict[str, Any]:
        """Wait for the span of a request's statement with this text."""
        return until(
            lambda: next((each for each in self.children(request) if text in each["db.query.text"]), {}),
            f"the span of {text!r} arrived",
        )

    def children(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the spans of a request's statements."""
        return [each for each in self.spans if each["parent"] == request["id"]]


def _as_dict(span: Any) -> dict[str, Any]:
    values = {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
    duration = span.end_time_unix_nano - span.start_time_unix_nano
    own = {
        "name": span.name,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
    }
    return (
        values | own | {"kind": span.kind, "status": span.status.code, "duration": duration, "events": len(span.events)}
    )


@contextmanager
def run_collector() -> Iterator[tuple[Collector, str]]:
    """Run a collector, and yield it with its URL."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            collector.receive(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield collector, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def traced_service(database: URL, folder: Path) -> Iterator[tuple[Collector, Process]]:
    """Run the service with traces, and yield the collector and the service."""
    with (
        run_collector() as (collector, endpoint),
        kitsu(
            folder, "serve", database=database, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="100"
        ) as service,
    ):
        service.serves()
        yield collector, service


def test_request_and_statements_have_spans_without_values(database: URL, tmp_path: Path) -> None:
    with traced_service(database, tmp_path) as (collector, service):
        with httpx.Client(base_url=f"http://{service.address}", trust_env=False) as client:
            headers = {"X-Request-ID": "one", "traceparent": f"00-{TRACE}-{SPAN}-01"}
            client.get(f"/anime/{UNKNOWN_ID}?secret=secret", headers=headers)
            client.post("/auth/register", json=CREDENTIALS, headers={"X-Request-ID": "two"})
            client.get("/secret/path", headers={"X-Request-ID": "three"})
        request = collector.wait_for_request("one")
        assert (request["name"], request["http.route"]) == ("GET /anime/{anime_id}", "/anime/{anime_id}")
        assert (request["trace"], request["parent"]) == (TRACE, SPAN)
        assert (request["http.response.status_code"], request["status"], request["kind"]) == (404, 0, 2)
        statement = collector.wait_for_statement(request, "FROM anime")
        assert (statement["name"], statement["db.system.name"], statement["kind"]) == ("SELECT", "postgresql", 3)
        assert (statement["trace"], statement["status"]) == (TRACE, 0)
        assert 0 < statement["duration"] <= request["duration"]

        request = collector.wait_for_request("two")
        assert (request["name"], request["http.response.status_code"]) == ("POST /auth/register", 201)
        assert (len(request["trace"]), request["parent"]) == (32, "")
        # The engine runs the first, the statement runner the second.
        assert collector.wait_for_statement(request, "INSERT INTO users")["name"] == "INSERT"
        assert collector.wait_for_statement(request, "rate_limits")

        request = collector.wait_for_request("three")
        assert (request["name"], request["http.response.status_code"]) == ("GET", 404)
        assert request.get("http.route") is None

        assert service.ended_by(signal.SIGTERM) == 0
    assert collector.resources[0]["service.name"] == "kitsu"
    assert b"secret" not in collector.raw
    assert UNKNOWN_ID.encode() not in collector.raw


@pytest.mark.slow
def test_span_of_failed_statement_has_error_and_no_values(database: URL, tmp_path: Path) -> None:
    with traced_service(database, tmp_path) as (collector, service):
        with httpx.Client(base_url=f"http://{service.address}", trust_env=False) as client:
            client.post("/auth/register", json=CREDENTIALS)
            client.post("/auth/register", json=CREDENTIALS, headers={"X-Request-ID": "again"})
        failed = collector.wait_for_statement(collector.wait_for_request("again"), "INSERT INTO users")
        assert (failed["status"], failed["name"], failed["error.type"], failed["events"]) == (2, "INSERT", "23505", 0)
        assert b"secret" not in collector.raw


@pytest.mark.slow
def test_unreachable_collector_delays_no_request(database: URL, tmp_path: Path) -> None:
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
    with run_collector() as (collector, endpoint):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        spans = Spans("1.0")
        with pytest.raises(ValueError, match="secret"):
            await spans.trace_requests(fail)(scope, unused, unused)
        await spans.close()
    (span,) = collector.spans
    assert (span["status"], span["error.type"], span["events"]) == (2, "ValueError", 0)
    assert b"secret" not in collector.raw


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "serve"])
def test_missing_library_is_reported_in_one_line(tmp_path: Path, database: URL, command: str) -> None:
    # Imports fail as in an installation without the extra.
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
