"""Counters of how an operation ends: with success, or with errors of certain classes, the first that fits."""

from collections.abc import Iterator
from contextlib import contextmanager


class Outcomes:
    def __init__(self, success: str, **errors: type[Exception]) -> None:
        self._success = success
        self._errors = errors
        self.counts = dict.fromkeys((success, *errors), 0)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the outcome of the context."""
        try:
            yield
        except Exception as error:
            for name, kind in self._errors.items():
                if isinstance(error, kind):
                    self.counts[name] += 1
                    break
            raise
        self.counts[self._success] += 1
