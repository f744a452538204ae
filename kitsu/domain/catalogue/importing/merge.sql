-- The statements of an import, which merge.py runs by the names of their sections, in this order. It replaces the
-- names in braces: {columns} are those of `anime` that the file has, {blank} is an entry without values.

-- name: create_tables
-- An entry with `number = root` stands for its group; `target` is the anime of the catalogue that the group is.
CREATE TEMP TABLE import_entries (
    number int PRIMARY KEY, anime_id uuid NOT NULL, release_id uuid NOT NULL, root int NOT NULL, fields jsonb NOT NULL,
    sources jsonb NOT NULL, airing jsonb NOT NULL, target uuid
) ON COMMIT DROP;
CREATE TEMP TABLE import_sources (
    number int NOT NULL, provider text NOT NULL, external_id text NOT NULL
) ON COMMIT DROP;
CREATE TEMP TABLE import_links (
    root int NOT NULL, anime_id uuid NOT NULL, ids text[] NOT NULL, PRIMARY KEY (root, anime_id)
) ON COMMIT DROP;
CREATE TEMP TABLE import_contested (provider text NOT NULL, external_id text NOT NULL) ON COMMIT DROP;
CREATE TEMP TABLE import_moves (provider text NOT NULL, external_id text NOT NULL, root int NOT NULL) ON COMMIT DROP;
CREATE TEMP TABLE import_episodes (release_id uuid NOT NULL, first int NOT NULL, last int NOT NULL) ON COMMIT DROP;
CREATE TEMP TABLE import_kept_episodes (anime_id uuid NOT NULL, numbers int[] NOT NULL) ON COMMIT DROP;
CREATE TEMP TABLE import_updated (anime_id uuid NOT NULL) ON COMMIT DROP;
CREATE TEMP TABLE import_changes (
    anime_id uuid NOT NULL, new_release_id uuid NOT NULL, release_id uuid, is_first bool NOT NULL, old jsonb NOT NULL,
    new jsonb NOT NULL, was_sample bool NOT NULL
) ON COMMIT DROP;

-- name: add_sources
INSERT INTO import_sources
SELECT number, source->>0, source->>1 FROM import_entries, jsonb_array_elements(sources) source;
CREATE INDEX ON import_sources (provider, external_id);
ANALYZE import_entries, import_sources;

-- name: spread_roots
WITH shared AS (
    SELECT provider, external_id, min(root) AS root
    FROM import_sources JOIN import_entries USING (number)
    GROUP BY provider, external_id HAVING count(DISTINCT number) > 1
), lowest AS (
    SELECT e.root, min(shared.root) AS lower
    FROM import_sources JOIN shared USING (provider, external_id) JOIN import_entries e USING (number)
    GROUP BY e.root
), spread AS (
    UPDATE import_entries e SET root = lowest.lower FROM lowest WHERE e.root = lowest.root AND lowest.lower < e.root
    RETURNING e.number
)
SELECT count(*) FROM spread

-- name: shorten_roots
-- Each round joins whole groups to others, and then to the roots of those: a chain of n entries, each of which shares
-- a source with the next, takes about log n rounds.
WITH shortened AS (
    UPDATE import_entries e SET root = r.root FROM import_entries r WHERE r.number = e.root AND r.root < e.root
    RETURNING e.number
)
SELECT count(*) FROM shortened

-- name: ungroup
-- Entries that are several anime of the catalogue share a source by mistake: each is one again, and the source is theirs
-- only if an anime has it already. Entries without another source are returned.
WITH mixed AS (
    SELECT e.root FROM import_sources JOIN import_entries e USING (number)
    JOIN external_ids x USING (provider, external_id)
    WHERE e.root IN (SELECT root FROM import_entries WHERE number <> root)
    GROUP BY e.root HAVING count(DISTINCT x.anime_id) > 1
), contested AS (
    SELECT s.provider, s.external_id FROM import_sources s JOIN import_entries e USING (number)
    WHERE e.root IN (SELECT root FROM mixed)
    GROUP BY s.provider, s.external_id HAVING count(DISTINCT number) > 1
), marked AS (
    INSERT INTO import_contested SELECT * FROM contested
), dropped AS (
    DELETE FROM import_sources s USING contested c
    WHERE (s.provider, s.external_id) = (c.provider, c.external_id)
      AND NOT EXISTS (SELECT FROM external_ids x WHERE (x.provider, x.external_id) = (c.provider, c.external_id))
    RETURNING s.number, s.provider, s.external_id
), left_over AS (
    SELECT number FROM import_sources WHERE (number, provider, external_id) NOT IN (SELECT * FROM dropped)
), parted AS (
    UPDATE import_entries SET root = CASE WHEN number IN (SELECT number FROM left_over) THEN number ELSE 0 END
    WHERE root IN (SELECT root FROM mixed)
    RETURNING number, root
)
SELECT number FROM parted WHERE root = 0

-- name: link
INSERT INTO import_links
SELECT e.root, x.anime_id, array_agg(DISTINCT x.provider || ':' || x.external_id)
FROM import_sources JOIN import_entries e USING (number) JOIN external_ids x USING (provider, external_id)
GROUP BY e.root, x.anime_id;
ANALYZE import_links;
-- Two entries that have each other's former titles may have each other's ids by mistake.
WITH renamed AS (
    SELECT l.root, l.anime_id, e.fields->>'title' AS title, i.fields->>'title' AS former
    FROM import_links l JOIN import_entries e ON e.number = l.root JOIN catalogue_imports i ON i.anime_id = l.anime_id
    WHERE e.fields->'title' <> i.fields->'title' AND NOT i.sample
)
INSERT INTO import_links
SELECT a.root, b.anime_id, '{}' FROM renamed a JOIN renamed b ON b.former = a.title AND b.root <> a.root
ON CONFLICT DO NOTHING;

-- name: match
-- Most entries are one anime, and most anime are one entry. The others are returned.
WITH counted AS (
    SELECT *, count(*) OVER (PARTITION BY root) = 1 AND count(*) OVER (PARTITION BY anime_id) = 1 AS is_alone
    FROM import_links
), matched AS (
    UPDATE import_entries e SET target = c.anime_id FROM counted c WHERE c.is_alone AND e.root = c.root
)
SELECT root, anime_id, ids, ARRAY(
    SELECT entity_id FROM (
        SELECT DISTINCT ON (entity_id) entity_id, source FROM catalogue_changes
        WHERE anime_id = c.anime_id AND entity = 'external_id' AND action <> 'delete' AND entity_id = ANY (c.ids)
        ORDER BY entity_id, id DESC
    ) latest WHERE source <> 'import'
) AS by_hand, ARRAY(
    SELECT provider || ':' || external_id FROM import_contested
    WHERE provider || ':' || external_id = ANY (c.ids)
) AS contested
FROM counted c WHERE NOT is_alone

-- name: entries
SELECT number, fields::text FROM import_entries WHERE number = ANY ($1)

-- name: known
SELECT a.id, ARRAY[a.title, i.fields->>'title'] AS titles, a.type, a.year,
       ARRAY(SELECT provider || ':' || external_id FROM external_ids x WHERE x.anime_id = a.id) AS ids
FROM anime a LEFT JOIN catalogue_imports i ON i.anime_id = a.id WHERE a.id = ANY ($1)

-- name: viewers
SELECT (SELECT count(*) FROM (SELECT FROM favorites WHERE anime_id = $1 LIMIT 1000) f)
       + (SELECT count(*) FROM (SELECT FROM library_entries WHERE anime_id = $1 LIMIT 1000) l)

-- name: decided
SELECT key, state FROM import_reviews WHERE md5(key) IN (SELECT md5(k) FROM unnest($1::text[]) k)

-- name: review
INSERT INTO import_reviews (id, kind, key, from_id, from_title, into_id, entry, external_ids, reason)
SELECT $1, $2, $3, a.id, a.title, $5, e.fields, $6, $7 FROM anime a, import_entries e
WHERE a.id = $4 AND e.number = $8
ON CONFLICT (md5(key)) DO UPDATE
SET state = 'open', entry = excluded.entry, reason = coalesce(nullif(excluded.reason, ''), import_reviews.reason)

-- name: close_reviews
-- What the file no longer says, of the ids that it has.
UPDATE import_reviews r SET state = 'closed', decided_at = now()
WHERE state = 'open' AND key <> ALL ($1) AND EXISTS (
    SELECT FROM import_sources s WHERE s.provider || ':' || s.external_id = ANY (r.external_ids)
)

-- name: leave_out_deleted
-- What belongs to no anime of the catalogue, but to one that an editor deleted, stays deleted.
WITH deleted AS (
    SELECT DISTINCT e.root FROM import_entries e JOIN import_sources s USING (number)
    JOIN catalogue_changes c
      ON c.entity = 'external_id' AND c.action = 'delete' AND c.entity_id = s.provider || ':' || s.external_id
    JOIN catalogue_changes a
      ON a.anime_id = c.anime_id AND a.change_set = c.change_set AND a.made_at = c.made_at
     AND a.entity = 'anime' AND a.action = 'delete' AND a.source = 'edit'
    WHERE e.target IS NULL AND e.root > 0
), left_out AS (
    UPDATE import_entries e SET root = 0 FROM deleted WHERE e.root = deleted.root RETURNING e.number
)
SELECT count(*) FROM left_out

-- name: merge
DELETE FROM import_sources USING import_entries e WHERE e.number = import_sources.number AND e.root = 0;
DELETE FROM import_entries WHERE root = 0;

-- A microsecond apart, so that "newest first" is the file's own order, which begins with what most people look for.
WITH new AS (
    SELECT number, anime_id, release_id, now() - number * interval '1 microsecond' AS created_at, fields
    FROM import_entries WHERE number = root AND target IS NULL
), anime_rows AS (
    INSERT INTO anime (id, created_at, updated_at, {columns})
    SELECT new.anime_id, new.created_at, new.created_at, {columns}
    FROM new, jsonb_populate_record(NULL::anime, new.fields) r
    ORDER BY new.number
), release_rows AS (
    INSERT INTO releases (id, anime_id, title, year, status, created_at)
    SELECT new.release_id, new.anime_id, r.title, r.year, r.status, new.created_at
    FROM new, jsonb_populate_record(NULL::anime, new.fields) r
    ORDER BY new.number
), episode_rows AS (
    INSERT INTO import_episodes
    SELECT release_id, 1, (fields->>'episode_count')::int FROM new WHERE (fields->>'episode_count')::int > 0
    ORDER BY number
)
INSERT INTO catalogue_imports (anime_id, release_id, fields, sample)
SELECT anime_id, release_id, fields, {sample} FROM new;

-- What differs from the last import, or comes for the first time for an anime that an editor made.
INSERT INTO import_changes
SELECT e.target, e.release_id, i.release_id, i.anime_id IS NULL, coalesce(i.fields, {blank}), e.fields,
       coalesce(i.sample, false) AND NOT {sample}
FROM import_entries e LEFT JOIN catalogue_imports i ON i.anime_id = e.target
WHERE e.number = e.root AND e.target IS NOT NULL
  AND (i.fields IS DISTINCT FROM e.fields OR (i.sample AND NOT {sample}));

-- A sample title that became a real one is as new as the others of the file, in the file's order.
UPDATE anime SET created_at = now() - e.number * interval '1 microsecond'
FROM import_changes c JOIN import_entries e ON e.target = c.anime_id AND e.number = e.root
WHERE c.was_sample AND anime.id = c.anime_id;
UPDATE releases SET created_at = anime.created_at
FROM import_changes c JOIN anime ON anime.id = c.anime_id WHERE c.was_sample AND releases.id = c.release_id;

-- A field takes its new value unless it was edited.
WITH updated AS (
    UPDATE anime SET updated_at = now(), ({columns}) = (
        SELECT {columns} FROM jsonb_populate_record(anime, (
            SELECT jsonb_object_agg(key, value) FROM jsonb_each(c.new)
            WHERE value <> coalesce(to_jsonb(anime)->key, 'null') AND key <> ALL (anime.edited_fields)
        ))
    )
    FROM import_changes c
    WHERE anime.id = c.anime_id AND EXISTS (
        SELECT FROM jsonb_each(c.new)
        WHERE value <> coalesce(to_jsonb(anime)->key, 'null') AND key <> ALL (anime.edited_fields)
    )
    RETURNING c.anime_id
)
INSERT INTO import_updated SELECT anime_id FROM updated;
WITH updated AS (
    UPDATE releases SET (title, year, status) = (
        SELECT title, year, status FROM jsonb_populate_record(releases, (
            SELECT jsonb_object_agg(key, value) FROM jsonb_each(c.new)
            WHERE value <> coalesce(to_jsonb(releases)->key, 'null') AND key <> ALL (releases.edited_fields)
        ))
    )
    FROM import_changes c
    WHERE releases.id = c.release_id AND EXISTS (
        SELECT FROM jsonb_each(c.new)
        WHERE key IN ('title', 'year', 'status')
          AND value <> coalesce(to_jsonb(releases)->key, 'null') AND key <> ALL (releases.edited_fields)
    )
    RETURNING c.anime_id
)
INSERT INTO import_updated SELECT anime_id FROM updated;

-- A release for an anime of an editor that has none yet, and the episodes that have come since the last import.
WITH lacking AS (
    SELECT * FROM import_changes c WHERE is_first AND NOT EXISTS (SELECT FROM releases r WHERE r.anime_id = c.anime_id)
), made AS (
    INSERT INTO releases (id, anime_id, title, year, status)
    SELECT l.new_release_id, l.anime_id, r.title, r.year, r.status
    FROM lacking l, jsonb_populate_record(NULL::anime, l.new) r
    RETURNING id, anime_id
), kept AS (
    UPDATE import_changes c SET release_id = made.id FROM made WHERE made.anime_id = c.anime_id
), grown AS (
    INSERT INTO import_episodes
    SELECT coalesce(made.id, c.release_id), coalesce((c.old->>'episode_count')::int, 0) + 1,
           (c.new->>'episode_count')::int
    FROM import_changes c LEFT JOIN made USING (anime_id)
    WHERE coalesce(made.id, c.release_id) IS NOT NULL
      AND (c.new->>'episode_count')::int > coalesce((c.old->>'episode_count')::int, 0)
)
INSERT INTO import_updated SELECT anime_id FROM made;

INSERT INTO catalogue_imports (anime_id, release_id, fields, sample)
SELECT anime_id, release_id, new, {sample} FROM import_changes
ON CONFLICT (anime_id) DO UPDATE SET fields = excluded.fields, sample = excluded.sample;

WITH moved AS (
    UPDATE external_ids x SET anime_id = coalesce(r.target, r.anime_id)
    FROM import_moves m JOIN import_entries r ON r.number = m.root
    WHERE (x.provider, x.external_id) = (m.provider, m.external_id)
    RETURNING x.anime_id
)
INSERT INTO import_updated SELECT anime_id FROM moved;
WITH added AS (
    INSERT INTO external_ids (provider, external_id, anime_id)
    SELECT DISTINCT s.provider, s.external_id, coalesce(r.target, r.anime_id)
    FROM import_sources s JOIN import_entries e USING (number) JOIN import_entries r ON r.number = e.root
    ON CONFLICT DO NOTHING
    RETURNING anime_id
)
INSERT INTO import_updated SELECT anime_id FROM added;

WITH added AS (
    INSERT INTO episodes (id, release_id, number)
    SELECT {new_id}, i.release_id, n FROM import_episodes i, generate_series(i.first, i.last) n
    ON CONFLICT DO NOTHING
    RETURNING release_id
)
INSERT INTO import_updated
SELECT anime_id FROM import_changes WHERE release_id IN (SELECT release_id FROM added);

-- Episodes beyond a smaller number go, unless viewers' history hangs on them or an editor has worked on them.
WITH fewer AS (
    SELECT c.anime_id, c.release_id, (c.new->>'episode_count')::int AS count
    FROM import_changes c JOIN anime a ON a.id = c.anime_id
    WHERE (c.new->>'episode_count')::int < (c.old->>'episode_count')::int AND 'episode_count' <> ALL (a.edited_fields)
), beyond AS (
    SELECT e.id, e.number, f.anime_id,
           e.title IS NOT NULL OR e.airs_at IS DISTINCT FROM e.imported_airs_at AS is_edited
    FROM fewer f JOIN episodes e ON e.release_id = f.release_id AND e.number > f.count
), places AS ( -- arrays: the planner expects few of them, and reads an index
    SELECT array_agg(id) AS ids, array_agg(anime_id) AS anime, array_agg(number) AS numbers FROM beyond
), watched AS (
    SELECT anime_id, episode FROM plays
    WHERE anime_id = ANY ((SELECT anime FROM places)::uuid[]) AND episode = ANY ((SELECT numbers FROM places)::int[])
    UNION SELECT anime_id, episode FROM watch_progress
    WHERE anime_id = ANY ((SELECT anime FROM places)::uuid[]) AND episode = ANY ((SELECT numbers FROM places)::int[])
), surplus AS (
    SELECT id, number, anime_id, (
        is_edited OR (anime_id, number) IN (SELECT anime_id, episode FROM watched)
        OR id IN (SELECT episode_id FROM views WHERE episode_id = ANY ((SELECT ids FROM places)::uuid[]))
    ) AS is_kept
    FROM beyond
), kept AS (
    INSERT INTO import_kept_episodes
    SELECT anime_id, array_agg(number ORDER BY number) FROM surplus WHERE is_kept GROUP BY anime_id
), removed AS (
    DELETE FROM episodes USING surplus s WHERE episodes.id = s.id AND NOT s.is_kept RETURNING s.anime_id
)
INSERT INTO import_updated SELECT anime_id FROM removed;

-- When episodes air, unless an editor has set it otherwise since the last import.
WITH wanted AS (
    SELECT i.anime_id, i.release_id, (pair->>0)::int AS number, to_timestamp((pair->>1)::bigint) AS airs_at
    FROM import_entries e JOIN catalogue_imports i ON i.anime_id = coalesce(e.target, e.anime_id),
         jsonb_array_elements(e.airing) pair
    WHERE e.number = e.root
), timed AS (
    UPDATE episodes e
    SET airs_at = CASE WHEN e.airs_at IS DISTINCT FROM e.imported_airs_at THEN e.airs_at ELSE w.airs_at END,
        imported_airs_at = w.airs_at
    FROM wanted w
    WHERE e.release_id = w.release_id AND e.number = w.number AND e.imported_airs_at IS DISTINCT FROM w.airs_at
    RETURNING w.anime_id
)
INSERT INTO import_updated SELECT anime_id FROM timed;

-- name: kept
SELECT a.title, k.numbers FROM import_kept_episodes k JOIN anime a ON a.id = k.anime_id ORDER BY a.title LIMIT 1000

-- name: count
WITH roots AS (
    SELECT e.target IS NULL AS is_new, coalesce(c.was_sample, false) AS was_sample,
           e.target IN (SELECT anime_id FROM import_updated) AS is_updated
    FROM import_entries e LEFT JOIN import_changes c ON c.anime_id = e.target
    WHERE e.number = e.root
)
SELECT count(*) FILTER (WHERE is_new OR was_sample) AS added,
       count(*) FILTER (WHERE was_sample) AS from_sample,
       count(*) FILTER (WHERE is_updated AND NOT was_sample) AS updated,
       count(*) FILTER (WHERE NOT (is_new OR was_sample OR is_updated)) AS unchanged,
       (SELECT count(*) FROM import_entries WHERE number <> root) AS merged
FROM roots
