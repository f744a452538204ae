"""The engine: one pool of connections a process, and how it is set up."""

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT = 2.5
"""Seconds until a database that does not answer counts as away."""
SERVER_SETTINGS = {"application_name": "kitsu", "timezone": "UTC"}


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
        connect_args={"timeout": CONNECT_TIMEOUT, "server_settings": SERVER_SETTINGS},
    )
