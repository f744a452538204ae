"""GET /health, /health/live and /health/ready."""

from litestar import Controller, Response, get
from litestar.openapi.datastructures import ResponseSpec

from kitsu.domain.operations.health import Health, HealthReader, Readiness
from kitsu.web.authentication import PUBLIC


class HealthController(Controller):
    """What a load balancer or an operator asks."""

    path = "/health"
    tags = ["Health"]
    opt = PUBLIC
    health: HealthReader

    @get("/", responses={503: ResponseSpec(Health, description="The database is away.", generate_examples=False)})
    async def get_health(self) -> Response[Health]:
        """Get service health.

        Whether the service and its database respond.
        """
        well = await self.health.database()
        return Response(Health("ok" if well else "error"), status_code=200 if well else 503)

    @get("/live")
    async def get_liveness(self) -> Health:
        """Liveness probe.

        Whether the process responds. It checks no other part, since a restart would not repair one.
        """
        return Health("ok")

    @get(
        "/ready", responses={503: ResponseSpec(Readiness, description="A part is not ready.", generate_examples=False)}
    )
    async def get_readiness(self) -> Response[Readiness]:
        """Readiness probe.

        Whether the database responds and has the schema of this version, and avatars can be stored.
        """
        readiness = await self.health.readiness()
        return Response(readiness, status_code=200 if readiness.status == "ok" else 503)
