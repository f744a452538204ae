"""How handlers get the services that write: on the request's session, from the library's Litestar plugin."""

import inspect
from collections.abc import Mapping
from typing import Any

from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from sqlalchemy.ext.asyncio import AsyncSession

Parts = Mapping[type, Any]
"""What all requests of a process share, by type: `app.state.parts`."""


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
        parts: Parts = state.parts
        return kind(db_session, **{name: parts[part] for name, part in wanted.items()})

    return Provide(provide_service, sync_to_thread=False)
