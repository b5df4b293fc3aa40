"""Arrays in untrusted ``.npz`` files: no memory is allocated for data that the file does not contain."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import UsageError
from .files import MIB, require_regular

LARGEST = 16384 * MIB
"""Largest number of bytes of a file."""

MOST = 100_000
"""Largest number of arrays in a file."""


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file written by ``numpy.savez``, by name.

    Raises:
        OSError, ValueError, zipfile.BadZipFile: if it cannot be read.
        UsageError: if it is not a regular file, or its declarations do not match its content: compression,
            shapes beyond the bytes that are there, objects.
    """
    size = require_regular(path, LARGEST)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        # Uncompressed members are no larger than the file, unless they overlap.
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if not stored or len(members) > MOST or sum(member.file_size for member in members) > size:
            raise UsageError(f"{path} is larger when unpacked: write it by numpy.savez, not compressed")
        for member in members:
            with archive.open(member) as file:
                _require_whole(path, member, file)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _require_whole(path: Path, member: zipfile.ZipInfo, file: IO[bytes]) -> None:
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise UsageError(f"{path}: {member.filename} has an array format that is not supported: {version}")
    shape, _, dtype = read_header[version](file)
    there = member.file_size - file.tell()
    if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != there:
        raise UsageError(
            f"{path}: {member.filename} declares {dtype} {shape}, which does not match its {there} bytes"
        )
