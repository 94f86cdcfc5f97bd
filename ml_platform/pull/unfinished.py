"""An unfinished file: rows on their way into landing, beside it until they are whole.

Belongs here: writing Parquet, and the folder where that is done. Does not belong here: where a file ends (cutting), landing it (filing).
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ml_platform.lake import Lake
from ml_platform.lake.store import folder, locked
from ml_platform.pull.typed import texts


def pulling(lake: Lake, source: str) -> AbstractContextManager[None]:
    """One process of this machine at a time pulls a source."""
    return locked(lake, f"pull-{source}")


@contextmanager
def workshop(lake: Lake, source: str) -> Iterator[Path]:
    """An empty folder for the unfinished files of a source, one pull at a time; what a killed one left is gone."""
    if lake.remote:
        with tempfile.TemporaryDirectory(prefix=f"pull-{source}-") as elsewhere:
            yield Path(elsewhere)
        return
    place = folder(lake, f"ops/.pull-{source}")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


class Unfinished:
    """A Parquet file that takes tables with the same columns; one that comes as texts makes the whole column texts."""

    def __init__(self, place: Path) -> None:
        self._place, self.path = place, _path(place)
        self._writer: pq.ParquetWriter | None = None

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
        narrow, self.path = self.path, _path(self._place)
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


def _path(place: Path) -> Path:
    return place / f"{uuid.uuid4().hex}.parquet"


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)


def _as(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the columns that `schema` wants as texts as texts."""
    for place, field in enumerate(schema):
        if rows.schema.field(place).type != field.type:
            rows = rows.set_column(place, field, texts(rows[field.name].to_pylist()))
    return rows
