"""Logs: one JSON object a line, readable lines on a terminal; what libraries log comes out the same way."""

import logging
import logging.config
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec
import structlog
from structlog.typing import EventDict, Processor

_encoder = msgspec.json.Encoder(enc_hook=repr)


def _to_json(event: EventDict, **_: Any) -> str:
    return _encoder.encode(event).decode()


# What all lines of a request have in common. One variable for all of it: structlog's own has one for each key, and
# takes a tenth of the time of an answer from memory to set and unset two.
of_request: ContextVar[Mapping[str, Any]] = ContextVar("of_request", default=MappingProxyType({}))


def with_request(_: Any, __: str, event: EventDict) -> EventDict:
    """Add what is known of the request that a line is about; a processor of structlog's."""
    return {**of_request.get(), **event}


def request_line(**fields: Any) -> None:
    """Log the end of a request: the one line that every request writes, without what structlog would do for others."""
    if not _requests.is_on:
        return
    if _requests.is_terminal:
        _request_log.info("request", **fields)
        return
    line = {**fields, "event": "request", "level": "info", "time": datetime.now(UTC)}
    sys.stdout.buffer.write(_encoder.encode(line) + b"\n")
    sys.stdout.buffer.flush()


class _Requests:
    """Whether their lines are written, and for whom."""

    is_on = True
    is_terminal = False


_requests = _Requests()
_request_log = structlog.get_logger("kitsu.request")


def configure_logs(level: str) -> None:
    """Set structlog and the standard library's logging up, for this process. Level by name, lower case."""
    logging.config.dictConfig(stdlib_config(level))
    _requests.is_on = logging.getLevelName(level.upper()) <= logging.INFO
    _requests.is_terminal = sys.stdout.isatty()
    structlog.configure(
        processors=[*_shared(), structlog.processors.StackInfoRenderer(), *_rendering()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )


def stdlib_config(level: str) -> dict[str, Any]:
    """A dictConfig that renders what libraries log the way Kitsu's own lines are."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "kitsu": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [*_shared(), structlog.stdlib.add_logger_name],
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering()],
            }
        },
        "handlers": {"kitsu": {"class": "logging.StreamHandler", "formatter": "kitsu", "stream": "ext://sys.stdout"}},
        "root": {"handlers": ["kitsu"], "level": "WARNING"},
        "loggers": {
            "_granian": {"handlers": ["kitsu"], "level": level.upper(), "propagate": False},
            "sqlalchemy.engine": {"handlers": ["kitsu"], "propagate": False},
        },
    }


def _shared() -> list[Processor]:
    return [
        with_request,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]


def _rendering() -> list[Processor]:
    if sys.stdout.isatty():
        return [structlog.dev.ConsoleRenderer(timestamp_key="time")]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]
