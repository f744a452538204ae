"""Import of a catalogue from a file of the anime-offline-database.

files.py    the file formats, read as a stream of numbered entries
entries.py  one entry: its schema, its values as columns of the catalogue, its source URLs as ids
merge.py    entries against the catalogue, in one transaction, by the statements of merge.sql
"""

from kitsu.domain.catalogue.importing.files import CatalogueFileError
from kitsu.domain.catalogue.importing.merge import ImportBusyError, Report, import_catalogue, load_sample, tidy

__all__ = ["CatalogueFileError", "ImportBusyError", "Report", "import_catalogue", "load_sample", "tidy"]
