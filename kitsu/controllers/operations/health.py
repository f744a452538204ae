"""GET /health, /health/live and /health/ready."""

from litestar import Controller, Response, get
from litestar.openapi.datastructures import ResponseSpec

from kitsu.domain.operations.health import Health, HealthReader, Readiness
from kitsu.web.authentication import PUBLIC


class HealthController(Controller):
    """What a load balancer or an operator asks."""

    path = "/health"
    tags = ["Health"]  # noqa: RUF012 - Litestar's way to declare
    opt = PUBLIC
    health: HealthReader

    @get(
        "/",
        summary="Is the service well?",
        response_description="It is.",
        responses={503: ResponseSpec(Health, description="The database is away.", generate_examples=False)},
    )
    async def get_health(self) -> Response[Health]:
        """Whether the service and its database answer."""
        well = await self.health.database()
        return Response(Health("ok" if well else "error"), status_code=200 if well else 503)

    @get(
        "/live",
        summary="Is the process alive?",
        response_description="It is.",
    )
    async def get_liveness(self) -> Health:
        """Whether the process answers at all. It asks no other part: a restart would mend none."""
        return Health("ok")

    @get(
        "/ready",
        summary="May requests be sent here?",
        response_description="They may.",
        responses={503: ResponseSpec(Readiness, description="A part is not ready.", generate_examples=False)},
    )
    async def get_readiness(self) -> Response[Readiness]:
        """Whether the database answers and stands at the schema of this version, and pictures can be stored."""
        readiness = await self.health.readiness()
        return Response(readiness, status_code=200 if readiness.status == "ok" else 503)
