"""Jobs, which `kitsu worker` runs. Importing this package registers them.

registry.py   a job's function, with its retries and its time limit
catalogue.py  the functions of the jobs of the catalogue
viewer.py     the functions of the jobs of viewers
mail.py       the function of the job that sends a mail
accounts.py   the function of the job that deletes an account
operations.py the functions of the daily jobs
executor.py   one run of a job
worker.py     the process
schema.py     whether the tables fit the version of pgqueuer
"""

from kitsu.jobs import accounts, catalogue, mail, operations, viewer

__all__ = ["accounts", "catalogue", "mail", "operations", "viewer"]
