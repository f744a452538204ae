"""What a database error means: by PostgreSQL's SQLSTATE, since the libraries wrap errors by the driver's classes."""

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# Connection exceptions, insufficient resources, operator intervention (shutdown, starting up, statement timeout).
_AWAY_CLASSES = ("08", "53", "57")
# What asyncpg says of a connection that was closed under it; the second one when it has heard of that already, and of
# nothing more.
_CLOSED = (asyncpg.InterfaceError, asyncpg.InternalClientError)
# A read-only server, which a failover leaves; a lock timeout; a serialization failure and a deadlock, which undo the
# transaction and are gone when it is tried again; a disk that can't be read or written.
_AWAY_STATES = ("25006", "55P03", "40001", "40P01", "58030")


def sqlstate(error: BaseException) -> str | None:
    """The five-character SQLSTATE behind an error, at whatever depth it is wrapped."""
    return _of_driver(error, "sqlstate")


def violated_constraint(error: BaseException) -> str | None:
    """The name of the constraint or index that an error of class 23 is about."""
    return _of_driver(error, "constraint_name")


def _of_driver(error: BaseException, name: str) -> str | None:
    values = (getattr(each, name, None) for each in _chain(error))
    return next((value for value in values if isinstance(value, str)), None)


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and what it wraps, down to the driver's."""
    found: list[BaseException] = []
    current: BaseException | None = error
    # Nothing keeps an error from being its own cause, and following that would never end.
    while current is not None and not any(current is each for each in found):
        found.append(current)
        current = getattr(current, "orig", None) or current.__cause__
    return found


def is_disconnect(error: BaseException) -> bool:
    """Whether the connection is gone, rather than the statement refused."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if isinstance(error, (ConnectionResetError, BrokenPipeError, *_CLOSED)):
        return True
    return (sqlstate(error) or "").startswith(("08", "57P0"))


def is_unavailable(error: BaseException) -> bool:
    """Return whether the database is away, overloaded or out of reach, so that the same request may succeed later."""
    for each in _chain(error):
        # OSError has ConnectionError and TimeoutError under it; a host that is no name is a UnicodeError.
        if isinstance(each, (OSError, PoolTimeoutError, *_CLOSED)) or _is_bad_host(each):
            return True
        if isinstance(each, DBAPIError) and each.connection_invalidated:
            return True
    state = sqlstate(error) or ""
    return state.startswith(_AWAY_CLASSES) or state in _AWAY_STATES


def _is_bad_host(error: BaseException) -> bool:
    return isinstance(error, UnicodeError) and "label" in str(error)


def is_bad_value(error: BaseException) -> bool:
    """Whether a value of the request is one that the database can't hold, such as a text with a NUL in it."""
    return (sqlstate(error) or "").startswith("22")
