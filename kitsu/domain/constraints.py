"""From a constraint that a write violates to the error of the contract."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from advanced_alchemy.exceptions import IntegrityError as RepositoryIntegrityError
from asyncpg import IntegrityConstraintViolationError
from sqlalchemy.exc import IntegrityError

from kitsu.db.errors import violated_constraint
from kitsu.errors import AppError

ConstraintErrors = Mapping[str, Callable[[], AppError]]
"""Constraint or index to the error that its violation means; the table of an app."""


@contextmanager
def translate_constraint_errors(errors: ConstraintErrors) -> Iterator[None]:
    """Raise the error of the contract for a violated constraint. Every other error stays as it is."""
    try:
        yield
    except (IntegrityError, IntegrityConstraintViolationError, RepositoryIntegrityError) as error:
        make = errors.get(violated_constraint(error) or "")
        if make is None:
            raise
        raise make() from error
