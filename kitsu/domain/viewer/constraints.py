"""What it means when a write of a viewer's rows violates a constraint."""

from functools import partial

from kitsu.domain.constraints import ConstraintErrors, translate_constraint_errors
from kitsu.errors import Conflict, NotFound, Unauthorized

_OF_USER = ("collections", "favorites", "idempotency_keys", "library_entries", "views", "watch_progress")
_OF_ANIME = ("collection_items", "favorites", "library_entries", "watch_progress")
_ERRORS: ConstraintErrors = {
    "uq_favorites_user_id": partial(Conflict, "Favorite already exists"),
    "fk_views_episode_id_episodes": partial(NotFound, "Episode not found"),
    **{f"fk_{table}_user_id_users": Unauthorized for table in _OF_USER},
    **{f"fk_{table}_anime_id_anime": partial(NotFound, "Anime not found") for table in _OF_ANIME},
}

viewer_constraints = partial(translate_constraint_errors, _ERRORS)
"""Context manager for writes of a viewer's rows."""
