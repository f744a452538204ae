"""The start page."""

from litestar import Controller, get
from litestar.response import Template

from kitsu.domain.operations.overview import OverviewReader


class StartController(Controller):
    path = "/"
    reader: OverviewReader

    @get("/")
    async def show(self) -> Template:
        """Show how much there is."""
        return Template("start.html", context={"counts": await self.reader.counts()})
