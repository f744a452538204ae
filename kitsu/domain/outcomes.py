"""How often something ended how, as plain numbers for whoever wants to know."""

from collections.abc import Iterator
from contextlib import contextmanager


class Outcomes:
    """Counts ends: a good one, and errors of some kinds. Other errors are not counted."""

    def __init__(self, good: str, **errors: type[Exception]) -> None:
        """The names of the ends, with the errors that they are."""
        self._good = good
        self._errors = errors
        self.counts = dict.fromkeys((good, *errors), 0)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count how that ends which is done within."""
        try:
            yield
        except Exception as error:
            for name, kind in self._errors.items():
                self.counts[name] += isinstance(error, kind)
            raise
        self.counts[self._good] += 1
