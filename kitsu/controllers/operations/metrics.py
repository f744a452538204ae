"""GET /metrics, for Prometheus, where `METRICS_ENABLED` is set."""

from litestar import Controller, Response, get

from kitsu.observability.metrics import Metrics
from kitsu.web.authentication import PUBLIC


class MetricsController(Controller):
    path = "/metrics"
    opt = PUBLIC
    metrics: Metrics

    @get(include_in_schema=False)
    async def get_metrics(self) -> Response[bytes]:
        """Get the metrics of all workers."""
        return Response(await self.metrics.text(), media_type="text/plain; version=0.0.4")
