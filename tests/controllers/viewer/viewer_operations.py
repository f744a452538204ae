"""The viewer operations by their ids in /openapi.json: path, and statuses beside 401, 500 and 503."""

VIEWER = {
    "listFavorites": ("/favorites", {"200", "422"}),
    "addFavorite": ("/favorites", {"201", "403", "404", "409", "422"}),
    "removeFavorite": ("/favorites/{anime_id}", {"204", "403", "422"}),
    "listWatchProgress": ("/watch/progress", {"200", "422"}),
    "postWatchProgress": ("/watch/progress", {"200", "400", "403", "404", "422"}),
    "listContinueWatching": ("/watch/continue", {"200", "422"}),
    "hideFromContinueWatching": ("/watch/continue/{anime_id}", {"204", "403", "422"}),
    "listViews": ("/views", {"200", "422"}),
    "postView": ("/views", {"201", "403", "404", "422"}),
    "clearViews": ("/views", {"204", "403"}),
    "removeView": ("/views/{view_id}", {"204", "403", "404", "422"}),
    "addCollection": ("/collections", {"201", "403", "422"}),
    "changeCollection": ("/collections/{collection_id}", {"200", "403", "404", "412", "422"}),
    "removeCollection": ("/collections/{collection_id}", {"204", "403", "404", "412", "422"}),
    "putCollectionAnime": ("/collections/{collection_id}/anime/{anime_id}", {"204", "403", "404", "412", "422"}),
    "removeCollectionAnime": ("/collections/{collection_id}/anime/{anime_id}", {"204", "403", "404", "412", "422"}),
    "listLibrary": ("/library", {"200", "422"}),
    "getLibraryEntry": ("/library/{anime_id}", {"200", "404", "422"}),
    "putLibraryEntry": ("/library/{anime_id}", {"200", "403", "404", "412", "422"}),
    "removeLibraryEntry": ("/library/{anime_id}", {"204", "403", "412", "422"}),
    "importLibrary": ("/library/import", {"200", "403", "413", "422"}),
    "exportLibrary": ("/library/export", {"200", "422"}),
    "exportMe": ("/users/me/export", {"200"}),
}
GUESTS_TOO = {
    "listCollections": ("/collections", {"200", "422"}),
    "getCollection": ("/collections/{collection_id}", {"200", "404", "422"}),
    "listCollectionAnime": ("/collections/{collection_id}/anime", {"200", "404", "422"}),
}
BODIES = {"addFavorite", "postWatchProgress", "postView", "addCollection", "changeCollection", "putLibraryEntry"}
"""Operations with a JSON body."""
FORMS = {
    "changeMe": {"application/json", "multipart/form-data", "application/x-www-form-urlencoded"},
    "importLibrary": {"application/json", "application/xml", "application/gzip", "multipart/form-data"},
}
