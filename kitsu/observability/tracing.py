"""Whether and how to trace: spans are made where `kitsu[otel]` is installed and the environment names a collector."""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kitsu.observability.spans import Spans

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class TracingUnavailable(Exception):
    """Traces are wanted and OpenTelemetry is not installed; the message is one sentence for a person."""


def is_tracing_wanted() -> bool:
    """Return whether the environment names a collector. Raises TracingUnavailable without the library."""
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


def create_spans(version: str) -> "Spans | None":
    """Return the factory of spans, or None if no collector is set. Raises TracingUnavailable without the library."""
    if not is_tracing_wanted():
        return None
    # An import at the top would need the optional library.
    spans: Spans = import_module("kitsu.observability.spans").Spans(version)
    return spans
