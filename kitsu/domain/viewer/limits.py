"""How much one viewer may store."""

import msgspec


class ViewerLimits(msgspec.Struct, frozen=True):
    """The most rows of a viewer. Lists by anime or episode end with the catalogue."""

    collections: int
    collection_anime: int
    """In all collections together."""
    plays: int
