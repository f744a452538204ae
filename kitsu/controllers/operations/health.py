"""Health, liveness and readiness."""

from litestar import Controller, Response, get

from kitsu.domain.operations.health import Health, HealthReader, Readiness
from kitsu.web.authentication import PUBLIC
from kitsu.web.openapi import body_of


class HealthController(Controller):
    path = "/health"
    tags = ["Health"]
    opt = PUBLIC
    health: HealthReader

    @get("/", responses={503: body_of(Health, "The database does not respond.")})
    async def get_health(self) -> Response[Health]:
        """Get service health. Whether the service and its database respond."""
        is_healthy = await self.health.database()
        return Response(Health("ok" if is_healthy else "error"), status_code=200 if is_healthy else 503)

    @get("/live")
    async def get_liveness(self) -> Health:
        """Liveness probe. Whether the process responds and is not about to stop. Other parts are not checked, since a
        restart would not repair them.
        """
        return Health("ok")

    @get("/ready", responses={503: body_of(Readiness, "A part is not ready.")})
    async def get_readiness(self) -> Response[Readiness]:
        """Readiness probe. Whether the database has a schema that this version can use, and avatars can be stored."""
        readiness = await self.health.readiness()
        return Response(readiness, status_code=200 if readiness.status == "ok" else 503)
