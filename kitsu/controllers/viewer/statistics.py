"""GET /users/me/statistics."""

from litestar import Controller, get

from kitsu.domain.viewer.statistics import Statistics, StatisticsReader
from kitsu.web.request import ViewerRequest


class StatisticsController(Controller):
    tags = ["Viewer"]
    reader: StatisticsReader

    @get("/users/me/statistics")
    async def get_statistics(self, request: ViewerRequest) -> Statistics:
        """Get the statistics of the current user. An anime counts with its plays in the history or with the episodes
        that the library has for it, rewatches included, whichever are more. Groups have the anime of the library.
        """
        return await self.reader.read(request.user.user_id)
