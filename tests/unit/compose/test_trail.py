"""Settings that changed and sign-ins are in the audit trail, without secrets and without flooding it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.compose.trail import IN_FORCE, SignIns, in_force, note_settings, stated
from watchkeeper.config import Config, load
from watchkeeper.kinds.ports import Put
from watchkeeper.records.audit import Audit

CAP = '[[policies]]\nuse = "tool_cap"\nname = "mail-cap"\nowner = "ops"\nwith = { tools = ["send_*"], calls = 25 }\n'
TOOL = '[[tools]]\nname = "send_email"\nclass = "message"\n'


def settings(folder: Path, text: str) -> Config:
    file = folder / "watchkeeper.toml"
    file.write_text(text)
    return load(file, environ={})


@pytest.mark.anyio
async def test_each_change_is_written_once_with_both_digests(tmp_path: Path) -> None:
    cells, written = MemoryCells(), list[Audit]()
    for text in (CAP, CAP, TOOL, TOOL, CAP):
        await note_settings(settings(tmp_path, text), cells, written.append, len(written))
    first, second, third = [json.loads(each.detail or "{}") for each in written]
    assert [each.act for each in written] == ["settings.first", "settings.changed", "settings.changed"]
    assert (first["old"], second["old"], third["old"]) == (None, first["new"], second["new"])
    assert third["new"] == first["new"]
    assert first["policies"][0]["with"] == {"tools": ["send_*"], "calls": 25}
    assert first["policies"][0]["version"] == "1"
    assert second["tools"] == [{"name": "send_email", "class": "message", "unit_cost_usd": None, "approval": None}]


@pytest.mark.anyio
async def test_another_address_is_no_change_of_what_holds(tmp_path: Path) -> None:
    cells, written = MemoryCells(), list[Audit]()
    for listen in ("127.0.0.1:1", "127.0.0.1:2"):
        await note_settings(settings(tmp_path, f'[server]\nlisten = "{listen}"\n'), cells, written.append, 1)
    assert len(written) == 1


def test_values_under_names_of_secrets_are_left_out(tmp_path: Path) -> None:
    text = '[[policies]]\nuse = "mine"\nwith = { api_key = "hush", hook_token = "hush", tokens = 5, long = "%s" }\n'
    shown = in_force(settings(tmp_path, text % ("x" * 5_000)))["policies"][0]["with"]
    assert (shown["api_key"], shown["hook_token"], shown["tokens"]) == ("(not shown)", "(not shown)", 5)
    assert len(shown["long"]) < 400


def test_failed_sign_ins_are_counted_and_written_once_a_minute() -> None:
    now, written = [10**18], list[Audit]()
    signed = SignIns(written.append, lambda: now[0])
    for _ in range(1_000):
        signed("signin.failed", "address:127.0.0.1")
    now[0] += 61 * 10**9
    signed("signin.failed", "address:127.0.0.1")
    signed("signin", "key:abc")
    assert [each.act for each in written] == ["signin.failed", "signin.failed", "signin"]
    assert written[1].detail == "1000 failed sign-ins since the last line like this"
    assert (written[2].actor, written[2].detail) == ("key:abc", None)


@pytest.mark.anyio
async def test_a_start_that_died_before_it_was_noted_writes_the_same_act_and_not_another(tmp_path: Path) -> None:
    cells, written = MemoryCells(), list[Audit]()
    await note_settings(settings(tmp_path, CAP), cells, written.append, 1)
    before = await cells.get(IN_FORCE)
    assert isinstance(before, bytes)
    await note_settings(settings(tmp_path, TOOL), cells, written.append, 2)
    await cells.apply([Put(key=IN_FORCE, value=before)])  # the note was lost with the process
    await note_settings(settings(tmp_path, TOOL), cells, written.append, 3)
    assert written[1].audit_id == written[2].audit_id
    await note_settings(settings(tmp_path, CAP), cells, written.append, 4)
    await note_settings(settings(tmp_path, TOOL), cells, written.append, 5)
    assert len({each.audit_id for each in written}) == 4  # going there again is another act


def test_a_default_that_is_written_out_and_a_setting_that_is_new_are_no_change(tmp_path: Path) -> None:
    plain = stated(settings(tmp_path, CAP))
    assert stated(settings(tmp_path, CAP + "[server]\nrequire_keys = false\n[sign_in]\nhours = 12.0\n")) == plain
    assert set(plain) == {"policies"}
    assert stated(settings(tmp_path, "[server]\nrequire_keys = true\n")) == {"server": {"require_keys": True}}


def test_a_sign_out_is_the_act_of_whom_it_was() -> None:
    written: list[Audit] = []
    SignIns(written.append)("signout", "person:ada")
    assert (written[0].act, written[0].actor, written[0].subject) == ("signout", "person:ada", "person:ada")
