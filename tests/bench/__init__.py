"""`make bench`: the throughput of the service, compared with bare handlers on the same database."""
