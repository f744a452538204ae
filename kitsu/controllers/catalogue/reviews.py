"""The review queue of imports."""

from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from kitsu.domain.catalogue.reviews import NewDecision, Review, ReviewReader, ReviewService, ReviewState
from kitsu.domain.pagination import PageRequest
from kitsu.errors import Conflict, NotFound
from kitsu.web.guards import EDITS
from kitsu.web.openapi import errors, query
from kitsu.web.pagination import LIST_HEADERS, PAGES, page_response, refuse_null
from kitsu.web.request import ViewerRequest
from kitsu.web.services import service
from kitsu.web.validation import read_filters


class ReviewController(Controller):
    path = "/import-reviews"
    tags = ["Catalogue"]
    dependencies = {"reviews": service(ReviewService)}
    reader: ReviewReader

    @get("/", guards=EDITS, before_request=read_filters, dependencies=PAGES, response_headers=LIST_HEADERS)
    async def list_import_reviews(
        self,
        request: ViewerRequest,
        page_request: NamedDependency[PageRequest],
        review_state: Annotated[
            ReviewState, query("The state of the reviews.", title="ReviewState", name="state")
        ] = "open",
    ) -> Response[list[Review]]:
        """List import reviews. Oldest first; those that are open by default."""
        refuse_null(request, "state")
        return page_response(request, await self.reader.page(review_state, page_request))

    @post("/{review_id:str}", status_code=200, guards=EDITS, responses=errors(NotFound, Conflict))
    async def decide_import_review(
        self,
        request: ViewerRequest,
        review_id: FromPath[UUID],
        data: JSONBody[NewDecision],
        reviews: NamedDependency[ReviewService],
    ) -> Review:
        """Decide an import review. Imports do not ask again for the same difference."""
        return await reviews.decide(request.user.user_id, review_id, data.decision)
