"""What it means when a write of a viewer's rows violates a constraint."""

from collections.abc import Callable, Mapping
from functools import partial

from kitsu.db import models
from kitsu.db.errors import ConstraintErrors, translate_constraint_errors
from kitsu.errors import AppError, Conflict, NotFound, Unauthorized

# What is gone when a row can't refer to it, by its table.
_GONE: Mapping[str, Callable[[], AppError]] = {
    "users": Unauthorized,
    "anime": partial(NotFound, "Anime not found"),
    "episodes": partial(NotFound, "Episode not found"),
    "collections": partial(NotFound, "Collection not found"),
}
_ERRORS: ConstraintErrors = {
    "uq_favorites_user_id": partial(Conflict, "Favorite already exists"),
    "ck_play_counts_most": partial(Conflict, "The history is full: remove plays with DELETE /history/{play_id}"),
    "uq_library_imports_unfinished": partial(Conflict, "Another import of yours waits or runs: see /library/imports"),
    **{
        str(key.name): _GONE[key.referred_table.name]
        for table in models.User.metadata.sorted_tables
        for key in table.foreign_key_constraints
        if key.referred_table.name in _GONE
    },
}

viewer_constraints = partial(translate_constraint_errors, _ERRORS)  # context manager for writes of a viewer's rows
