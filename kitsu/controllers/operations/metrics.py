"""GET /metrics, for Prometheus, where `METRICS_ENABLED` is set."""

from litestar import Controller, Response, get
from litestar.types import Scope

from kitsu.errors import NotFound
from kitsu.observability.metrics import Metrics
from kitsu.web.authentication import PUBLIC


class MetricsController(Controller):
    path = "/metrics"
    opt = PUBLIC
    metrics: Metrics

    @get(include_in_schema=False)
    async def get_metrics(self, scope: Scope) -> Response[bytes]:
        """Get the metrics of all workers. Other spellings of the path are 404: a proxy that blocks it may miss them."""
        if scope["raw_path"] != self.path.encode():
            raise NotFound
        return Response(await self.metrics.text(), media_type="text/plain; version=0.0.4")
