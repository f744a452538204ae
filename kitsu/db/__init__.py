"""The database: tables, engine, reads, migrations. Knows nothing else of Kitsu."""
