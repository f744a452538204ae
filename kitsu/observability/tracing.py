"""Traces by OpenTelemetry, of requests and their statements, for whoever has `kitsu[otel]` and a collector.

The library's own variables say where they go and under which name: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME,
OTEL_TRACES_SAMPLER and the others.
"""

import asyncio
import os
import threading
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.observability.logs import of_request

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
STOP_SECONDS = 3.0
"""For the last spans, should the collector be away."""


class TracingUnavailable(Exception):
    """Traces are asked for and can't be made; the message is one sentence for a person."""


def is_wanted() -> bool:
    """Whether the environment names a collector. Raises TracingUnavailable without the library."""
    if not os.environ.get(ENDPOINT):
        return False
    try:
        found = find_spec("opentelemetry.sdk.trace") and find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise TracingUnavailable(
            f"{ENDPOINT} is set, but OpenTelemetry is not installed: install kitsu[otel], or unset it."
        )
    return True


class Tracing:
    """Makes spans, and sends them from a thread of its own."""

    def __init__(self, version: str) -> None:
        """Raises ModuleNotFoundError without the library."""
        sdk: Any = import_module("opentelemetry.sdk.trace")
        exporter: Any = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        export: Any = import_module("opentelemetry.sdk.trace.export")
        resources: Any = import_module("opentelemetry.sdk.resources")
        self._trace: Any = import_module("opentelemetry.trace")
        self._propagator: Any = import_module(
            "opentelemetry.trace.propagation.tracecontext"
        ).TraceContextTextMapPropagator()
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "kitsu"}
        resource = resources.Resource.create({**named, "service.version": version})
        self._provider = sdk.TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(export.BatchSpanProcessor(exporter.OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("kitsu", version)

    def requests(self, app: ASGIApp) -> ASGIApp:
        """A layer that makes a span of each request, within that of the caller, if it sends a `traceparent`."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            method = scope["method"]
            with self._tracer.start_as_current_span(
                method,
                context=self._propagator.extract(sent),
                kind=self._trace.SpanKind.SERVER,
                attributes={"http.request.method": method, "kitsu.request_id": of_request.get().get("request_id", "")},
                # What an error says may be somebody's data.
                record_exception=False,
            ) as span:

                async def send_noted(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                        if message["status"] >= 500:
                            span.set_status(self._trace.StatusCode.ERROR)
                    await send(message)

                try:
                    await app(scope, receive, send_noted)
                finally:
                    # The template, not the path, as in the log.
                    route = scope.get("path_template")
                    if route is not None:
                        span.update_name(f"{method} {route}")
                        span.set_attribute("http.route", route)

        return traced

    def statement(self, query: Any) -> None:
        """Make a span of a statement that asyncpg has run just now, its `LoggedQuery`."""
        ended = time.time_ns()
        self._statement(query.query, ended - int(query.elapsed * 1e9), ended, query.exception)

    def statements_of(self, engine: AsyncEngine) -> None:
        """Make a span of each statement of an engine."""

        def begin(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:  # noqa: ARG001, FBT001 - as SQLAlchemy calls it
            context.kitsu_began = time.time_ns()

        def end(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:  # noqa: ARG001, FBT001 - as SQLAlchemy calls it
            self._statement(statement, context.kitsu_began, time.time_ns(), None)

        def fail(failed: Any) -> None:
            began = getattr(failed.execution_context, "kitsu_began", None)
            if began is not None and failed.statement is not None:
                self._statement(failed.statement, began, time.time_ns(), failed.original_exception)

        event.listen(engine.sync_engine, "before_cursor_execute", begin)
        event.listen(engine.sync_engine, "after_cursor_execute", end)
        event.listen(engine.sync_engine, "handle_error", fail)

    async def close(self) -> None:
        """Send what is left."""
        # One that the end of the process does not wait for: the library tries for ten seconds.
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, STOP_SECONDS)

    def _statement(self, sql: str, began: int, ended: int, error: BaseException | None) -> None:
        # The request may have ended meanwhile: asyncpg tells of a statement after whoever waited for it.
        if not self._trace.get_current_span().get_span_context().trace_flags.sampled:
            return  # of no request, or of one that is not traced
        span = self._tracer.start_span(
            sql.split(None, 1)[0].upper(),
            kind=self._trace.SpanKind.CLIENT,
            # The text alone: the values are parameters.
            attributes={"db.system.name": "postgresql", "db.query.text": sql},
            start_time=began,
        )
        if error is not None:
            span.set_status(self._trace.StatusCode.ERROR)
            span.set_attribute("error.type", getattr(error, "sqlstate", None) or type(error).__name__)
        span.end(end_time=ended)
