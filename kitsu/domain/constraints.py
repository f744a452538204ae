"""A user's own rows: what becomes of one whose user, anime or episode goes while it is written."""

from collections.abc import Iterator
from contextlib import contextmanager

from advanced_alchemy.exceptions import IntegrityError as RepositoryIntegrityError
from asyncpg import IntegrityConstraintViolationError
from sqlalchemy.exc import IntegrityError

from kitsu.db.errors import violated_constraint
from kitsu.errors import NotFound, Unauthorized


@contextmanager
def translate_foreign_key_errors() -> Iterator[None]:
    """For the writing of a row: the user may be gone (Unauthorized), or what it is about (NotFound)."""
    try:
        yield
    except (IntegrityError, IntegrityConstraintViolationError, RepositoryIntegrityError) as error:
        constraint = violated_constraint(error) or ""
        if constraint.endswith("_user_id_users"):
            raise Unauthorized from error
        if constraint.endswith("_anime_id_anime"):
            raise NotFound("Anime not found") from error
        if constraint.endswith("_episode_id_episodes"):
            raise NotFound("Episode not found") from error
        raise
