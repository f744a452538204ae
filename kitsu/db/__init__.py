"""The database: tables, engine, statements, listener and migrations."""
