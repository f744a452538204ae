"""Fields that several Structs on the wire have, and how fields are described in the API description."""

from typing import Annotated, Any

from msgspec import Meta


def described(text: str, *examples: Any, **limits: Any) -> Meta:
    """Return the description, the examples and the limits of a field."""
    return Meta(description=text, examples=list(examples) or None, **limits)


Version = Annotated[int, described('Grows with each change. The `ETag` is `"<id>.<version>"`.', 3)]
Position = Annotated[int, described("The position in seconds.", 431)]
EpisodeNumber = Annotated[int, described("The number of the episode in its release.", 7)]
