"""Finishes a restore: erases again what was erased since, proves the journal, and makes the index anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from watchkeeper.compose.store import rebuild_index
from watchkeeper.compose.unlocking import unlock
from watchkeeper.config import Config
from watchkeeper.engines.keeping.backup import Manifest
from watchkeeper.engines.keeping.restore import Restored, apply_again
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.verify import prove
from watchkeeper.records.audit import Audit
from watchkeeper.records.erasure import Erasure
from watchkeeper.records.ids import new_id


async def finish(
    config: Config, manifest: Manifest, erasures: list[Erasure], later: Path | None, told: Callable[[int], None]
) -> tuple[Restored, bool]:
    """Make a copied data directory ready; says what was done, and whether its journal holds."""
    home = Home(config.data, create=False)
    home.lock()
    try:
        subjects = unlock(config, home)
        journal = Journal(home.journal, "store", home.secret("chunks"), subjects=subjects)
        try:
            again = await asyncio.to_thread(apply_again, home, erasures, _journal_of(later), journal)
            for tag in {tag for each in again for tag in each.keys}:
                subjects.destroy(bytes.fromhex(tag))
            journal.append(
                Audit(
                    audit_id=new_id("aud"), at_ns=time.time_ns(), act="backup.restored", actor="owner",
                    subject=str(home.path), detail=f"made {manifest.made_ns}, {len(again)} later erasures carried out",
                )
            )  # fmt: skip
        finally:
            journal.close()
        proof = await asyncio.to_thread(prove, home.journal)
        await rebuild_index(config, home, told)
    finally:
        home.unlock()
    result = Restored(
        data=str(home.path), made_ns=manifest.made_ns, files=len(manifest.files), size=manifest.size,
        frames=sum(each.frames for each in proof.writers), secrets=manifest.secrets, again=tuple(again),
    )  # fmt: skip
    return result, proof.holds


def _journal_of(later: Path | None) -> Path | None:
    """The journal folder in a place that was named, None for a list."""
    if later is None or later.is_file():
        return None
    return later / "journal" if (later / "journal").is_dir() else later
