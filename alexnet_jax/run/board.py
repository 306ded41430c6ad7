"""TensorBoard's events, written by the training itself.

tensorboardX's own writer has a thread, which prints a traceback when the disk is full
and leaves the training to wait for it; its messages and their checksum serve here.
"""

import contextlib
import os
import socket
import struct
import time
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import masked_crc32c

from alexnet_jax.atomic import create_file, real_folder, write_all
from alexnet_jax.run.rows import Row

_NOT_DRAWN = ("step", "epoch", "time_s")


class Board:
    """Writes rows as scalars to a file of its own."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        """Creates the file.

        Args:
          folder: Its folder, which is made if it is missing.
          purge_step: From this step on, TensorBoard drops what earlier files hold.

        Raises:
          OSError: It cannot be written.
        """
        self._folder = folder
        self._open(purge_step)

    def _open(self, purge_step: int) -> None:
        # TensorBoard looks for `tfevents` and reads files in the order of their names.
        now = f"{time.time_ns() // 1000}"
        name = f"{now[:10]}.{now[10:]}.{socket.gethostname()}.{os.getpid()}"
        log = SessionLog(status=SessionLog.START)
        self._path = real_folder(self._folder) / f"events.out.tfevents.{name}"
        with contextlib.ExitStack() as opened:
            self._file = opened.enter_context(create_file(self._path))
            self._write(Event(file_version="brain.Event:2"))
            self._write(Event(step=purge_step, session_log=log))
            opened.pop_all()

    def write(self, row: Row) -> None:
        """Writes a row.

        Raises:
          OSError: It cannot be written.
        """
        if not self._path.exists():
            print(f"warning   {self._path} was moved or deleted; a new file goes on")
            self._file.close()
            self._open(int(row["step"]))
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name not in _NOT_DRAWN
        ]
        self._write(Event(step=int(row["step"]), summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        sums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
        write_all(self._file, length + sums[0] + data + sums[1])

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
