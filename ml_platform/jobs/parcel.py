"""Parcels: files of a folder as bytes, for machines that share no file system.

Belongs here: packing and unpacking. Does not belong here: which files (exchange), how bytes travel (compute).
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

SCHEMA = pa.schema([("name", pa.string()), ("content", pa.large_binary())])
PLAIN = re.compile(r"\w[\w.-]*")
COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")


def pack(folder: Path, names: Sequence[str]) -> bytes:
    """Some files of a folder, compressed."""
    contents = [(folder / name).read_bytes() for name in names]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=COMPRESSED) as stream:
        stream.write(pa.record_batch([pa.array(names, pa.string()), pa.array(contents, pa.large_binary())], SCHEMA))
    return sink.getvalue().to_pybytes()


def unpack(parcel: bytes, folder: Path) -> None:
    """Write the files of a parcel into a folder; ValueError for a name that leads elsewhere."""
    table = pa.ipc.open_stream(parcel).read_all()
    for name, content in zip(table["name"].to_pylist(), table["content"], strict=True):
        if not PLAIN.fullmatch(name):
            raise ValueError(f"a parcel holds '{name}', which is no name of a file in a work folder: pack plain names")
        draft = folder / f"{name}.draft"
        draft.write_bytes(memoryview(content.as_buffer()))
        draft.replace(folder / name)
