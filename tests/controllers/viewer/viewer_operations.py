"""The viewer operations by their ids in /openapi.json: path, and statuses beside 401, 500 and 503."""

VIEWER = {
    "listFavorites": ("/favorites", {"200", "422"}),
    "addFavorite": ("/favorites", {"201", "403", "404", "409", "422"}),
    "removeFavorite": ("/favorites/{anime_id}", {"204", "403", "422"}),
    "listWatchProgress": ("/watch/progress", {"200", "422"}),
    "postWatchProgress": ("/watch/progress", {"200", "400", "403", "404", "409", "422", "429"}),
    "postWatchProgressBatch": ("/watch/progress/batch", {"200", "403", "409", "413", "422", "429"}),
    "removeWatchProgress": ("/watch/progress/{anime_id}", {"204", "403", "422"}),
    "listContinueWatching": ("/watch/continue", {"200", "422"}),
    "hideFromContinueWatching": ("/watch/continue/{anime_id}", {"204", "403", "422"}),
    "listViews": ("/views", {"200", "422"}),
    "postView": ("/views", {"201", "400", "403", "404", "409", "422", "429"}),
    "clearViews": ("/views", {"204", "403"}),
    "removeView": ("/views/{view_id}", {"204", "403", "404", "422"}),
    "listPlays": ("/history", {"200", "422"}),
    "clearPlays": ("/history", {"204", "403"}),
    "removePlay": ("/history/{play_id}", {"204", "403", "404", "422"}),
    "addCollection": ("/collections", {"201", "403", "409", "422"}),
    "changeCollection": ("/collections/{collection_id}", {"200", "403", "404", "412", "422"}),
    "orderCollection": ("/collections/{collection_id}/order", {"200", "403", "404", "412", "413", "422", "429"}),
    "removeCollection": ("/collections/{collection_id}", {"204", "403", "404", "412", "422"}),
    "putCollectionAnime": ("/collections/{collection_id}/anime/{anime_id}", {"204", "403", "404", "409", "412", "422"}),
    "removeCollectionAnime": ("/collections/{collection_id}/anime/{anime_id}", {"204", "403", "404", "412", "422"}),
    "listLibrary": ("/library", {"200", "422"}),
    "getLibraryEntry": ("/library/{anime_id}", {"200", "404", "422"}),
    "putLibraryEntry": ("/library/{anime_id}", {"200", "403", "404", "412", "422"}),
    "changeLibraryEntry": ("/library/{anime_id}", {"200", "403", "404", "412", "422"}),
    "importLibrary": ("/library/import", {"200", "202", "403", "409", "413", "422", "429"}),
    "listLibraryImports": ("/library/imports", {"200", "422"}),
    "getLibraryImport": ("/library/imports/{import_id}", {"200", "404", "422"}),
    "listImportedRows": ("/library/imports/{import_id}/rows", {"200", "404", "422"}),
    "downloadNotImported": ("/library/imports/{import_id}/not-imported", {"200", "404", "422"}),
    "removeLibraryEntry": ("/library/{anime_id}", {"204", "403", "412", "422"}),
    "exportLibrary": ("/library/export", {"200", "422"}),
    "exportMe": ("/users/me/export", {"200"}),
    "getStatistics": ("/users/me/statistics", {"200"}),
}
LIMITED = {"postWatchProgress", "postWatchProgressBatch", "postView", "addCollection", "putCollectionAnime"}
"""Operations with a 409 when the viewer has as many rows as allowed."""
GUESTS_TOO = {
    "listCollections": ("/collections", {"200", "422"}),
    "getCollection": ("/collections/{collection_id}", {"200", "404", "422"}),
    "listCollectionAnime": ("/collections/{collection_id}/anime", {"200", "404", "422"}),
}
EVERYONE = {
    "getProfile": ("/profiles/{username}", {"200", "404"}),
    "listProfileLibrary": ("/profiles/{username}/library", {"200", "404", "422"}),
}
"""Operations that ignore a token."""
BODIES = {
    *("addFavorite", "postWatchProgress", "postWatchProgressBatch", "postView", "addCollection", "changeCollection"),
    *("putLibraryEntry", "changeLibraryEntry", "orderCollection"),
}
"""Operations with a JSON body."""
FORMS = {
    "changeMe": {"application/json", "multipart/form-data", "application/x-www-form-urlencoded"},
    "importLibrary": {
        *("application/json", "application/xml", "text/csv"),
        *("application/gzip", "application/zip", "multipart/form-data"),
    },
}
