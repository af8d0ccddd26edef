"""Anchors checkpoints as commits of a git repository, whose history others hold copies of."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from watchkeeper.adapters.anchors.errors import NotAnchored
from watchkeeper.records.checkpoint import Checkpoint

FILE = "watchkeeper-checkpoints.jsonl"
_LOGIN = re.compile(r"(?<=://)[^/\s'\"]*@")
_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE")
_WHO = {"NAME": "Watchkeeper", "EMAIL": "watchkeeper@localhost"}


class GitAnchor:
    """An Anchor that is a file in a git work tree: one line and one commit for each checkpoint, pushed on request.

    Only that file is committed, whatever else has changed there. A push goes to the upstream of the branch, and never
    asks for a password.
    """

    def __init__(self, path: Path, *, push: bool = False, timeout_s: float = 20.0) -> None:
        self._path, self._push, self._timeout_s = path, push, timeout_s

    async def keep(self, checkpoint: Checkpoint, line: bytes) -> str:
        """Commit a line; returns the commit. Raises `NotAnchored`."""
        if not await asyncio.to_thread((self._path / ".git").exists):
            raise NotAnchored(f"{self._path} is no git repository; make one there with: git init")
        try:
            await asyncio.to_thread(self._append, line)
        except OSError as error:
            raise NotAnchored(f"{self._path / FILE} cannot be appended to: {error.strerror}") from error
        await self._git("add", "--", FILE)
        said = f"Checkpoint {checkpoint.number} {checkpoint.digest[:16]}"
        await self._git("commit", "--quiet", "--message", said, "--only", "--", FILE)
        commit = await self._git("rev-parse", "HEAD")
        if self._push:
            await self._git("push", "--quiet")
        return commit.strip()

    def _append(self, line: bytes) -> None:
        with (self._path / FILE).open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    async def _git(self, *words: str) -> str:
        known = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in _WHO.items()}
        # These would lead git to another repository than the one in the settings.
        own = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
        environ = {**known, **own, "GIT_TERMINAL_PROMPT": "0"}
        try:
            process = await asyncio.create_subprocess_exec(
                "git", "-C", str(self._path), *words, env=environ, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise NotAnchored(f"git cannot be run: {error.strerror}") from error
        try:
            out, err = await asyncio.wait_for(process.communicate(), self._timeout_s)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise NotAnchored(f"git {words[0]} in {self._path} took longer than {self._timeout_s:g} s") from None
        if process.returncode:
            last = err.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
            # An upstream's URL may hold a token, and what is said here goes into the log and the record.
            raise NotAnchored(f"git {words[0]} in {self._path} failed: {_LOGIN.sub('', last[-1])[:200]}")
        return out.decode("utf-8", "replace")
