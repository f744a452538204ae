"""The report on an import: counts, and a line for each row of the file."""

from typing import Annotated
from uuid import UUID

import msgspec

from kitsu.domain.fields import described
from kitsu.domain.viewer.list_import.entries import ListEntry, NotImported
from kitsu.domain.viewer.list_import.policies import Outcome

MAX_LISTED = 1_000
"""Rows that each list of a report has; further ones are only counted."""
NOT_FOUND = "It is not in the catalogue."

_REST = f"At most {MAX_LISTED:,}: `GET /library/imports/{{id}}/rows` has all."


class ImportedRow(msgspec.Struct):
    """What became of a row of the file."""

    number: Annotated[int, described("The place of the row in the file, from 1.", 17)]
    title: Annotated[str | None, described("The title in the file.", "Death Note")]
    anime_id: UUID | None
    outcome: Outcome
    remarks: Annotated[
        list[str],
        described("What was changed, kept or left out, and why.", ["The library kept score 3 (the file has 9)."]),
    ]


class ImportReport(msgspec.Struct):
    """What an import did with the rows of a file, or with `dry_run` would do."""

    id: Annotated[UUID, described("The id of the import.", "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b")]
    added: Annotated[int, described("The number of new entries.", 41)]
    updated: Annotated[int, described("The number of changed entries.", 3)]
    unchanged: Annotated[int, described("The number of rows that the library agrees with.", 12)]
    kept_different: Annotated[int, described("The number of rows that the library differs from and that lost.", 2)]
    not_imported: Annotated[list[NotImported], described(f"The rows that were not imported. {_REST}")]
    not_imported_count: Annotated[int, described("The number of rows that were not imported.", 5)]
    unknown_count: Annotated[
        int,
        described("The number of these whose anime is not known. `/library/imports/{id}/not-imported` has them.", 4),
    ]
    remarks: Annotated[list[ImportedRow], described(f"The other rows that have remarks. {_REST}")]
    remarks_count: Annotated[int, described("The number of other rows that have remarks.", 6)]
    dry_run: Annotated[bool, described("Whether the library was left unchanged, as requested.")]


class Result(msgspec.Struct):
    """The whole outcome of an import."""

    rows: list[ImportedRow]
    not_imported: list[NotImported]
    unknown: list[ListEntry]

    def report(self, import_id: UUID, *, dry_run: bool) -> ImportReport:
        """Return the report, with its lists cut."""
        counts = dict.fromkeys(("added", "updated", "unchanged", "kept_different"), 0)
        remarks = []
        for row in self.rows:
            if row.outcome == "not_imported":
                continue
            counts[row.outcome] += 1
            if row.remarks:
                remarks.append(row)
        return ImportReport(
            import_id,
            **counts,
            not_imported=self.not_imported[:MAX_LISTED],
            not_imported_count=len(self.not_imported),
            unknown_count=len(self.unknown),
            remarks=remarks[:MAX_LISTED],
            remarks_count=len(remarks),
            dry_run=dry_run,
        )
