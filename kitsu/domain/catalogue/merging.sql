-- The statements of merges, which merging.py runs by the names of their sections. `$1` is the anime that is merged, `$2`
-- the anime that it becomes, `$3` the merge. `now()` is the same in all of them: a row whose `updated_at` is still the
-- `result_at` of a saved row was not changed since.

-- name: lock
-- What viewers have of both, so that a change meanwhile is not lost; in the order in which viewers' requests lock.
WITH progress AS (
    SELECT FROM watch_progress p WHERE anime_id IN ($1, $2)
       AND EXISTS (SELECT FROM watch_progress o WHERE o.user_id = p.user_id AND o.anime_id = $1)
    ORDER BY user_id, anime_id FOR UPDATE
)
SELECT count(*) FROM progress

-- name: lock_library
WITH entries AS (
    SELECT FROM library_entries l WHERE anime_id IN ($1, $2)
       AND EXISTS (SELECT FROM library_entries o WHERE o.user_id = l.user_id AND o.anime_id = $1)
    ORDER BY user_id, anime_id FOR UPDATE
)
SELECT count(*) FROM entries

-- name: lock_collections
WITH locked AS (
    SELECT FROM collections WHERE id IN (SELECT collection_id FROM collection_items WHERE anime_id = $1)
    ORDER BY id FOR UPDATE
)
SELECT count(*) FROM locked

-- name: favorites
WITH old AS (
    DELETE FROM favorites WHERE anime_id = $1 RETURNING *
), saved AS (
    INSERT INTO merged_rows (merge_id, kind, user_id, old_row, into_row)
    SELECT $3, 'favorites', o.user_id, to_jsonb(o), to_jsonb(i)
    FROM old o LEFT JOIN favorites i ON i.user_id = o.user_id AND i.anime_id = $2
    RETURNING into_row
), moved AS (
    INSERT INTO favorites (id, user_id, anime_id, created_at, updated_at)
    SELECT gen_random_uuid(), user_id, $2, created_at, now() FROM old
    ON CONFLICT (user_id, anime_id) DO NOTHING
)
SELECT count(*) FILTER (WHERE into_row IS NULL) AS moved, count(into_row) AS combined FROM saved

-- name: watch_progress
-- A row that the viewer adds meanwhile is the newest, and stays as it is.
WITH old AS (
    DELETE FROM watch_progress WHERE anime_id = $1 RETURNING *
), pairs AS (
    SELECT ROW (o.*)::watch_progress AS old, i AS into_row
    FROM old o LEFT JOIN watch_progress i ON i.user_id = o.user_id AND i.anime_id = $2
), saved AS (
    INSERT INTO merged_rows (merge_id, kind, user_id, old_row, into_row)
    SELECT $3, 'watch_progress', (old).user_id, to_jsonb(old), to_jsonb(into_row) FROM pairs
    RETURNING into_row
), moved AS (
    INSERT INTO watch_progress AS p (id, user_id, anime_id, episode, position_seconds, progress_percent, created_at,
                                     last_watched_at, updated_at, hidden)
    SELECT gen_random_uuid(), (old).user_id, $2, further.episode, further.position_seconds, further.progress_percent,
           least((old).created_at, (into_row).created_at), newer.last_watched_at, now(), newer.hidden
    FROM pairs,
         LATERAL (SELECT e.* FROM (VALUES (old), (into_row)) v(r), LATERAL (SELECT (r).*) e
                  ORDER BY e.episode DESC NULLS LAST, e.progress_percent DESC NULLS LAST,
                           e.position_seconds DESC NULLS LAST LIMIT 1) further,
         LATERAL (SELECT e.* FROM (VALUES (old), (into_row)) v(r), LATERAL (SELECT (r).*) e
                  ORDER BY e.last_watched_at DESC NULLS LAST LIMIT 1) newer
    ON CONFLICT (user_id, anime_id) DO UPDATE
    SET (episode, position_seconds, progress_percent, created_at, last_watched_at, updated_at, hidden) = ROW (
        excluded.episode, excluded.position_seconds, excluded.progress_percent, excluded.created_at,
        excluded.last_watched_at, excluded.updated_at, excluded.hidden
    )
    WHERE (p.id, p.updated_at) IN (SELECT (into_row).id, (into_row).updated_at FROM pairs)
)
SELECT count(*) FILTER (WHERE into_row IS NULL) AS moved, count(into_row) AS combined FROM saved

-- name: library_entries
-- The newer entry says what it says; where it has nothing, the other one does. Notes of both are kept.
WITH old AS (
    DELETE FROM library_entries WHERE anime_id = $1 RETURNING *
), pairs AS (
    SELECT ROW (o.*)::library_entries AS old, i AS into_row
    FROM old o LEFT JOIN library_entries i ON i.user_id = o.user_id AND i.anime_id = $2
), saved AS (
    INSERT INTO merged_rows (merge_id, kind, user_id, old_row, into_row)
    SELECT $3, 'library_entries', (old).user_id, to_jsonb(old), to_jsonb(into_row) FROM pairs
    RETURNING into_row
), moved AS (
    INSERT INTO library_entries AS l (id, user_id, anime_id, status, score, notes, episodes_watched, started_on,
                                      completed_on, times_rewatched, is_rewatching, tags, status_set_at,
                                      episodes_set_at, version, created_at, updated_at)
    SELECT gen_random_uuid(), n.user_id, $2, n.status, coalesce(n.score, o.score),
           CASE WHEN o.notes = n.notes THEN n.notes
                ELSE left(nullif(concat_ws(E'\n\n', n.notes, o.notes), ''), 10000) END,
           greatest(n.episodes_watched, o.episodes_watched), least(n.started_on, o.started_on),
           coalesce(n.completed_on, o.completed_on), greatest(n.times_rewatched, o.times_rewatched), n.is_rewatching,
           coalesce(n.tags, o.tags), n.status_set_at, greatest(n.episodes_set_at, o.episodes_set_at),
           coalesce((into_row).version, (old).version) + 1, least(n.created_at, o.created_at),
           now()
    FROM pairs,
         LATERAL (SELECT coalesce((old).updated_at > (into_row).updated_at, true) AS old_is_newer) c,
         LATERAL (SELECT (CASE WHEN old_is_newer THEN old ELSE into_row END).*) n,
         LATERAL (SELECT (CASE WHEN old_is_newer THEN into_row ELSE old END).*) o
    ON CONFLICT (user_id, anime_id) DO UPDATE
    SET (status, score, notes, episodes_watched, started_on, completed_on, times_rewatched, is_rewatching, tags,
         status_set_at, episodes_set_at, version, created_at, updated_at) = ROW (
        excluded.status, excluded.score, excluded.notes, excluded.episodes_watched, excluded.started_on,
        excluded.completed_on, excluded.times_rewatched, excluded.is_rewatching, excluded.tags, excluded.status_set_at,
        excluded.episodes_set_at, excluded.version, excluded.created_at, excluded.updated_at
    )
)
SELECT count(*) FILTER (WHERE into_row IS NULL) AS moved, count(into_row) AS combined FROM saved

-- name: collection_items
WITH old AS (
    DELETE FROM collection_items WHERE anime_id = $1 RETURNING *
), saved AS (
    INSERT INTO merged_rows (merge_id, kind, user_id, old_row, into_row)
    SELECT $3, 'collection_items', c.user_id, to_jsonb(o), to_jsonb(i)
    FROM old o JOIN collections c ON c.id = o.collection_id
         LEFT JOIN collection_items i ON i.collection_id = o.collection_id AND i.anime_id = $2
    RETURNING into_row
), moved AS (
    INSERT INTO collection_items (user_id, collection_id, anime_id, position, added_at)
    SELECT user_id, collection_id, $2, position, added_at FROM old
    ON CONFLICT DO NOTHING
)
SELECT count(*) FILTER (WHERE into_row IS NULL) AS moved, count(into_row) AS combined FROM saved

-- name: plays
WITH moved AS (
    UPDATE plays SET anime_id = $2 WHERE anime_id = $1 RETURNING id, user_id
)
INSERT INTO merged_rows (merge_id, kind, user_id, old_row)
SELECT $3, 'plays', user_id, jsonb_agg(id) FROM moved GROUP BY user_id

-- name: anime
-- The catalogue's own rows; what was moved is returned for an undo.
WITH old AS (
    INSERT INTO merged_rows (merge_id, kind, old_row) SELECT $3, 'anime', to_jsonb(a) FROM anime a WHERE id = $1
), import AS (
    INSERT INTO merged_rows (merge_id, kind, old_row)
    SELECT $3, 'catalogue_imports', to_jsonb(i) FROM catalogue_imports i WHERE anime_id = $1
), moved_releases AS (
    UPDATE releases SET anime_id = $2 WHERE anime_id = $1 RETURNING id
), moved_ids AS (
    UPDATE external_ids SET anime_id = $2 WHERE anime_id = $1 RETURNING provider || ':' || external_id AS id
), titles AS (
    SELECT name FROM anime a, unnest(ARRAY[a.title, a.title_original] || a.synonyms) name
    WHERE a.id = $1 AND name IS NOT NULL
    EXCEPT
    SELECT name FROM anime b, unnest(ARRAY[b.title, b.title_original] || b.synonyms) name WHERE b.id = $2
), retitled AS (
    UPDATE anime SET synonyms = synonyms || ARRAY(SELECT name FROM titles ORDER BY name), updated_at = now()
    WHERE id = $2
)
SELECT ARRAY(SELECT id::text FROM moved_releases) AS releases, ARRAY(SELECT id FROM moved_ids) AS external_ids,
       ARRAY(SELECT name FROM titles ORDER BY name) AS titles

-- name: become
-- Anime that became this one earlier become the other one with it.
UPDATE anime_merges SET current_id = $2 WHERE current_id = $1 AND undone_at IS NULL

-- name: restore_catalogue
WITH moved_back AS (
    UPDATE releases SET anime_id = $1
    FROM anime_merges m WHERE m.id = $3 AND anime_id = $2 AND m.moved->'releases' ? releases.id::text
), ids AS (
    UPDATE external_ids SET anime_id = $1
    FROM anime_merges m
    WHERE m.id = $3 AND anime_id = $2 AND m.moved->'external_ids' ? (provider || ':' || external_id)
), retitled AS (
    UPDATE anime SET updated_at = now(), synonyms = ARRAY(
        SELECT s FROM unnest(synonyms) WITH ORDINALITY u(s, n) WHERE NOT m.moved->'titles' ? s ORDER BY n
    )
    FROM anime_merges m WHERE m.id = $3 AND anime.id = $2
)
INSERT INTO catalogue_imports
SELECT i.* FROM merged_rows m, jsonb_populate_record(NULL::catalogue_imports, m.old_row) i
WHERE m.merge_id = $3 AND m.kind = 'catalogue_imports'
  AND (i.release_id IS NULL OR EXISTS (SELECT FROM releases r WHERE r.id = i.release_id))

-- name: keep_unchanged
-- Rows that other merges left come back as they were then: those merges can still be undone.
UPDATE merged_rows e SET result_at = now()
FROM merged_rows m, anime_merges n
WHERE m.merge_id = $3 AND n.into_id IN ($1, $2) AND n.id <> $3 AND n.undone_at IS NULL
  AND e.merge_id = n.id AND e.kind = m.kind AND e.user_id = m.user_id
  AND e.result_at = ((CASE n.into_id WHEN $1 THEN m.old_row ELSE m.into_row END)->>'updated_at')::timestamptz

-- name: restore_plays
UPDATE plays SET anime_id = $1
FROM merged_rows m, jsonb_array_elements_text(m.old_row) moved
WHERE m.merge_id = $3 AND m.kind = 'plays' AND plays.user_id = m.user_id AND plays.id = moved::uuid
  AND plays.anime_id = $2

-- name: restore_favorites
-- A viewer who removed or changed a moved row since has decided about both anime.
WITH saved AS (
    SELECT m.into_row, m.result_at, r.* FROM merged_rows m, jsonb_populate_record(NULL::favorites, m.old_row) r
    WHERE m.merge_id = $3 AND m.kind = 'favorites'
), undone AS (
    DELETE FROM favorites f USING saved s
    WHERE s.into_row IS NULL AND f.user_id = s.user_id AND f.anime_id = $2 AND f.updated_at = s.result_at
    RETURNING f.user_id
)
INSERT INTO favorites (id, user_id, anime_id, created_at)
SELECT gen_random_uuid(), user_id, $1, created_at FROM saved
WHERE into_row IS NOT NULL OR user_id IN (SELECT user_id FROM undone)

-- name: restore_watch_progress
WITH saved AS (
    SELECT m.into_row, m.result_at, r.* FROM merged_rows m, jsonb_populate_record(NULL::watch_progress, m.old_row) r
    WHERE m.merge_id = $3 AND m.kind = 'watch_progress'
), undone AS (
    DELETE FROM watch_progress p USING saved s
    WHERE s.into_row IS NULL AND p.user_id = s.user_id AND p.anime_id = $2 AND p.updated_at = s.result_at
    RETURNING p.user_id
), restored AS (
    UPDATE watch_progress p
    SET (episode, position_seconds, progress_percent, created_at, last_watched_at, updated_at, hidden) = ROW (
        i.episode, i.position_seconds, i.progress_percent, i.created_at, i.last_watched_at, now(), i.hidden
    )
    FROM saved s, jsonb_populate_record(NULL::watch_progress, s.into_row) i
    WHERE s.into_row IS NOT NULL AND p.user_id = s.user_id AND p.anime_id = $2 AND p.updated_at = s.result_at
)
INSERT INTO watch_progress (id, user_id, anime_id, episode, position_seconds, progress_percent, created_at,
                            last_watched_at, hidden)
SELECT gen_random_uuid(), user_id, $1, episode, position_seconds, progress_percent, created_at, last_watched_at, hidden
FROM saved WHERE into_row IS NOT NULL OR user_id IN (SELECT user_id FROM undone)

-- name: restore_library_entries
WITH saved AS (
    SELECT m.into_row, m.result_at, r.* FROM merged_rows m, jsonb_populate_record(NULL::library_entries, m.old_row) r
    WHERE m.merge_id = $3 AND m.kind = 'library_entries'
), undone AS (
    DELETE FROM library_entries l USING saved s
    WHERE s.into_row IS NULL AND l.user_id = s.user_id AND l.anime_id = $2 AND l.updated_at = s.result_at
    RETURNING l.user_id
), restored AS (
    UPDATE library_entries l
    SET (status, score, notes, episodes_watched, started_on, completed_on, times_rewatched, is_rewatching, tags,
         status_set_at, episodes_set_at, version, created_at, updated_at) = ROW (
        i.status, i.score, i.notes, i.episodes_watched, i.started_on, i.completed_on, i.times_rewatched,
        i.is_rewatching, i.tags, coalesce(i.status_set_at, now()), i.episodes_set_at, l.version + 1, i.created_at, now()
    )
    FROM saved s, jsonb_populate_record(NULL::library_entries, s.into_row) i
    WHERE s.into_row IS NOT NULL AND l.user_id = s.user_id AND l.anime_id = $2 AND l.updated_at = s.result_at
)
INSERT INTO library_entries (id, user_id, anime_id, status, score, notes, episodes_watched, started_on, completed_on,
                             times_rewatched, is_rewatching, tags, status_set_at, episodes_set_at, version, created_at)
SELECT gen_random_uuid(), user_id, $1, status, score, notes, episodes_watched, started_on, completed_on, times_rewatched,
       is_rewatching, tags, coalesce(status_set_at, now()), episodes_set_at, version + 1, created_at
FROM saved WHERE into_row IS NOT NULL OR user_id IN (SELECT user_id FROM undone)

-- name: restore_collection_items
WITH saved AS (
    SELECT m.into_row, c.user_id AS owner, r.*
    FROM merged_rows m, jsonb_populate_record(NULL::collection_items, m.old_row) r
    JOIN collections c ON c.id = r.collection_id
    WHERE m.merge_id = $3 AND m.kind = 'collection_items' ORDER BY c.id FOR UPDATE OF c
), undone AS (
    DELETE FROM collection_items i USING saved s
    WHERE s.into_row IS NULL AND i.collection_id = s.collection_id AND i.anime_id = $2
    RETURNING i.collection_id
), restored AS (
    INSERT INTO collection_items (user_id, collection_id, anime_id, position, added_at)
    SELECT owner, collection_id, $1, position, added_at FROM saved
    WHERE into_row IS NOT NULL OR collection_id IN (SELECT collection_id FROM undone)
    RETURNING collection_id
)
UPDATE collections SET version = version + 1, updated_at = now() WHERE id IN (SELECT collection_id FROM restored)

-- name: forget
-- Ids that became this anime before the merge are its own again.
WITH RECURSIVE older AS (
    SELECT id, from_id FROM anime_merges WHERE into_id = $1 AND undone_at IS NULL
    UNION
    SELECT m.id, m.from_id FROM anime_merges m JOIN older o ON m.into_id = o.from_id WHERE m.undone_at IS NULL
)
UPDATE anime_merges
SET current_id = CASE WHEN id = $2 THEN current_id ELSE $1 END, undone_at = CASE WHEN id = $2 THEN now() END
WHERE id = $2 OR id IN (SELECT id FROM older)
