"""`make test-faults`: faults of the service, the database and the network, with a real PostgreSQL and two workers."""
