"""GET /metrics, for Prometheus."""

from litestar import Controller, Response, get

from kitsu.observability.metrics import Metrics
from kitsu.web.authentication import PUBLIC

MEDIA_TYPE = "text/plain; version=0.0.4"


class MetricsController(Controller):
    """Metrics for Prometheus, registered where `METRICS_ENABLED` is set."""

    path = "/metrics"
    opt = PUBLIC
    metrics: Metrics

    @get(include_in_schema=False)
    async def get_metrics(self) -> Response[bytes]:
        """Metrics of all workers, for Prometheus."""
        return Response(await self.metrics.text(), media_type=MEDIA_TYPE)
