"""Tokens that mails carry. A token is derived from the id of its row, so that it is stored nowhere."""

from base64 import urlsafe_b64encode
from hmac import digest
from uuid import UUID

PURPOSE_PATHS = {
    "verify-email": "/verify-email",
    "reset-password": "/reset-password",
    "change-email": "/change-email",
    "revert-email": "/revert-email",
    "invite": "/register",
    "return": "/return",
}
"""The paths of the front end to which the links of a purpose lead."""


def derive(secret_key: str, token_id: UUID, purpose: str) -> str:
    """Return the token of a row, always the same one. It can't be derived without the secret key."""
    derived = digest(secret_key.encode(), f"account token {purpose} {token_id}".encode(), "sha256")
    return urlsafe_b64encode(derived).rstrip(b"=").decode()
