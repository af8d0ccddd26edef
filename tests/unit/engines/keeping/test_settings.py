"""Settings of retention become rules, or a letter that names what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from watchkeeper.config import ConfigError, load
from watchkeeper.engines.keeping.rules import DAY_NS
from watchkeeper.engines.keeping.settings import Retention, Sampling, SettingProblem, rules_of
from watchkeeper.records.kept import Stage


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        ({"bodies": "30d"}, "bodies_ns", 30 * DAY_NS),
        ({"records": "7y"}, "records_ns", 7 * 365 * DAY_NS),
        ({"records": "forever"}, "records_ns", None),
        ({"disk_cap": ""}, "disk_cap_bytes", None),
        ({"disk_cap": "20GB"}, "disk_cap_bytes", 20 * 10**9),
        ({"disk_cap": "500 MB"}, "disk_cap_bytes", 500 * 10**6),
        ({"disk_cap": "1.5GiB"}, "disk_cap_bytes", 1536 * 2**20),
        ({"disk_cap": "1234"}, "disk_cap_bytes", 1234),
        ({"floor": "36h"}, "floor_ns", 1.5 * DAY_NS),
    ],
)
def test_a_setting_becomes_a_rule(settings: dict[str, str], name: str, value: Any) -> None:
    assert getattr(rules_of(Sampling(), Retention(**settings)), name) == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[sampling]\nwindow = "soon"', "`sampling.window` is 'soon': expected a length such as 36h"),
        ('[sampling]\nwindow = "forever"', "cannot be for ever"),
        ("[sampling]\nshare = 2", "share"),
        ('[sampling]\nreasons = ["because"]', "no such reason; they are error"),
        ('[retention]\nbodies = "3d"', "shorter than `sampling.window`"),
        ('[retention]\nmetadata = "60d"', "shorter than `retention.fields`"),
        ('[retention]\nbodies = "forever"', "`retention.fields` is '180d': shorter than `retention.bodies`"),
        ('[retention]\ndisk_cap = "much"', "expected a size such as 500MB"),
    ],
)
def test_what_does_not_fit_is_named_with_what_to_write(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "watchkeeper.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"watchkeeper\.toml") as error:
        load(file)
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("days", "stage"),
    [
        (6.99, Stage.WHOLE), (7, Stage.SAMPLED), (89, Stage.SAMPLED), (90, Stage.BODIES), (180, Stage.FIELDS),
        (400, Stage.METADATA), (7 * 365, Stage.RECORDS),
    ],
)  # fmt: skip
def test_stages_are_due_exactly_at_their_age(days: float, stage: Stage) -> None:
    rules = rules_of(Sampling(), Retention())
    assert rules.due(1_000, 1_000 + round(days * DAY_NS)) is stage


def test_without_sampling_bodies_stay_until_their_own_time() -> None:
    rules = rules_of(Sampling(enabled=False), Retention())
    assert rules.due(0, 80 * DAY_NS) is Stage.WHOLE
    assert rules.due(0, 90 * DAY_NS) is Stage.BODIES


def test_other_rules_have_another_version() -> None:
    assert rules_of(Sampling(), Retention()).version != rules_of(Sampling(share=0.03), Retention()).version


def test_names_may_go_with_the_bodies_or_later_and_not_before() -> None:
    rules = rules_of(Sampling(), Retention(identities="90d", identity_fields=("user", "session")))
    assert (rules.identities_ns, rules.identity_fields) == (90 * DAY_NS, ("session", "user"))
    assert rules_of(Sampling(), Retention()).identities_ns is None
    with pytest.raises(SettingProblem, match="bodies may hold names"):
        rules_of(Sampling(), Retention(identities="89d"))
    with pytest.raises(SettingProblem, match="expected some of user, session"):
        rules_of(Sampling(), Retention(identities="90d", identity_fields=("tenant",)))
