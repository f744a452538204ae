"""The engine: one pool of connections a process, and how it is set up."""

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT = 2.5
"""Seconds until a database that does not answer counts as away."""


def create_engine(
    url: URL,
    *,
    pool_size: int = 5,
    max_overflow: int = 10,
    pool_recycle: int = 1800,
    pool_pre_ping: bool = False,
    debug: bool = False,
) -> AsyncEngine:
    """Build the engine; it connects on first use. Times in seconds; `debug` logs every statement with its values."""
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_recycle=pool_recycle,
        pool_pre_ping=pool_pre_ping,
        pool_timeout=CONNECT_TIMEOUT,
        echo=debug,
        # What a request asked for does not belong in a log.
        hide_parameters=not debug,
        # Reads run in AUTOCOMMIT; the rollback when their connection goes back would cost them a round trip.
        skip_autocommit_rollback=True,
        connect_args={"timeout": CONNECT_TIMEOUT, "server_settings": {"application_name": "kitsu", "timezone": "UTC"}},
    )
