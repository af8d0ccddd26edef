"""Opens the keys of a data directory's subjects as the settings say, and puts them to use for every reader here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from watchkeeper.adapters.store.sqlite_subjects import SQLiteSubjects
from watchkeeper.config import Config, ConfigError
from watchkeeper.engines.recorder import sealing
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.subjects import KeysError, Subjects, read_master


def unlock(config: Config, home: Home, environ: Mapping[str, str] | None = None) -> Subjects:
    """The keys of the subjects; raises `ConfigError` when they cannot be had as things are set up."""
    if home.subjects is not None:
        return home.subjects
    settings, place = config.recording, config.file or "settings"
    seal = settings.encryption == "subject"
    if seal and settings.master_key is None:
        raise ConfigError(
            f"{place}: `recording.encryption` is 'subject' and `recording.master_key` is missing. Name a variable "
            "(env:NAME) or a file outside the data directory that holds 64 hex digits: openssl rand -hex 32"
        )
    if (seal or settings.master_key is not None) and not sealing.available():
        raise ConfigError(f"{place}: `recording`: {sealing.MISSING}.")
    try:
        master = master_of(config, home, environ)
        subjects = Subjects(SQLiteSubjects(home.keys, durable=seal), home.secret("chunks"), master, seal)
    except KeysError as error:
        raise ConfigError(f"{place}: `recording`: {error}") from error
    home.subjects = subjects
    sealing.use(subjects)
    return subjects


def master_of(config: Config, home: Home, environ: Mapping[str, str] | None = None) -> bytes | None:
    """The master key that the settings name, None when they name none; raises `KeysError`."""
    setting = config.recording.master_key
    if setting is None:
        return None
    outside(setting, home)
    return read_master(setting, dict(os.environ if environ is None else environ))


def outside(setting: str, home: Home) -> None:
    """Raises `KeysError` for a master key inside the data directory that it is to protect."""
    if not setting.startswith("env:") and Path(setting).expanduser().resolve().is_relative_to(home.path.resolve()):
        raise KeysError(
            f"the master key {setting} lies in the data directory, whose copies it is to protect. Move it elsewhere."
        )
