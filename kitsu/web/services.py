"""The dependencies that give handlers their services, on the request's session of advanced-alchemy's plugin."""

import inspect
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import structlog
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from sqlalchemy.ext.asyncio import AsyncSession

from kitsu.observability.bursts import BurstLog

burst_log = BurstLog(structlog.get_logger("kitsu.sql"))


async def provide_db_session(plugin_session: NamedDependency[AsyncSession]) -> AsyncIterator[AsyncSession]:
    """Yield the plugin's session, and close it when the handler has ended.

    The plugin itself closes it when the response begins: a close that fails, on a lost connection, would break it.
    """
    try:
        yield plugin_session
    finally:
        try:
            await plugin_session.close()
        except Exception as error:  # noqa: BLE001 - after any error the connection is of no use
            burst_log.warning("session close failed", error=type(error).__name__)
            with suppress(Exception):
                await plugin_session.invalidate()


def service(kind: type[Any]) -> Provide:
    """Return a service's dependency. Its required keyword arguments are taken from `app.state.parts` by type."""
    wanted = {
        parameter.name: parameter.annotation
        for parameter in inspect.signature(kind, eval_str=True).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    }

    def provide_service(db_session: NamedDependency[AsyncSession], state: State) -> Any:
        return kind(db_session, **{name: state.parts[part] for name, part in wanted.items()})

    return Provide(provide_service, sync_to_thread=False)
