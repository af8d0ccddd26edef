"""What goes wrong with anchors."""

from __future__ import annotations


class NotAnchored(RuntimeError):
    """A checkpoint could not be kept outside; the message names the place and never a secret."""
