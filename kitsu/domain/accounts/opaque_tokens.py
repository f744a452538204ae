"""Opaque tokens: those that are derived, so that they are stored nowhere, and the hashes of which are stored."""

from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import digest


def derive_token(secret_key: str, text: str) -> str:
    """Return the token of a text, always the same one. It can't be derived without the secret key."""
    derived = digest(secret_key.encode(), text.encode(), "sha256")
    return urlsafe_b64encode(derived).rstrip(b"=").decode()


def hash_token(token: str) -> str:
    """Return the SHA-256 that is stored in place of a token."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
