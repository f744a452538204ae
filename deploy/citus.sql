-- Distributes the rows of viewers over the servers of a Citus cluster, by user. docs/scaling.md has the steps around it.
-- All other tables stay on the coordinator, with their triggers: the notifications of the catalogue are heard there.

\set ON_ERROR_STOP on
BEGIN;

-- Of the versions before 0031, of which none may run any more.
DROP TRIGGER set_user ON collection_items;
DROP TRIGGER set_user ON refresh_tokens;
DROP FUNCTION kitsu_set_user_of_collection_items();
DROP FUNCTION kitsu_set_user_of_refresh_tokens();
ALTER TABLE collection_items DROP CONSTRAINT pk_collection_items;
ALTER TABLE collection_items ADD CONSTRAINT pk_collection_items PRIMARY KEY (user_id, collection_id, anime_id);

-- Distributed rows can't refer to tables of the coordinator. Triggers there delete what belongs to a deleted row.
ALTER TABLE favorites DROP CONSTRAINT fk_favorites_user_id_users, DROP CONSTRAINT fk_favorites_anime_id_anime;
ALTER TABLE watch_progress
    DROP CONSTRAINT fk_watch_progress_user_id_users, DROP CONSTRAINT fk_watch_progress_anime_id_anime;
ALTER TABLE views DROP CONSTRAINT fk_views_user_id_users, DROP CONSTRAINT fk_views_episode_id_episodes;
ALTER TABLE plays DROP CONSTRAINT fk_plays_user_id_users, DROP CONSTRAINT fk_plays_anime_id_anime;
ALTER TABLE play_counts DROP CONSTRAINT fk_play_counts_user_id_users;
ALTER TABLE library_entries
    DROP CONSTRAINT fk_library_entries_user_id_users, DROP CONSTRAINT fk_library_entries_anime_id_anime;
ALTER TABLE collections DROP CONSTRAINT fk_collections_user_id_users;
ALTER TABLE collection_items DROP CONSTRAINT fk_collection_items_anime_id_anime;
ALTER TABLE tombstones DROP CONSTRAINT fk_tombstones_user_id_users;
ALTER TABLE auth_sessions DROP CONSTRAINT fk_auth_sessions_user_id_users;

CREATE FUNCTION kitsu_delete_rows_of_user() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM auth_sessions WHERE user_id = OLD.id;
    DELETE FROM favorites WHERE user_id = OLD.id;
    DELETE FROM watch_progress WHERE user_id = OLD.id;
    DELETE FROM views WHERE user_id = OLD.id;
    DELETE FROM play_counts WHERE user_id = OLD.id;
    DELETE FROM plays WHERE user_id = OLD.id;
    DELETE FROM library_entries WHERE user_id = OLD.id;
    DELETE FROM collections WHERE user_id = OLD.id;
    DELETE FROM tombstones WHERE user_id = OLD.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER delete_rows AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION kitsu_delete_rows_of_user();

CREATE FUNCTION kitsu_delete_rows_of_anime() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM favorites WHERE anime_id = OLD.id;
    DELETE FROM watch_progress WHERE anime_id = OLD.id;
    DELETE FROM plays WHERE anime_id = OLD.id;
    DELETE FROM library_entries WHERE anime_id = OLD.id;
    DELETE FROM collection_items WHERE anime_id = OLD.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER delete_rows AFTER DELETE ON anime FOR EACH ROW EXECUTE FUNCTION kitsu_delete_rows_of_anime();

CREATE FUNCTION kitsu_delete_rows_of_episode() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM views WHERE episode_id = OLD.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER delete_rows AFTER DELETE ON episodes FOR EACH ROW EXECUTE FUNCTION kitsu_delete_rows_of_episode();

-- A trigger of distributed rows runs on a shard, for one row, and needs only rows of the same user: no transition tables,
-- and no TG_TABLE_NAME, which is the shard's.
DROP TRIGGER bury ON favorites;
DROP TRIGGER bury ON watch_progress;
DROP TRIGGER bury ON views;
DROP TRIGGER bury ON collections;
DROP TRIGGER bury ON library_entries;
CREATE OR REPLACE FUNCTION kitsu_bury() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_anime uuid := to_jsonb(OLD) ->> 'anime_id';
BEGIN
    INSERT INTO tombstones (id, user_id, kind, anime_id) VALUES (OLD.id, OLD.user_id, TG_ARGV[0], of_anime);
    -- Of each list the newest ones are kept.
    IF random() < 0.0005 THEN
        DELETE FROM tombstones
        WHERE user_id = OLD.user_id AND kind = TG_ARGV[0] AND (deleted_at, id) <= (
            SELECT t.deleted_at, t.id FROM tombstones t
            WHERE t.user_id = OLD.user_id AND t.kind = TG_ARGV[0]
            ORDER BY t.deleted_at DESC, t.id DESC OFFSET 50000 LIMIT 1
        );
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER bury AFTER DELETE ON favorites FOR EACH ROW EXECUTE FUNCTION kitsu_bury('favorites');
CREATE TRIGGER bury AFTER DELETE ON watch_progress FOR EACH ROW EXECUTE FUNCTION kitsu_bury('watch_progress');
CREATE TRIGGER bury AFTER DELETE ON views FOR EACH ROW EXECUTE FUNCTION kitsu_bury('views');
CREATE TRIGGER bury AFTER DELETE ON collections FOR EACH ROW EXECUTE FUNCTION kitsu_bury('collections');
CREATE TRIGGER bury AFTER DELETE ON library_entries FOR EACH ROW EXECUTE FUNCTION kitsu_bury('library_entries');

DROP TRIGGER change_collections ON collection_items;
CREATE OR REPLACE FUNCTION kitsu_change_collections() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE collections SET version = version + 1, updated_at = now()
    WHERE user_id = OLD.user_id AND id = OLD.collection_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER change_collections AFTER DELETE ON collection_items
FOR EACH ROW EXECUTE FUNCTION kitsu_change_collections();

DROP TRIGGER uncount_plays ON plays;
CREATE OR REPLACE FUNCTION kitsu_uncount_plays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE play_counts SET plays = greatest(plays - 1, 0) WHERE user_id = OLD.user_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER uncount_plays AFTER DELETE ON plays FOR EACH ROW EXECUTE FUNCTION kitsu_uncount_plays();

-- Citus refuses to distribute a table to which one of the coordinator refers. These are back below.
ALTER TABLE collection_items DROP CONSTRAINT fk_collection_items_user_id_collections;
ALTER TABLE refresh_tokens DROP CONSTRAINT fk_refresh_tokens_user_id_auth_sessions;

SET LOCAL citus.enable_unsafe_triggers = on;
SELECT create_distributed_table('auth_sessions', 'user_id');
SELECT create_distributed_table('refresh_tokens', 'user_id', colocate_with => 'auth_sessions');
SELECT create_distributed_table('tombstones', 'user_id', colocate_with => 'auth_sessions');
SELECT create_distributed_table('favorites', 'user_id', colocate_with => 'auth_sessions');
SELECT create_distributed_table('watch_progress', 'user_id', colocate_with => 'auth_sessions');
SELECT create_distributed_table('views', 'user_id', colocate_with => 'auth_sessions');
SELECT create_distributed_table('play_counts', 'user_id', colocate_with => 'auth_sessions');
SELECT create_distributed_table('plays', 'user_id', colocate_with => 'auth_sessions');
SELECT create_distributed_table('library_entries', 'user_id', colocate_with => 'auth_sessions');
SELECT create_distributed_table('collections', 'user_id', colocate_with => 'auth_sessions');
SELECT create_distributed_table('collection_items', 'user_id', colocate_with => 'auth_sessions');

ALTER TABLE collection_items ADD CONSTRAINT fk_collection_items_user_id_collections
    FOREIGN KEY (user_id, collection_id) REFERENCES collections (user_id, id) ON DELETE CASCADE;
ALTER TABLE refresh_tokens ADD CONSTRAINT fk_refresh_tokens_user_id_auth_sessions
    FOREIGN KEY (user_id, session_id) REFERENCES auth_sessions (user_id, id) ON DELETE CASCADE;

COMMIT;
