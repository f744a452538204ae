"""What database errors mean, by PostgreSQL's SQLSTATE: the libraries wrap errors by the driver's classes."""

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import asyncpg
from advanced_alchemy.exceptions import IntegrityError as RepositoryIntegrityError
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from kitsu.errors import AppError

# Connection exceptions, insufficient resources, operator intervention (shutdown, starting up, statement timeout).
_UNAVAILABLE_CLASSES = ("08", "53", "57")
# A read-only server, which a failover leaves; a lock timeout; a serialization failure and a deadlock, which roll the
# transaction back and may be retried; a disk that can't be read or written.
READ_ONLY = "25006"
LOCK_NOT_AVAILABLE = "55P03"
_UNAVAILABLE_STATES = (READ_ONLY, LOCK_NOT_AVAILABLE, "40001", "40P01", "58030")
# asyncpg's errors for a closed connection; the second one if asyncpg itself has already noticed.
_CLOSED = (asyncpg.InterfaceError, asyncpg.InternalClientError)
UNDEFINED_TABLE = "42P01"

ConstraintErrors = Mapping[str, Callable[[], AppError]]
"""Name of a constraint or index to the error that its violation means; the table of an app."""


@contextmanager
def translate_constraint_errors(errors: ConstraintErrors) -> Iterator[None]:
    """Raise the contract's error for a violated constraint. Other errors are not changed."""
    try:
        yield
    except (IntegrityError, asyncpg.IntegrityConstraintViolationError, RepositoryIntegrityError) as error:
        make = errors.get(_driver_attribute(error, "constraint_name") or "")
        if make is None:
            raise
        raise make() from error


def sqlstate(error: BaseException) -> str | None:
    """Return the five-character SQLSTATE of an error or of what it wraps, or None."""
    return _driver_attribute(error, "sqlstate")


def _driver_attribute(error: BaseException, name: str) -> str | None:
    values = (getattr(each, name, None) for each in _chain(error))
    return next((value for value in values if isinstance(value, str)), None)


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and what it wraps, down to the driver's."""
    found: list[BaseException] = []
    current: BaseException | None = error
    # An error may be its own cause.
    while current is not None and not any(current is each for each in found):
        found.append(current)
        current = getattr(current, "orig", None) or current.__cause__
    return found


def cause_of(error: BaseException) -> str:
    """Return the class of the driver's error, with its module. Its text may contain values of users."""
    kind = type(_chain(error)[-1])
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def place_of(error: BaseException) -> str | None:
    """Return the innermost module and line of Kitsu that an error passed."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if (module := str(frame.f_globals.get("__name__"))).startswith("kitsu."):
            found = f"{module}:{line}"
    return found


def is_disconnect(error: BaseException) -> bool:
    """Return whether the connection is lost, rather than the statement refused.

    So is one to a server that no longer accepts writes: after a failover another one does.
    """
    is_closed = isinstance(error, (ConnectionResetError, BrokenPipeError, *_CLOSED)) or _is_invalidated(error)
    return is_closed or (sqlstate(error) or "").startswith(("08", "57P0", READ_ONLY))


def is_unavailable(error: BaseException) -> bool:
    """Return whether the database is away, overloaded or out of reach, so that a later retry may succeed."""
    for each in _chain(error):
        # OSError includes ConnectionError and TimeoutError. A malformed host name is a UnicodeError.
        is_bad_host = isinstance(each, UnicodeError) and "label" in str(each)
        if isinstance(each, (OSError, PoolTimeoutError, *_CLOSED)) or is_bad_host or _is_invalidated(each):
            return True
    state = sqlstate(error) or ""
    return state.startswith(_UNAVAILABLE_CLASSES) or state in _UNAVAILABLE_STATES


def _is_invalidated(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and error.connection_invalidated


def is_bad_value(error: BaseException) -> bool:
    """Return whether the database can't store a value of the request, such as a text with a NUL character."""
    return (sqlstate(error) or "").startswith("22")
