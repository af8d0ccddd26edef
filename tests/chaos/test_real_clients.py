"""Real SDKs against a gateway that is killed while its upstream misbehaves: whole answers or typed errors."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import anthropic
import httpx2
import openai
import pytest

from tests.chaos.running import Running

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for child processes in /proc"),
]
SEED = 20_261_128
SAID = "All is well."
FAULTS = (
    "",
    "",
    "",
    "error:429:0",
    "error:500",
    "error:529",
    "refuse",
    "cut:1",
    "cut:0",
    "malformed",
    "no_usage",
    "slow:0.2",
)
TARGETS = ("gateway", "store", "gateway", "all", "gateway")


class Clients:
    """Threads that each make calls with a real client until told to end; they keep what came of each."""

    def __init__(self, server: Running) -> None:
        base = f"http://127.0.0.1:{server.port}"
        self._done = threading.Event()
        self.whole: list[str] = []
        self.typed: Counter[str] = Counter()
        self.wrong: list[str] = []
        # Both are told not to wait longer than the test does.
        self._openai = openai.OpenAI(base_url=f"{base}/v1", api_key="unused", max_retries=1, timeout=15)
        self._anthropic = anthropic.Anthropic(base_url=base, api_key="unused", max_retries=1, timeout=15)
        ways = (self._chat, self._streamed, self._responses, self._messages, self._messages_streamed)
        self._threads = [
            threading.Thread(target=self._work, args=(way, Random(SEED + n)), daemon=True) for n, way in enumerate(ways)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what is under way."""
        self._done.set()
        for thread in self._threads:
            thread.join(90)
        assert not any(thread.is_alive() for thread in self._threads)
        self._openai.close()
        self._anthropic.close()

    def _work(self, way: Callable[[dict[str, str]], str], rng: Random) -> None:
        while not self._done.is_set():
            fault = rng.choice(FAULTS)
            if way == self._messages_streamed and fault == "no_usage":
                continue  # Anthropic's client reads a usage in every stream; without one it fails by itself
            try:
                said = way({"X-Lab-Fault": fault} if fault else {})
            except (openai.OpenAIError, anthropic.AnthropicError) as error:
                self.typed[f"{way.__name__}: {type(error).__name__}"] += 1
            except (httpx2.HTTPError, ValueError) as error:
                # What the SDKs let through: a connection that broke in the middle of a stream, or of a body.
                self.typed[f"{way.__name__}: {type(error).__name__}"] += 1
            except Exception as error:  # noqa: BLE001  whatever else comes is a finding
                self.wrong.append(f"{way.__name__} with {fault!r}: {type(error).__name__}: {error}"[:300])
            else:
                (self.whole if said == SAID else self.wrong).append(f"{way.__name__} with {fault!r}: {said!r}"[:300])
            time.sleep(0.01)

    def _chat(self, headers: dict[str, str]) -> str:
        answer = self._openai.chat.completions.create(
            model="lab-small", messages=[{"role": "user", "content": "Ship?"}], max_tokens=50, extra_headers=headers
        )
        return answer.choices[0].message.content or ""

    def _streamed(self, headers: dict[str, str]) -> str:
        stream = self._openai.chat.completions.create(
            model="lab-small",
            messages=[{"role": "user", "content": "Ship?"}],
            max_tokens=50,
            stream=True,
            extra_headers=headers,
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

    def _responses(self, headers: dict[str, str]) -> str:
        answer = self._openai.responses.create(
            model="lab-small", input="Ship?", max_output_tokens=50, extra_headers=headers
        )
        return answer.output_text

    def _messages(self, headers: dict[str, str]) -> str:
        answer = self._anthropic.messages.create(
            model="lab-small", messages=[{"role": "user", "content": "Ship?"}], max_tokens=50, extra_headers=headers
        )
        return "".join(block.text for block in answer.content if block.type == "text")

    def _messages_streamed(self, headers: dict[str, str]) -> str:
        with self._anthropic.messages.stream(
            model="lab-small", messages=[{"role": "user", "content": "Ship?"}], max_tokens=50, extra_headers=headers
        ) as stream:
            return stream.get_final_text()


def test_real_clients_see_whole_answers_or_typed_errors_while_everything_is_killed(running: Running) -> None:
    rng = Random(SEED)
    clients = Clients(running)
    try:
        for target in TARGETS:
            time.sleep(rng.uniform(0.8, 1.6))
            if target == "all":
                running.kill_all()
                running.start(ready=False)
            else:
                running.kill_one(target)
        time.sleep(1.5)
    finally:
        clients.stop()
    assert not clients.wrong, clients.wrong[:5]
    assert len(clients.whole) > 30 and sum(clients.typed.values()) > 5, (len(clients.whole), clients.typed)
    ways = {each.split(" ")[0] for each in clients.whole}
    assert ways == {"_chat", "_streamed", "_responses", "_messages", "_messages_streamed"}
    assert running.verified()["holds"]
    running.flush()
    found = running.span_ids(operation="chat")
    assert len(found) == len(set(found)) and len(found) >= len(clients.whole)
