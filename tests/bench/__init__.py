"""`make bench`: what the service serves, beside bare handlers on the same database in the same run."""
