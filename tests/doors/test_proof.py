"""Proving and erasing through the doors: beside a running server and without one, encrypted and plain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.planted import found_in
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Watch, lab_settings

pytestmark = [pytest.mark.door, pytest.mark.slow]

SECRET = "PLANTED-XYZZY-4711"
MASTER = "5e" * 32


def command(folder: Path, *words: str, status: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "watchkeeper", *words, "--json"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "MASTER": MASTER},
    )  # fmt: skip
    assert done.returncode == status, (done.returncode, done.stdout[-500:], done.stderr[-500:])
    return json.loads(done.stdout or done.stderr)


def call(address: str, user: str, text: str) -> None:
    body = {"model": "lab-small", "user": user, "messages": [{"role": "user", "content": text}]}
    headers = {"Content-Type": "application/json", "X-Watchkeeper-User": user}
    request = urllib.request.Request(f"{address}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        response.read()


@pytest.mark.parametrize("encryption", ["none", "subject"])
def test_a_user_is_erased_beside_a_running_server_and_the_rest_is_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encryption: str
) -> None:
    monkeypatch.setenv("MASTER", MASTER)
    anchors = tmp_path / "anchors.jsonl"
    recording = '[recording]\nencryption = "subject"\nmaster_key = "env:MASTER"\n' if encryption == "subject" else ""
    with LabServer(LabConfig(rules=(Rule(name="any", answer="I hear you."),))) as lab:
        extra = f'{recording}\n[[anchors]]\nuse = "file"\nname = "disk"\npath = "{anchors}"\n'
        watch = Watch(tmp_path, lab_settings(lab.base_url) + extra)
        with watch:
            for n in range(3):
                call(watch.base_url, "alice@example.org", f"{SECRET} number {n}")
                call(watch.base_url, "bob@example.org", f"nothing special {n}")
            here = ("--data", str(watch.data), "--config", str(tmp_path / "watchkeeper.toml"))
            anchored = command(tmp_path, "anchor", *here)
            assert [each["problem"] for each in anchored["anchors"]] == [None]
            found = command(tmp_path, "erase", "--user", "alice@example.org", "--dry-run", *here)
            assert found["dry_run"] and found["found"]["spans"] >= 3
            refused = command(tmp_path, "erase", "--user", "alice@example.org", *here, status=2)
            assert "--yes" in json.dumps(refused)
            done = command(tmp_path, "erase", "--user", "alice@example.org", "--yes", *here)
            assert found_in(watch.data, SECRET, "alice@example.org") == []
            call(watch.base_url, "alice@example.org", "a new beginning")
            watch.flush()
            spans = command(tmp_path, "ask", "spans", "operation=chat", *here)["items"]
            assert {each["user"] for each in spans} == {done["pseudonym"], "bob@example.org", "alice@example.org"}
            trace = next(each["trace_id"] for each in spans if each["user"] == "bob@example.org")
            command(tmp_path, "prove", trace, "-o", str(tmp_path / "proof"), *here)
        proved = command(tmp_path, "verify", "--anchors", str(anchors), *here)
        assert proved["holds"] and proved["erasures"][0]["subject"] == done["pseudonym"]
        judged = command(tmp_path, "verify", "--bundle", str(tmp_path / "proof"))
        assert judged["holds"] and judged["frames"] >= 2
        again = command(tmp_path, "erase", "--user", "bob@example.org", "--yes", *here)
        assert again["found"]["spans"] >= 3
        assert found_in(watch.data, "nothing special", "bob@example.org") == []
        assert command(tmp_path, "verify", "--anchors", str(anchors), *here)["holds"]
        assert command(tmp_path, "rebuild", *here)["records"] > 0
        assert len(command(tmp_path, "ask", "spans", "operation=chat", *here)["items"]) == len(spans)


def test_the_master_key_is_rotated_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    settings = tmp_path / "watchkeeper.toml"
    settings.write_text('[recording]\nencryption = "subject"\nmaster_key = "env:MASTER"\n')
    (tmp_path / "chat.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": SECRET}], "model": "m", "user": "ada"}) + "\n"
    )
    command(tmp_path, "import", "chat.jsonl", "--data", "data")
    assert not any(SECRET.encode() in path.read_bytes() for path in (tmp_path / "data").rglob("*.wkj"))
    (tmp_path / "new").write_text("7f" * 32)
    assert command(tmp_path, "seal", "rotate", "--to", "new", "--data", "data")["rotated"] >= 1
    refused = command(tmp_path, "seal", "status", "--data", "data", status=2)
    assert "not the one" in json.dumps(refused)
    settings.write_text('[recording]\nencryption = "subject"\nmaster_key = "new"\n')
    assert command(tmp_path, "seal", "status", "--data", "data")["encryption"] == "subject"
    assert command(tmp_path, "verify", "--data", "data")["holds"]
