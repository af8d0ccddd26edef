"""The settings of a house: their sections, and how they are read."""

from __future__ import annotations

from watchkeeper.config.load import FILE_NAME, ConfigError, load
from watchkeeper.config.sections import (
    EMBEDDED,
    ENVIRONMENT,
    SECTIONS,
    Anchor,
    Capability,
    Config,
    Notifier,
    Price,
    Probe,
    Recording,
    Server,
    SignIn,
    Tool,
    Upstream,
)
from watchkeeper.engines.keeping.settings import Retention, Sampling

__all__ = [
    "EMBEDDED",
    "ENVIRONMENT",
    "FILE_NAME",
    "SECTIONS",
    "Anchor",
    "Capability",
    "Config",
    "ConfigError",
    "Notifier",
    "Price",
    "Probe",
    "Recording",
    "Retention",
    "Sampling",
    "Server",
    "SignIn",
    "Tool",
    "Upstream",
    "load",
]
