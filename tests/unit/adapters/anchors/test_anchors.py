"""Anchors: a line in a file, a commit, a signed post; and a clear word where that does not work."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from watchkeeper.adapters.anchors.errors import NotAnchored
from watchkeeper.adapters.anchors.file import FileAnchor
from watchkeeper.adapters.anchors.git import FILE, GitAnchor
from watchkeeper.adapters.anchors.webhook import SIGNATURE, WebhookAnchor
from watchkeeper.records.checkpoint import Checkpoint

POINT = Checkpoint(checkpoint_id="chk_1", at_ns=1, number=1, previous="", digest="d" * 64, reached=())


@pytest.mark.anyio
async def test_a_file_grows_by_a_line(tmp_path: Path) -> None:
    anchor = FileAnchor(tmp_path / "anchors")
    await anchor.keep(POINT, b"one\n")
    await anchor.keep(POINT, b"two\n")
    assert (tmp_path / "anchors").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "anchors").stat().st_mode & 0o777 == 0o600


@pytest.mark.anyio
async def test_a_file_whose_folder_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotAnchored, match="No such file"):
        await FileAnchor(tmp_path / "not mounted" / "anchors").keep(POINT, b"one\n")


@pytest.mark.anyio
async def test_a_checkpoint_becomes_a_commit_of_that_file_alone(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "other.txt").write_text("not mine")
    subprocess.run(["git", "-C", str(tmp_path), "add", "other.txt"], check=True)
    commit = await GitAnchor(tmp_path).keep(POINT, b"one\n")
    shown = subprocess.run(
        ["git", "-C", str(tmp_path), "show", "--name-only", "--format=%s", commit], capture_output=True, check=True
    )
    assert shown.stdout.decode().split() == ["Checkpoint", "1", "d" * 16, FILE]


@pytest.mark.anyio
async def test_a_token_in_the_upstreams_url_is_not_told(tmp_path: Path) -> None:
    """A hook, a helper or an older git repeats the URL that it was given."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    hook = tmp_path / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho \"cannot reach 'https://bot:quiet-secret@git.example/a'\" >&2\nexit 1\n")
    hook.chmod(0o700)
    with pytest.raises(NotAnchored, match=r"https://git\.example/a") as told:
        await GitAnchor(tmp_path).keep(POINT, b"one\n")
    assert "quiet-secret" not in str(told.value)


@pytest.mark.anyio
async def test_the_environment_leads_to_no_other_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, other = tmp_path / "here", tmp_path / "other"
    for each in (here, other):
        subprocess.run(["git", "init", "-q", str(each)], check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    commit = await GitAnchor(here).keep(POINT, b"one\n")
    monkeypatch.delenv("GIT_DIR")
    subprocess.run(["git", "-C", str(here), "cat-file", "-e", commit], check=True)


@pytest.mark.anyio
async def test_a_folder_that_is_no_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotAnchored, match="git init"):
        await GitAnchor(tmp_path).keep(POINT, b"one\n")


@pytest.mark.anyio
@pytest.mark.parametrize("status", [200, 503])
async def test_a_post_is_signed_and_a_refusal_is_told(status: int) -> None:
    got: list[tuple[bytes, str]] = []

    async def take(request: web.Request) -> web.Response:
        got.append((await request.read(), request.headers[SIGNATURE]))
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/anchor", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    anchor = WebhookAnchor(f"http://{host}:{port}/anchor?token=hidden", secret=b"s3cret")
    try:
        if status == 200:
            assert await anchor.keep(POINT, b"one\n") == "127.0.0.1"
        else:
            with pytest.raises(NotAnchored) as error:
                await anchor.keep(POINT, b"one\n")
            assert "503" in str(error.value) and "hidden" not in str(error.value)
    finally:
        await runner.cleanup()
    assert got == [(b"one\n", "sha256=" + hmac.new(b"s3cret", b"one\n", hashlib.sha256).hexdigest())]


def test_a_url_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="not shown"):
        WebhookAnchor("ftp://token@host")
