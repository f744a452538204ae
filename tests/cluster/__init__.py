"""Several instances, a pooler or several servers: `make test-cluster` runs these tests."""
