"""Checkpoints are handed to anchors when it is their turn; what fails is counted, tried again sooner, and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.adapters.anchors.errors import NotAnchored
from watchkeeper.compose.anchoring import AGAIN_AFTER_S, Anchoring, Kept, anchors_of
from watchkeeper.config import Anchor, Config, ConfigError, Recording, Server
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.records.checkpoint import Checkpoint

pytestmark = pytest.mark.anyio
NOW_NS = 1_790_000_000_000_000_000


class Shaky:
    """An anchor that fails as long as it is told to."""

    def __init__(self) -> None:
        self.down, self.lines = True, list[str]()

    async def keep(self, checkpoint: Checkpoint, line: str) -> str:
        if self.down:
            raise NotAnchored("the line is down")
        self.lines.append(line)
        return "receipt"


def point(number: int) -> Checkpoint:
    return Checkpoint(
        checkpoint_id=f"c{number}", at_ns=NOW_NS, number=number, previous="", digest="00" * 32, reached=()
    )


async def test_a_failure_is_tried_again_after_a_minute_and_a_success_after_the_anchors_pause() -> None:
    shaky = Shaky()
    kept = Kept("office", shaky, every_s=3600.0)
    assert kept.due(0.0)
    assert not await kept.keep(point(1), 0.0, NOW_NS)
    assert [kept.due(at) for at in (1.0, AGAIN_AFTER_S - 1, AGAIN_AFTER_S)] == [False, False, True]
    shaky.down = False
    assert await kept.keep(point(1), AGAIN_AFTER_S, NOW_NS + 1)
    assert [kept.due(at) for at in (AGAIN_AFTER_S + 3599, AGAIN_AFTER_S + 3600)] == [False, True]
    assert await kept.keep(point(1), 9000.0, NOW_NS + 2), "what is kept is not kept again"
    health = kept.health()
    assert len(shaky.lines) == 1
    assert (health["failures"], health["kept"], health["kept_ns"], health["problem"]) == (1, 1, NOW_NS + 1, None)


async def test_a_round_anchors_when_due_and_metrics_tell_of_it(tmp_path: Path) -> None:
    blocked = tmp_path / "folder"
    blocked.mkdir()
    anchors = (
        Anchor(use="file", name="good", path=str(tmp_path / "anchors.jsonl")),
        Anchor(use="file", name='ba"d', path=str(blocked)),
    )
    config = Config(
        server=Server(data=str(tmp_path / "data")), recording=Recording(checkpoint_frames=1), anchors=anchors
    )
    home = Home(tmp_path / "data")
    journal = Journal(home.journal, "store", home.secret("chunks"))
    anchoring = Anchoring(config, home, lambda: journal, lambda: NOW_NS)
    done = await anchoring.anchor()
    assert [(each["name"], each["kept"], each["failures"]) for each in done["anchors"]] == [
        ("good", 1, 0),
        ('ba"d', 0, 1),
    ]
    text = anchoring.metrics().decode()
    assert 'watchkeeper_anchor_failures_total{anchor="ba\\"d"} 1' in text
    assert 'watchkeeper_anchor_last_kept_seconds{anchor="good"} 1790000000.000' in text
    assert 'last_kept_seconds{anchor="ba' not in text
    await anchoring.round()
    assert [each["kept"] for each in anchoring.health()] == [1, 0], "neither is due again yet"
    with pytest.raises(LookupError, match="there is no anchor 'other'"):
        await anchoring.anchor(["other"])
    journal.close()


def test_an_anchor_that_reads_a_variable_that_is_not_set_is_refused(tmp_path: Path) -> None:
    config = Config(server=Server(data=str(tmp_path)), anchors=(Anchor(use="webhook", url="env:NOWHERE_URL"),))
    with pytest.raises(ConfigError, match="NOWHERE_URL"):
        anchors_of(config, {})
