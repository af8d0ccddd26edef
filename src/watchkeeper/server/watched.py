"""Notices that the settings file changed, and reads it again; a file that cannot be used is told of and left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from watchkeeper.config import Config, ConfigError, load

EVERY_S = 0.5
SETTLED_S = 0.3
Stamp = tuple[int, int, int]


class Watched:
    """The settings file of a server. `look` often: it reads the file again when that has changed and settled.

    Editors write in pieces and by renaming; a change counts when the file has stayed the same for a moment.
    """

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._file = None if config.file is None else Path(config.file)
        self._follow = config.server.reload
        self._say = say
        self._listen, self._data = config.server.listen, config.server.data
        self._known = self._stamp()
        self._seen, self._seen_s = self._known, 0.0
        self._next_s = 0.0

    def look(self, now_s: float, asked: bool) -> Config | None:
        """The settings to send on, None when there are none. `asked` (SIGHUP) reads the file in any case."""
        if self._file is None:
            if asked:
                self._say("asked to read the settings again, but there is no settings file")
            return None
        if asked:
            self._known = self._stamp()
            return self._read()
        if not self._follow or now_s < self._next_s:
            return None
        self._next_s = now_s + EVERY_S
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen, self._seen_s = stamp, now_s
        if stamp is None or stamp == self._known or now_s - self._seen_s < SETTLED_S:
            return None
        self._known = stamp
        return self._read()

    def _read(self) -> Config | None:
        try:
            return load(self._file, data=self._data, listen=self._listen)
        except ConfigError as error:
            self._say(f"the settings were read again and cannot be used; the old ones stay in force: {error}")
            return None

    def _stamp(self) -> Stamp | None:
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
