"""GET /metrics, for Prometheus."""

from typing import Protocol, runtime_checkable

from litestar import Response, get
from litestar.di import NamedDependency

from kitsu.errors import NotFound

MEDIA_TYPE = "text/plain; version=0.0.4"


@runtime_checkable
class Figures(Protocol):
    """Whoever counts."""

    async def text(self) -> bytes:
        """All figures in Prometheus' text format."""


@get("/metrics", include_in_schema=False)
async def get_metrics(metrics: NamedDependency[Figures | None]) -> Response[bytes]:
    """The figures of all workers; not found where nobody counts."""
    if metrics is None:
        raise NotFound
    return Response(await metrics.text(), media_type=MEDIA_TYPE)
