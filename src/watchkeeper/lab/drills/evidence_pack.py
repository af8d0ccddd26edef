"""S08: an agent mails in a loop until its cap; the evidence says who let it, how many went out, and what is missing."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.watch import Watch, lab_settings

scenario = "S08"
promise = (
    "An agent that mails in a loop is stopped at its cap; the evidence pack names who authorised it and how many went "
    "out, lists its own gaps, and one changed byte fails its verification."
)

AGENT = "outreach"
USER = "ada"
CAP = 25
WANTED = 400
FLIPS = 12
AGENT_TIMEOUT_S = 120.0
REVOKED_AFTER_S = 1.0
"""How long the gateway may go on with a key that it knew: half a second, and some for a busy machine."""

TOOL = """
[[tools]]
name = "send_email"
class = "message"
unit_cost_usd = [0.5, 4.0]
"""
CAPPED = f"""
[[policies]]
use = "tool_cap"
name = "mail-cap"
owner = "operations"
with = {{ tools = ["send_*"], calls = {CAP}, per = "run" }}
"""

PROGRAM = """
import json, sys, time, urllib.request
import watchkeeper
url, key, mailer, wanted, run = sys.argv[1:]
watchkeeper.init(url, key, service="outreach", on_unreachable="closed")

def post(recipient):
    body = json.dumps({"to": recipient}).encode()
    urllib.request.urlopen(urllib.request.Request(mailer, body), timeout=10).read()

@watchkeeper.tool
def send_email(recipient):
    with watchkeeper.effect("send_email", key=f"{run}/{recipient}", target=recipient, reversible=False, required=True):
        post(recipient)

@watchkeeper.agent(name="outreach")
def campaign():
    for number in range(int(wanted)):
        try:
            send_email(f"person-{number}@example.org")
        except watchkeeper.Denied as denied:
            return number, denied.reason
    return int(wanted), "nothing"

with watchkeeper.session("campaign", run=run):
    sent, reason = campaign()
watchkeeper.flush(20)
print(json.dumps({"sent": sent, "stopped_by": reason}))
"""


def run(stage: Stage) -> Result:
    """Run the loop into its cap, pull the kill switch, make packs with and without the cap, and tamper with them."""
    notes = Notes()
    chance = random.Random(time.time_ns() % 1_000_000)
    lab = stage.lab()
    with _mailer() as (mailer, mails):
        watch = stage.serve(lab, TOOL + CAPPED)
        stage.say("an agent mails in a loop")
        key = watch.cli("key", "create", "outreach", "--user", USER)
        came = _campaign(watch, key["secret"], mailer, "autumn")
        _stopped(came, mails, notes)
        stage.say("its key is revoked, and it tries once more")
        watch.cli("key", "revoke", key["id"])
        time.sleep(REVOKED_AFTER_S)
        again = _campaign(watch, key["secret"], mailer, "winter")
        notes.measure(after_revoking=f"{again['sent']} mails, {again['stopped_by']}")
        notes.check("after its key was revoked no mail went out", len(mails) == CAP and again["sent"] == 0)
        stage.say("the evidence is packed, verified and tampered with")
        pack = watch.folder / "evidence.zip"
        told = watch.cli("report", "evidence", "--agent", AGENT, "--since", "1h", "--out", str(pack))
        _pack_says(told, key["id"], notes)
        _verifies(watch, pack, str(told["digest"]), chance, notes)
        watch.stop()
        _audit(watch, stage.folder / "copy", notes)
        stage.say("the cap is taken out of the settings")
        _without_cap(watch, lab.base_url, notes)
    return notes.result()


@contextmanager
def _mailer() -> Iterator[tuple[str, list[str]]]:
    """A mailer that delivers nothing and counts everything."""
    mails: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        """Takes one mail."""

        def do_POST(self) -> None:
            """Count it."""
            mails.append(self.rfile.read(int(self.headers.get("content-length", 0))).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", mails
    finally:
        server.shutdown()
        server.server_close()


def _campaign(watch: Watch, secret: str, mailer: str, name: str) -> dict[str, Any]:
    """The agent as a program of its own, with the SDK."""
    words = [sys.executable, "-c", PROGRAM, watch.root_url, secret, mailer, str(WANTED), name]
    done = subprocess.run(
        words, cwd=watch.folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=AGENT_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"The agent ended with {done.returncode}: {done.stderr[-800:].decode('utf-8', 'replace')}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _stopped(came: dict[str, Any], mails: list[str], notes: Notes) -> None:
    notes.measure(mails_wanted=WANTED, mails_out=len(mails), cap=CAP, stopped_by=came["stopped_by"])
    notes.tell(f"{len(mails)} of {WANTED} mails went out before the stop ({came['stopped_by']}, cap {CAP})")
    notes.check(
        "the loop was stopped exactly at its cap", len(mails) == CAP and came["stopped_by"] == "tool_cap_reached"
    )


def _tables(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The tables of a report by the heading above them, as rows by column."""
    found: dict[str, list[dict[str, Any]]] = {}
    heading = ""
    for block in document["blocks"]:
        if block["type"] == "heading":
            heading = block["text"]
        elif block["type"] == "table":
            found[heading] = [dict(zip(block["columns"], row, strict=True)) for row in block["rows"]]
    return found


def _pack_says(told: dict[str, Any], key_id: str, notes: Notes) -> None:
    tables = _tables(told)
    chain = next((row for row in tables["Who authorised it"] if row["effects"]), {})
    stop = next((row for row in tables["Stops"] if row["run"] == "autumn"), {})
    loss = tables["What it can have cost"][0]
    gaps = [row["missing"] for row in tables.get("Gaps", [])]
    notes.measure(
        authorised_by=f"key {chain.get('key')}, user {chain.get('user')}, agent {chain.get('agent')}",
        out_before_stop=stop.get("done before it"),
        out_after_stop=stop.get("done after it"),
        seconds_to_stop=stop.get("seconds to it"),
        loss_usd=loss["loss (USD)"],
        gaps=len(gaps),
    )
    right = (chain.get("key"), chain.get("user"), chain.get("tool")) == (key_id, USER, "send_email")
    notes.check("the pack says who authorised it", right and "user: key" in str(chain.get("learnt from")))
    notes.check("the pack says how many went out before the stop", stop.get("done before it") == CAP)
    notes.check("and that none went out after it", stop.get("done after it") == 0)
    notes.check("the cap is not among the gaps", not any("cap for tool" in gap for gap in gaps))
    notes.check("the kill switch has its time", bool(tables.get("Kill switch")))


def _verifies(watch: Watch, pack: Path, digest: str, chance: random.Random, notes: Notes) -> None:
    alone = watch.cli("evidence", "verify", str(pack), "--digest", digest, expect=(0, 1))
    beside = watch.cli("evidence", "verify", str(pack), "--journal", expect=(0, 1))
    notes.measure(records_in_pack=alone["records"], records_in_journal=beside["in_journal"])
    notes.check("the pack verifies by itself and against the journal", alone["holds"] and beside["holds"])
    data, unseen = pack.read_bytes(), 0
    broken = watch.folder / "broken.zip"
    places = [chance.randrange(len(data)) for _ in range(FLIPS)]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        broken.write_bytes(bytes(changed))
        done = watch.command("evidence", "verify", str(broken), "--digest", digest)
        unseen += done.returncode == 0 and not _same_content(pack, broken)
    notes.measure(flipped_bytes=FLIPS, flips_unseen=unseen)
    notes.tell(f"{FLIPS - unseen} of {FLIPS} flipped bytes in a pack were found")
    notes.check("a flipped byte fails the verification", unseen == 0)


def _same_content(pack: Path, other: Path) -> bool:
    """Whether a flip hit bytes that mean nothing: a time stamp of the archive, say, and no content."""
    import zipfile

    try:
        with zipfile.ZipFile(pack) as one, zipfile.ZipFile(other) as two:
            return {n: one.read(n) for n in one.namelist()} == {n: two.read(n) for n in two.namelist()}
    except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeDecodeError):
        return False


def _audit(watch: Watch, copy: Path, notes: Notes) -> None:
    """The trail tells of settings and keys; a changed act is found in a copy."""
    acts = watch.cli("ask", "audits", "limit=1000")["items"]
    told = {each["act"] for each in acts}
    notes.measure(audited_acts=len(acts))
    notes.check("keys and settings are in the audit trail", {"settings.first", "key.created", "key.revoked"} <= told)
    shutil.copytree(watch.data, copy, ignore=shutil.ignore_patterns("*.sock", "lock"))
    files = [path for path in (copy / "journal").rglob("*.wkj") if b"key.revoked" in path.read_bytes()]
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"key.revoked", b"key.revokes"))
    found = watch.cli("verify", "--data", str(copy), expect=(0, 1))
    notes.check("an act that was changed in the trail is found", bool(files) and found["holds"] is False)


def _without_cap(watch: Watch, lab_url: str, notes: Notes) -> None:
    with Watch(watch.folder, lab_settings(lab_url) + TOOL, data=watch.data) as second:
        told = second.cli("report", "evidence", "--agent", AGENT, "--since", "1h")
        acts = second.cli("ask", "audits", "act=settings.changed")["items"]
    gaps = [row["missing"] for row in _tables(told).get("Gaps", [])]
    changed = json.loads(acts[0]["detail"]) if acts else {}
    notes.check("without the cap the pack says it is missing", "missing: cap for tool send_email" in gaps)
    notes.check("the change is audited with both digests", bool(changed.get("old")) and bool(changed.get("new")))
