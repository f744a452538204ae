"""Spans of requests and their statements, sent by OpenTelemetry; imported only where traces are wanted.

OpenTelemetry's own variables configure it: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and so
on. Its instrumentation of ASGI, asyncpg and SQLAlchemy is not used: it puts the client's address, the query and the
values in error messages into spans.
"""

import asyncio
import os
import threading
import time
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from kitsu.observability.logs import of_request

SHUTDOWN_TIMEOUT_SECONDS = 3.0
"""Time to send the last spans, which an unreachable collector would prolong to ten seconds."""


class Spans:
    """Makes spans, and sends them from a thread of the library."""

    def __init__(self, version: str) -> None:
        name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "kitsu"}
        resource = Resource.create({**name, "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("kitsu", version)
        self._propagator = TraceContextTextMapPropagator()

    def trace_requests(self, app: ASGIApp) -> ASGIApp:
        """Return a layer that makes a span of each request, whose parent is that of its `traceparent`."""

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            method = scope["method"]
            with self._tracer.start_as_current_span(
                method,
                context=self._propagator.extract(headers),
                kind=SpanKind.SERVER,
                attributes={"http.request.method": method, "kitsu.request_id": of_request.get().get("request_id", "")},
                # Error messages hold personal data.
                record_exception=False,
                set_status_on_exception=False,
            ) as span:

                async def send_with_status(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                        if message["status"] >= 500:
                            span.set_status(StatusCode.ERROR)
                    await send(message)

                try:
                    await app(scope, receive, send_with_status)
                except Exception as error:
                    span.set_status(StatusCode.ERROR)
                    span.set_attribute("error.type", type(error).__name__)
                    raise
                finally:
                    # The template, not the path, as in the log.
                    route = scope.get("path_template")
                    if route is not None:
                        span.update_name(f"{method} {route}")
                        span.set_attribute("http.route", route)

        return handle

    def add_query(self, query: Any) -> None:
        """Make a span of a statement that asyncpg has just run, given as its `LoggedQuery`."""
        ended = time.time_ns()
        self._add(query.query, ended - int(query.elapsed * 1e9), ended, query.exception)

    def trace_engine(self, engine: AsyncEngine) -> None:
        """Make a span of each statement of an engine."""

        def begin(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:  # noqa: ARG001, FBT001 - as SQLAlchemy calls it
            context.kitsu_began = time.time_ns()

        def end(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:  # noqa: ARG001, FBT001 - as SQLAlchemy calls it
            self._add(statement, context.kitsu_began, time.time_ns(), None)

        def fail(failed: Any) -> None:
            began = getattr(failed.execution_context, "kitsu_began", None)
            if began is not None and failed.statement is not None:
                self._add(failed.statement, began, time.time_ns(), failed.original_exception)

        event.listen(engine.sync_engine, "before_cursor_execute", begin)
        event.listen(engine.sync_engine, "after_cursor_execute", end)
        event.listen(engine.sync_engine, "handle_error", fail)

    async def close(self) -> None:
        """Send the remaining spans, for three seconds at most."""
        # A daemon thread: the end of the process does not wait for it.
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, SHUTDOWN_TIMEOUT_SECONDS)

    def _add(self, sql: str, began: int, ended: int, error: BaseException | None) -> None:
        # asyncpg reports a statement after its return, in the context of the request, which may have ended.
        if not get_current_span().get_span_context().trace_flags.sampled:
            return  # outside of a request, or in one that is not sampled
        span = self._tracer.start_span(
            sql.split(None, 1)[0].upper(),
            kind=SpanKind.CLIENT,
            # The text alone: values are parameters.
            attributes={"db.system.name": "postgresql", "db.query.text": sql},
            start_time=began,
        )
        if error is not None:
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", getattr(error, "sqlstate", None) or type(error).__name__)
        span.end(end_time=ended)
