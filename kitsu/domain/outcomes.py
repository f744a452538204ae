"""Counters of how an operation ends."""

from collections.abc import Iterator
from contextlib import contextmanager


class Outcomes:
    """Counts successes, and errors by their class; errors of other classes are not counted."""

    def __init__(self, success: str, **errors: type[Exception]) -> None:
        """Each outcome has a name."""
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
                self.counts[name] += isinstance(error, kind)
            raise
        self.counts[self._success] += 1
