"""How handlers get the services that write: on the request's session, from the library's Litestar plugin."""

import inspect
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import structlog
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from sqlalchemy.ext.asyncio import AsyncSession

log = structlog.get_logger("kitsu.sql")


async def provide_db_session(plugin_session: NamedDependency[AsyncSession]) -> AsyncIterator[AsyncSession]:
    """Yield the session of the library's plugin, and close it when the handler has returned or failed.

    The plugin closes it as the response begins, and a close that fails, as that of a lost connection, would break the
    response.
    """
    try:
        yield plugin_session
    finally:
        try:
            await plugin_session.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, the connection is of no use any more
            log.warning("session close failed", error=type(error).__name__)
            with suppress(Exception):
                await plugin_session.invalidate()


def service(kind: type[SQLAlchemyAsyncRepositoryService[Any]]) -> Provide:
    """Return the dependency that makes a service for a request.

    The required keyword arguments of the service are taken from `app.state.parts`, by their types.
    """
    wanted = {
        parameter.name: parameter.annotation
        for parameter in inspect.signature(kind, eval_str=True).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    }

    def provide_service(db_session: NamedDependency[AsyncSession], state: State) -> Any:
        parts: Mapping[type, Any] = state.parts
        return kind(db_session, **{name: parts[part] for name, part in wanted.items()})

    return Provide(provide_service, sync_to_thread=False)
