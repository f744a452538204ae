"""What it means when an edit of the catalogue violates a constraint."""

from functools import partial

from kitsu.db.errors import ConstraintErrors, translate_constraint_errors
from kitsu.errors import Conflict, NotFound

_ERRORS: ConstraintErrors = {
    **dict.fromkeys(("pk_anime", "pk_releases", "pk_episodes"), partial(Conflict, "It exists already")),
    "pk_external_ids": partial(Conflict, "External id already belongs to another anime"),
    "uq_episodes_release_id": partial(Conflict, "Episode number already exists"),
    "fk_external_ids_anime_id_anime": partial(NotFound, "Anime not found"),
    "fk_releases_anime_id_anime": partial(NotFound, "Anime not found"),
    "fk_episodes_release_id_releases": partial(NotFound, "Release not found"),
}

catalogue_constraints = partial(translate_constraint_errors, _ERRORS)  # context manager for edits of the catalogue
