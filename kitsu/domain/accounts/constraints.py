"""What it means when a write of an account violates a constraint."""

from functools import partial

from kitsu.domain.constraints import ConstraintErrors, translate_constraint_errors
from kitsu.errors import BadRequest


class UsernameTaken(BadRequest):
    """Another user has this name."""

    message = "Username already taken"


_email_taken = partial(BadRequest, "Email already registered")
_ERRORS: ConstraintErrors = {
    "uq_users_email": _email_taken,
    "uq_users_email_lower": _email_taken,
    "uq_users_username_lower": UsernameTaken,
}

account_constraints = partial(translate_constraint_errors, _ERRORS)
"""Context manager for writes of accounts."""
