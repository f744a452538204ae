"""Kitsu, the backend of an anime catalogue and tracking site."""

__version__ = "0.2.0"
