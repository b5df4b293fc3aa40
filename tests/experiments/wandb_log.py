"""Reading of the files of an offline W&B run, record by record."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wandb.proto.wandb_internal_pb2 import Record


class Run(NamedTuple):
    """What was logged: rows of history, the last record of each other kind, and their number."""

    history: list[dict[str, Any]]
    records: list[Record]

    def last(self, kind: str) -> Any:
        """Return the last record of a kind."""
        return [getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind][
            -1
        ]


def blocks(data: bytes) -> Iterator[bytes]:
    """Yield the records of a W&B log: LevelDB's format, after a header of seven bytes."""
    position, parts = 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        end = position + 7 + length
        if end > len(data):  # still being written
            return
        parts += data[position + 7 : end]
        position = end
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def nested(items: Any) -> dict[str, Any]:
    """Return the values of a record's items, dictionaries put together again."""
    values: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        place = values
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)
    return values


def read(directory: Path, index: int = 0, seconds: float = 10.0) -> Run:
    """Read a finished run; W&B's service may still be writing its last records when ``finish`` returns."""
    deadline = time.monotonic() + seconds
    path = sorted(directory.glob("wandb/offline-run-*/run-*.wandb"))[index]
    while True:
        records = [Record.FromString(block) for block in blocks(path.read_bytes())]
        if records and records[-1].WhichOneof("record_type") == "exit":
            break
        assert time.monotonic() < deadline, f"{path} has no exit record {seconds} s after its run finished"
        time.sleep(0.02)
    history = [
        nested(record.history.item) for record in records if record.WhichOneof("record_type") == "history"
    ]
    return Run(history, records)
