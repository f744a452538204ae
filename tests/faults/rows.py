"""What must hold under faults, and which tests show it. `make test-faults` prints the outcome of each row."""

ROWS: dict[str, tuple[str, ...]] = {
    "kill -9 of the whole service during writes, 50 times": (
        "test_killed_service_loses_no_acknowledged_write",
        "test_fault_at_any_statement_leaves_no_partial_write",
        "test_fault_at_any_statement_on_new_connection_leaves_no_partial_write",
    ),
    "kill -9 of one worker": ("test_killed_worker_is_replaced_and_loses_no_acknowledged_write",),
    "a worker killed twice within five seconds": ("test_worker_killed_again_and_again_is_replaced",),
    "a worker that grows, or whose event loop is blocked": (
        "test_worker_above_memory_limit_is_replaced",
        "test_blocked_worker_is_replaced",
        "test_busy_worker_is_not_replaced",
        "test_suspended_worker_is_not_replaced",
    ),
    "clocks of two machines 30 s apart": ("test_tokens_of_a_machine_with_another_clock_work",),
    "a setting that cannot work": ("test_memory_limit_that_cannot_work_is_refused_at_start",),
    "SIGTERM under load": (
        "test_sigterm_under_load_leaves_no_request_without_response",
        "test_stop_with_silent_readers_takes_under_five_seconds",
        "test_slow_reader_gets_complete_response",
        "test_stop_lets_request_in_progress_finish",
    ),
    "every connection terminated by the database, every 2 s for a minute": (
        "test_terminated_connections_lose_no_acknowledged_write",
    ),
    "PostgreSQL stopped for 10 s": ("test_requests_get_503_while_database_is_stopped",),
    "PostgreSQL restarted while the service is idle": ("test_first_request_after_restart_of_idle_database_succeeds",),
    "PostgreSQL frozen for 15 s, or slow": (
        "test_requests_get_503_in_time_while_database_is_frozen",
        "test_slow_database_delays_no_request_beyond_its_deadline",
    ),
    "a table locked for 10 s, 200 clients": ("test_writes_to_locked_table_get_503_in_time",),
    "two instances start and migrate at once": ("test_concurrent_migrations_both_succeed",),
    "the avatar disk full": ("test_upload_on_full_disk_is_503_and_keeps_the_avatar",),
    "500 silent, 500 header-dripping, 500 body-dripping sockets": (
        "test_clients_with_incomplete_requests_are_disconnected_and_delay_no_others",
    ),
    "ten times the load that the service can serve": ("test_tenfold_load_is_served_at_capacity_and_the_rest_gets_503",),
    "a storm of logins": ("test_storm_of_logins_leaves_reads_half_of_their_throughput",),
    "one user sends large bodies slowly, again and again": (
        "test_slow_large_bodies_of_one_user_refuse_no_upload_of_others",
    ),
    "one user writes without end": ("test_rows_of_one_user_stop_at_their_limits",),
    "client hangs up mid-request, 1,000 times": ("test_disconnected_clients_leave_no_connection_or_error",),
    "300 clients ask for their export and read nothing": (
        "test_users_that_read_nothing_of_their_export_are_disconnected",
        "test_guests_that_read_nothing_of_the_bundle_are_disconnected",
    ),
}


class Outcomes:
    """The outcomes and figures of the tests of a run."""

    def __init__(self) -> None:
        self._outcomes: dict[str, list[str]] = {}
        self._figures: dict[str, list[str]] = {}

    def add(self, test: str, outcome: str) -> None:
        """Add the outcome of a test, or of one of its parameters: passed, failed or skipped."""
        self._outcomes.setdefault(test, []).append(outcome)

    def add_figures(self, test: str, figures: str) -> None:
        """Add what a test measured."""
        self._figures.setdefault(test, []).append(figures)

    def lines(self) -> list[str]:
        """Return a line for each row, with what was measured below it."""
        found = []
        for row, tests in ROWS.items():
            outcomes = [outcome for test in tests for outcome in self._outcomes.get(test, ["not run"])]
            worst = next(each for each in ("failed", "not run", "skipped", "passed") if each in outcomes)
            found.append(f"{worst:8} {row}")
            found += [f"{'':9}{figures}" for test in tests for figures in self._figures.get(test, [])]
        return found
