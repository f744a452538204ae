"""The operations of editors by their ids in /openapi.json: path, and statuses beside 401, 500 and 503."""

EDITING = {
    "addAnime": ("/anime", {"201", "403", "409", "422"}),
    "changeAnime": ("/anime/{anime_id}", {"200", "403", "404", "409", "412", "422"}),
    "removeAnime": ("/anime/{anime_id}", {"200", "403", "404", "412", "422"}),
    "addRelease": ("/releases", {"201", "403", "404", "422"}),
    "changeRelease": ("/releases/{release_id}", {"200", "403", "404", "412", "422"}),
    "removeRelease": ("/releases/{release_id}", {"200", "403", "404", "412", "422"}),
    "addEpisode": ("/episodes", {"201", "403", "404", "409", "422"}),
    "changeEpisode": ("/episodes/{episode_id}", {"200", "403", "404", "409", "412", "422"}),
    "removeEpisode": ("/episodes/{episode_id}", {"200", "403", "404", "412", "422"}),
    "listAnimeHistory": ("/anime/{anime_id}/history", {"200", "403", "404", "422"}),
    "revertAnimeChange": ("/anime/{anime_id}/history/{change_id}/revert", {"200", "403", "404", "409", "422"}),
    "giveFieldToImports": ("/anime/{anime_id}/edited-fields/{field}", {"200", "403", "404", "412", "422"}),
    "mergeAnime": ("/anime/{anime_id}/merge", {"200", "403", "404", "409", "412", "422"}),
    "splitAnime": ("/anime/{anime_id}/split", {"201", "403", "404", "409", "412", "422"}),
    "listMerges": ("/merges", {"200", "403", "422"}),
    "undoMerge": ("/merges/{merge_id}/undo", {"200", "403", "404", "409", "422"}),
    "listImportReviews": ("/import-reviews", {"200", "403", "422"}),
    "decideImportReview": ("/import-reviews/{review_id}", {"200", "403", "404", "409", "422"}),
    "listDisagreements": ("/edited-fields", {"200", "403", "422"}),
}
BODIES = {"mergeAnime", "splitAnime", "decideImportReview"}
"""Operations with a JSON body."""
BODIES |= {f"{verb}{noun}" for verb in ("add", "change") for noun in ("Anime", "Release", "Episode")}
