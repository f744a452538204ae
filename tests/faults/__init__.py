"""`make test-faults`: the faults of every day, against two real workers and a PostgreSQL of their own."""
