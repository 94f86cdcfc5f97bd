"""An unfinished file: rows on their way into landing, under a hidden name until they are whole.

Belongs here: writing Parquet, and the one step that makes a file a drop. Does not belong here: where a file ends (cutting).
"""

import os
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ml_platform.pull.typed import texts

HIDDEN, ENDING = ".pull-", ".tmp"


def put(unfinished: Path, landing: Path, path: str) -> None:
    """Make a finished file a drop: whole, and in one step. Its name is the only memory of the pull, so its bytes are on the disk first."""
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    target = landing / path
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished.replace(target)


def clear(folder: Path) -> None:
    """Remove what pulls left that were ended in mid-file."""
    for path in folder.glob(f"{HIDDEN}*{ENDING}"):
        path.unlink(missing_ok=True)


class Unfinished:
    """A Parquet file that takes tables with the same columns; one that comes as texts makes the whole column texts."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.path = folder, self._hidden(folder)
        self._writer: pq.ParquetWriter | None = None

    @staticmethod
    def _hidden(folder: Path) -> Path:
        return folder / f"{HIDDEN}{uuid.uuid4().hex}{ENDING}"

    def write(self, rows: pa.Table) -> None:
        if self._writer is None:
            self._writer = _writer(self.path, rows.schema)
        if rows.schema != self._writer.schema:
            self._widen(rows.schema)
        self._writer.write_table(_as(rows, self._writer.schema))

    def _widen(self, found: pa.Schema) -> None:
        """Begin again with the columns that are texts on either side as texts."""
        assert self._writer
        pairs = zip(self._writer.schema, found, strict=True)
        wider = pa.schema(
            [mine if mine.type == other.type else pa.field(mine.name, pa.string()) for mine, other in pairs]
        )
        if wider == self._writer.schema:
            return
        self._writer.close()
        narrow, self.path = self.path, self._hidden(self._folder)
        self._writer = _writer(self.path, wider)
        with pq.ParquetFile(narrow) as file:
            for batch in file.iter_batches():
                self._writer.write_table(_as(pa.Table.from_batches([batch]), wider))
        narrow.unlink()

    def close(self) -> None:
        if self._writer:
            self._writer.close()

    def discard(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)


def _as(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the columns that `schema` wants as texts as texts."""
    for place, field in enumerate(schema):
        if rows.schema.field(place).type != field.type:
            rows = rows.set_column(place, field, texts(rows[field.name].to_pylist()))
    return rows
