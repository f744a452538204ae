"""The review queue of imports, and edited fields that differ from the last import."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect, Template

from kitsu.admin.authentication import AdminRequest
from kitsu.admin.forms import Form
from kitsu.admin.lists import page_request, paging
from kitsu.admin.navigation import see
from kitsu.domain.catalogue.history import HistoryReader
from kitsu.domain.catalogue.reviews import NewDecision, ReviewReader, ReviewService, ReviewState
from kitsu.web.guards import EDITS
from kitsu.web.services import service


class ReviewsController(Controller):
    path = "/reviews"
    guards = EDITS
    dependencies = {"reviews": service(ReviewService)}
    reader: ReviewReader
    history: HistoryReader

    @get("/edited-fields")
    async def list_disagreements(self, request: AdminRequest) -> Template:
        """List edited fields that differ from the last import."""
        page = await self.history.disagreements(page_request(request))
        context = {"fields": page.items, "paging": paging(request, page.cursor)}
        return Template("reviews/edited_fields.html", context=context)

    @get("/")
    async def list_reviews(
        self, request: AdminRequest, review_state: Annotated[ReviewState, QueryParameter(name="state")] = "open"
    ) -> Template:
        """List the reviews in a state, oldest first."""
        page = await self.reader.page(review_state, page_request(request))
        context = {"reviews": page.items, "state": review_state, "paging": paging(request, page.cursor)}
        return Template("reviews/list.html", context=context)

    @post("/{review_id:uuid}")
    async def decide(
        self, request: AdminRequest, review_id: FromPath[UUID], reviews: NamedDependency[ReviewService]
    ) -> Redirect:
        """Decide a review."""
        decision = (await Form.read(request)).convert(NewDecision).decision
        await reviews.decide(request.user.user_id, review_id, decision)
        return see("/reviews", done=f"review-{decision}")
