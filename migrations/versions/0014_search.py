"""Search by resemblance: every title of an anime as a row, the words of all titles, and the function that finds them.

Revises: 0013

Triggers keep both tables up to date, so every program that changes a title also changes what is found.

`kitsu_search_key` is the form in which titles and queries are compared: it makes full-width letters, hiragana, accents,
case, punctuation, doubled letters, long vowels and the ways to write a season equal. A row has this form with blanks
(`key`), without (`packed`) and as words (`words`).
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0014"
down_revision = "0013"

HIRAGANA = "".join(map(chr, range(0x3041, 0x3095)))
KATAKANA = "".join(chr(ord(letter) + 0x60) for letter in HIRAGANA)
# Marks without a blank in their place (journey's, ソード), accents that no letter combines with, invisible characters.
REMOVED = "'’‘`ʼー" + "".join(map(chr, [*range(0x300, 0x370), 0xAD, *range(0x200B, 0x200E), 0x3099, 0x309A, 0xFE0F]))
# All that is neither a letter nor a digit. Ranges, because the classes of regular expressions depend on the locale.
SEPARATORS = (
    r"[\u0001-\u002f:-?\[-`{-\u00bf\u00d7\u00f7\u02b0-\u02ff\u2000-\u2bff\u3000-\u3004\u3008-\u3020\u3030\u309b\u309c"
    r"\u30a0\u30fb\ufe00-\ufe6f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\U0001f000-\U0001faff]+"
)
UNSPACED = r"[\u3040-\u9fff]"  # kana and kanji
# Pattern to replacement, in this order, on words in lower case between blanks.
RULES = (
    (r"\mii\M|\msecond(?= season\M)|第?二(?=期)", "2"),
    (r"\miii\M|\mthird(?= season\M)|第?三(?=期)", "3"),
    (r"\miv\M|\mfourth(?= season\M)|第?四(?=期)", "4"),
    (r"\m(?:season|part|cour|シズン) ?1\M|\m(?:1|1st|first) season\M|\ms1\M|第?1期", ""),
    (r"\m(?:season|part|cour|シズン) ?(\d+)\M|\m(\d+)(?:nd|rd|th)? ?season\M|\ms(\d+)\M|第?(\d+)期", r" \1\2\3\4 "),
    (r"\m(\d+)(?:st|nd|rd|th)\M", r"\1"),
    (r"ou|oh(?=[^aeiou]|$)", "o"),
    (r"([ウオクグコゴスズソゾツヅトドヌノフブプホボポムモユュヨョルロ])ウ", r"\1"),  # as if written with ー
    (r"\mwo\M", "o"),
    (r"([a-z])\1{1,2}", r"\1"),  # a longer run is no long vowel
    (r" +", " "),
)


def _search_key() -> str:
    letters = "kitsu_fold(replace(replace(replace(value, '×', ' x '), '&', ' and '), '@', 'a'))"
    letters = f"translate({letters}, '{REMOVED.replace(chr(39), chr(39) * 2)}', '')"
    expression = f"translate(regexp_replace({letters}, '{SEPARATORS}', ' ', 'g'), '{HIRAGANA}', '{KATAKANA}')"
    for pattern, replacement in RULES:
        expression = f"regexp_replace({expression}, '{pattern}', '{replacement}', 'g')"
    return f"trim({expression})"


KEY = f"""
    CREATE FUNCTION kitsu_search_key(value text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN {_search_key()}
"""
WORDS = f"""
    CREATE FUNCTION kitsu_search_words(key text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    BEGIN
        IF key !~ '{UNSPACED}' THEN RETURN string_to_array(key, ' '); END IF;
        -- Kana and kanji have no blanks between words: each pair of letters is one.
        RETURN ARRAY(
            SELECT CASE WHEN run[1] ~ '{UNSPACED}' THEN substr(run[1], at, 2) ELSE run[1] END
            FROM regexp_matches(regexp_replace(key, '({UNSPACED}+)', ' \\1 ', 'g'), '[^ ]+', 'g') AS run,
                generate_series(1, CASE WHEN run[1] ~ '{UNSPACED}.' THEN length(run[1]) - 1 ELSE 1 END) AS at
        );
    END
    $$
"""
STORE = """
    CREATE FUNCTION kitsu_store_titles(changed uuid[]) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM anime_titles WHERE anime_id = ANY (changed);
        INSERT INTO anime_titles (anime_id, position, title, key, packed, words)
        SELECT keyed.id, keyed.position - 1, keyed.title, ' ' || keyed.key || ' ',
            -- levenshtein() takes at most 255 characters, and a tsvector words of at most 2046 bytes.
            left(replace(keyed.key, ' ', ''), 250), array_to_tsvector(kitsu_search_words(trim(left(keyed.key, 500))))
        FROM (
            SELECT anime.id, found.position, found.title, kitsu_search_key(found.title) AS key
            FROM anime, unnest(ARRAY[anime.title, anime.title_original] || anime.synonyms)
                WITH ORDINALITY AS found (title, position)
            WHERE anime.id = ANY (changed) AND found.title <> ''
            OFFSET 0  -- computes each key once
        ) AS keyed;
        -- In order, so that two transactions with the same new words wait for each other instead of a deadlock.
        INSERT INTO title_words (word)
        SELECT DISTINCT word COLLATE "C" FROM anime_titles, unnest(tsvector_to_array(words)) AS word
        WHERE anime_id = ANY (changed) AND length(word) BETWEEN 3 AND 100 ORDER BY 1
        ON CONFLICT DO NOTHING;
    END
    $$
"""
TRIGGERS = (
    """
    CREATE FUNCTION kitsu_titles_changed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            PERFORM kitsu_store_titles(ARRAY(SELECT id FROM new_row));
        ELSE
            PERFORM kitsu_store_titles(ARRAY(
                SELECT new_row.id FROM new_row JOIN old_row USING (id)
                WHERE (new_row.title, new_row.title_original, new_row.synonyms)
                    IS DISTINCT FROM (old_row.title, old_row.title_original, old_row.synonyms)
            ));
        END IF;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER titles_added AFTER INSERT ON anime REFERENCING NEW TABLE AS new_row
    FOR EACH STATEMENT EXECUTE FUNCTION kitsu_titles_changed()
    """,
    """
    CREATE TRIGGER titles_changed AFTER UPDATE ON anime REFERENCING OLD TABLE AS old_row NEW TABLE AS new_row
    FOR EACH STATEMENT EXECUTE FUNCTION kitsu_titles_changed()
    """,
)
RESEMBLANCE = """
    CREATE FUNCTION kitsu_resemblance(q_key text, q_packed text, key text, packed text) RETURNS float8
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN greatest(
        1 - levenshtein(q_packed, packed)::float8 / greatest(length(q_packed), length(packed)),
        -- of the beginning alone, for a query that is not finished
        0.97 * (1 - levenshtein(q_packed, left(packed, length(q_packed)))::float8 / length(q_packed))
            * (0.9 + 0.1 * length(q_packed) / greatest(length(q_packed), length(packed))),
        0.9 * word_similarity(q_key, key),
        similarity(q_key, key)
    )
"""
# The titles of the anime that match all filters, and a further condition.
TITLES = """SELECT titles.* FROM anime_titles AS titles JOIN anime ON anime.id = titles.anime_id
             WHERE (of_type IS NULL OR anime.type = of_type)
                 AND (of_status IS NULL OR lower(anime.status) = lower(of_status))
                 AND (of_year IS NULL OR anime.year = of_year)
                 AND (of_season IS NULL OR anime.season = of_season)
                 AND (of_genres IS NULL OR anime.genre_keys @> of_genres) AND"""
SEARCH = f"""
    CREATE FUNCTION kitsu_search(
        q text, of_type text, of_status text, of_year integer, of_season text, of_genres text[]
    ) RETURNS TABLE (anime_id uuid, matched text, tier integer, score float8)
    LANGUAGE plpgsql STABLE ROWS 20
    -- The planner does not know how little a query finds, and would read whole tables of a small catalogue.
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
    -- Starting workers or compiling takes longer than most searches.
    SET max_parallel_workers_per_gather = 0 SET jit = off
    AS $$
    DECLARE
        folded text := kitsu_fold(q);
        q_key text := left(kitsu_search_key(q), 250);
        q_packed text := replace(q_key, ' ', '');
        size integer := length(q_packed);
        all_words tsquery;
        is_any_wrong boolean;
        similar_words tsquery;
    BEGIN
        IF size = 0 THEN  -- signs alone
            RETURN QUERY SELECT titles.anime_id, titles.title, 0, 1.0::float8
            FROM ({TITLES} titles.position = 0 AND anime.title_key = folded) AS titles;
            RETURN;
        END IF;

        -- The title, its beginning, and all words. Short words match whole, because many words begin with two letters.
        SELECT string_agg(quote_literal(word) || CASE WHEN length(word) > 2 OR size = 1 THEN ':*' ELSE '' END, ' & ')
        INTO all_words FROM unnest(kitsu_search_words(q_key)) AS word;
        RETURN QUERY
        SELECT DISTINCT ON (found.anime_id) found.anime_id, found.title,
            CASE
                WHEN found.packed = q_packed AND kitsu_fold(found.title) = folded THEN 0
                WHEN found.packed = q_packed THEN 1
                WHEN starts_with(found.packed, q_packed) THEN 2
                ELSE 3
            END,
            -- The part of the title that the query covers; whole words before parts, sequels last, K-On! before K-On!!.
            size::float8 / length(found.packed)
                + CASE WHEN starts_with(found.key, ' ' || q_key || ' ') THEN 0.5 ELSE 0 END
                - CASE WHEN replace(found.key, q_key, '') ~ '[0-9]|special|ova|movie|recap|pilot' THEN 0.3 ELSE 0 END
                - CASE WHEN found.packed = q_packed THEN 0.01 * length(found.title) ELSE 0 END
        FROM (
            ({TITLES} size = 2 AND left(titles.packed, 2) = q_packed ORDER BY length(titles.packed) LIMIT 2000)
            UNION ALL
            ({TITLES} size <> 2 AND titles.packed >= q_packed AND titles.packed < q_packed || U&'\\+10FFFF'
             ORDER BY titles.packed LIMIT 2000)
            UNION ALL
            ({TITLES} (size > 2 OR q_key ~ '{UNSPACED}') AND titles.words @@ all_words LIMIT 2000)
        ) AS found ORDER BY 1, 3, 4 DESC, found.position;
        IF FOUND THEN RETURN; END IF;

        -- Parts of words; two letters are too few for the index, so they are the beginning of a word.
        RETURN QUERY
        SELECT DISTINCT ON (found.anime_id) found.anime_id, found.title, 4, size::float8 / length(found.packed)
        FROM (
            ({TITLES} size > 2 AND titles.key LIKE '%' || q_key || '%' LIMIT 500)
            UNION ALL
            ({TITLES} size < 3 AND titles.words @@ (quote_literal(q_packed) || ':*')::tsquery LIMIT 500)
        ) AS found ORDER BY 1, 4 DESC, found.position;
        IF FOUND OR size < 3 THEN RETURN; END IF;

        -- Not as SET above: an owner who is no superuser could not restore a function with an extension's parameters.
        PERFORM set_config('pg_trgm.similarity_threshold', '0.25', true);
        PERFORM set_config('pg_trgm.word_similarity_threshold', '0.4', true);
        -- Typing errors: words with two letters swapped, or up to two letters wrong. The latter is slower, so it is
        -- first tried only with words that no title has.
        FOREACH is_any_wrong IN ARRAY ARRAY[false, true] LOOP
            SELECT string_agg('(' || alternatives || ')', ' & ')::tsquery INTO similar_words FROM (
                SELECT string_agg(DISTINCT alternative.lexeme, ' | ') AS alternatives
                FROM unnest(kitsu_search_words(q_key)) AS wanted (word), LATERAL (
                    SELECT quote_literal(wanted.word) || ':*' AS lexeme
                    UNION ALL
                    SELECT quote_literal(known.word) FROM title_words AS known
                    WHERE known.word = ANY (ARRAY(
                        SELECT overlay(wanted.word PLACING reverse(substr(wanted.word, at, 2)) FROM at)
                        FROM generate_series(1, length(wanted.word) - 1) AS at
                    ))
                    UNION ALL
                    (SELECT quote_literal(known.word) FROM title_words AS known
                     WHERE known.word % wanted.word AND abs(length(known.word) - length(wanted.word)) <= 2
                         AND levenshtein_less_equal(known.word, wanted.word, 2)
                             <= CASE WHEN length(wanted.word) = 3 THEN 1 ELSE 2 END
                         AND (is_any_wrong OR NOT EXISTS (SELECT FROM title_words WHERE word = wanted.word))
                     ORDER BY levenshtein(known.word, wanted.word), known.word LIMIT 30)
                ) AS alternative WHERE length(wanted.word) BETWEEN 3 AND 100 GROUP BY wanted.word LIMIT 12
            ) AS words;
            RETURN QUERY
            SELECT DISTINCT ON (found.anime_id) found.anime_id, found.title, 4, found.resemblance FROM (
                SELECT titles.*, kitsu_resemblance(q_key, q_packed, titles.key, titles.packed) AS resemblance
                FROM ({TITLES} titles.words @@ similar_words LIMIT 1000) AS titles
            ) AS found WHERE found.resemblance > 0.6 ORDER BY 1, 4 DESC, found.position;
            IF FOUND THEN RETURN; END IF;
        END LOOP;

        -- Titles with a part that resembles the beginning of the query. Few or repeated letters resemble too many.
        IF cardinality(show_trgm(q_key)) < greatest(CASE WHEN q_key ~ '{UNSPACED}' THEN 5 ELSE 8 END, size / 2) THEN
            RETURN;
        END IF;
        RETURN QUERY
        SELECT DISTINCT ON (found.anime_id) found.anime_id, found.title, 4, found.resemblance FROM (
            SELECT titles.*, kitsu_resemblance(q_key, q_packed, titles.key, titles.packed) AS resemblance
            FROM ({TITLES} left(q_key, 60) <% titles.key) AS titles
        ) AS found WHERE found.resemblance > 0.55 ORDER BY 1, 4 DESC, found.position;
    END
    $$
"""
FUNCTIONS = (KEY, WORDS, STORE, *TRIGGERS, RESEMBLANCE, SEARCH)


def upgrade() -> None:
    run = op.get_bind().exec_driver_sql  # op.execute takes the colons of the patterns for parameters
    run("CREATE EXTENSION IF NOT EXISTS fuzzystrmatch")
    text = sa.Text(collation="C")
    op.create_table(
        "anime_titles",
        sa.Column("anime_id", sa.Uuid(), sa.ForeignKey("anime.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("key", text, nullable=False),
        sa.Column("packed", text, nullable=False),
        sa.Column("words", TSVECTOR(), nullable=False),
    )
    op.create_table("title_words", sa.Column("word", text, primary_key=True))
    for function in FUNCTIONS:
        run(function)
    run("SELECT kitsu_store_titles(ARRAY(SELECT id FROM anime))")
    op.create_index("ix_anime_titles_packed", "anime_titles", ["packed"])
    op.create_index("ix_anime_titles_start", "anime_titles", [sa.text("left(packed, 2)"), sa.text("length(packed)")])
    op.create_index("ix_anime_titles_words", "anime_titles", ["words"], postgresql_using="gin")
    for table, column in (("anime_titles", "key"), ("title_words", "word")):
        trigrams = {column: "gin_trgm_ops"}
        op.create_index(f"ix_{table}_{column}", table, [column], postgresql_using="gin", postgresql_ops=trigrams)
    op.drop_column("anime", "search_text")  # its index goes with it
    run("DROP FUNCTION kitsu_search_text(text, text, text[])")


def downgrade() -> None:
    run = op.get_bind().exec_driver_sql
    run(
        "CREATE FUNCTION kitsu_search_text(title text, title_original text, synonyms text[]) RETURNS text "
        "LANGUAGE sql IMMUTABLE PARALLEL SAFE "
        r"RETURN kitsu_fold(concat_ws(E'\n', title, title_original, array_to_string(synonyms, E'\n')))"
    )
    computed = sa.Computed("kitsu_search_text(title, title_original, synonyms)", persisted=True)
    op.add_column("anime", sa.Column("search_text", sa.Text(collation="C"), computed, nullable=False))
    trigrams = {"search_text": "gin_trgm_ops"}
    op.create_index("ix_anime_search_text", "anime", ["search_text"], postgresql_using="gin", postgresql_ops=trigrams)
    for trigger in ("added", "changed"):
        run(f"DROP TRIGGER titles_{trigger} ON anime")
    op.drop_table("title_words")
    op.drop_table("anime_titles")
    for function in (
        "kitsu_search(text, text, text, integer, text, text[])",
        "kitsu_resemblance(text, text, text, text)",
        "kitsu_titles_changed()",
        "kitsu_store_titles(uuid[])",
        "kitsu_search_words(text)",
        "kitsu_search_key(text)",
    ):
        run(f"DROP FUNCTION {function}")
    # The extension stays: another program of the same database may use it by now.
