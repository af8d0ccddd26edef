"""Measures what an eval runner adds for each sample: ours beside Inspect AI and a bare loop, at zero latency.

    python -m benchmarks.eval_runner [--samples 1000] [--rounds 3] [--inspect DIR] [--json]

All three ask the same endpoint on loopback, which answers at once (no model: a fixed reply), 64 at a time, and match
the answer exactly. They take turns, and the table shows medians of wall time, of the CPU time of the asking process,
and the ratio to ours. Ours and Inspect's are whole commands as a user starts them, start-up and record included. DIR
holds (or gets) a virtual environment with inspect-ai; without the network it is left out and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

CONCURRENCY = 64
SERVER = """
import asyncio, json, sys
import httptools, uvloop

BODY = json.dumps({
    "id": "c", "object": "chat.completion", "created": 0, "model": "fixed",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
}).encode()
REPLY = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(BODY) + BODY

class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)
    def data_received(self, data):
        self.parser.feed_data(data)
    def on_message_complete(self):
        self.transport.write(REPLY)

async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.wait_for(server.serve_forever(), 3600)

uvloop.run(main())
"""
BARE = """
import asyncio, sys
import aiohttp

async def main(url, samples):
    work = iter(range(samples))
    right = 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session:
        async def ask():
            nonlocal right
            for number in work:
                body = {"model": "fixed", "messages": [{"role": "user", "content": f"What is 2 + 2? ({number})"}]}
                async with session.post(url + "/chat/completions", json=body) as reply:
                    right += (await reply.json())["choices"][0]["message"]["content"] == "4"
        await asyncio.gather(*(ask() for _ in range(64)))
    assert right == samples

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""
TASK = """
import os
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import exact
from inspect_ai.solver import generate

@task
def speed():
    count = int(os.environ["SAMPLES"])
    samples = [Sample(input=f"What is 2 + 2? ({number})", target="4") for number in range(count)]
    return Task(dataset=samples, solver=[generate()], scorer=exact())
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Take the measurements and print them."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--samples", type=int, default=1000)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--inspect", type=Path, default=Path(tempfile.gettempdir()) / "watchkeeper-bench-inspect")
    words.add_argument("--json", action="store_true")
    given = words.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        rows = _measure(Path(folder), given.samples, given.rounds, _inspect(given.inspect))
    if given.json:
        print(json.dumps({"samples": given.samples, "rounds": given.rounds, "rows": rows}))
        return
    print(
        f"{given.samples} samples, {CONCURRENCY} at a time, a fixed reply on loopback, medians of {given.rounds} rounds"
    )
    for row in rows:
        print(
            f"{row['name']:28} {row['wall_s']:7.2f} s wall {row['cpu_s']:7.2f} s CPU   "
            f"{row['wall_ratio']:6.1f} x wall {row['cpu_ratio']:6.1f} x CPU of ours"
        )


def _measure(folder: Path, samples: int, rounds: int, inspect: Path | None) -> list[dict[str, float | str]]:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        commands = _commands(folder, url, samples, inspect)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for number in range(rounds):
            for name, words in commands.items():
                taken[name].append(_take([word.replace("{n}", str(number)) for word in words], samples, url, folder))
    finally:
        server.terminate()
        server.wait(30)
    ours = [statistics.median(column) for column in zip(*taken["watchkeeper eval run"], strict=True)]
    rows: list[dict[str, float | str]] = []
    for name, pairs in taken.items():
        wall, cpu = (statistics.median(column) for column in zip(*pairs, strict=True))
        rows.append(
            {"name": name, "wall_s": wall, "cpu_s": cpu, "wall_ratio": wall / ours[0], "cpu_ratio": cpu / ours[1]}
        )
    return rows


def _commands(folder: Path, url: str, samples: int, inspect: Path | None) -> dict[str, list[str]]:
    cases = [{"id": n, "input": f"What is 2 + 2? ({n})", "expected": "4"} for n in range(samples)]
    (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    suite = {
        "name": "speed",
        "target": {"model": "fixed", "base_url": url},
        "dataset": "cases.jsonl",
        "scorers": [{"use": "exact"}],
    }
    (folder / "suite.yaml").write_text(json.dumps(suite))
    (folder / "task.py").write_text(TASK)
    words = [sys.executable, "-m", "watchkeeper", "eval", "run", str(folder / "suite.yaml"), "--concurrency", "64"]
    found = {
        "watchkeeper eval run": [*words, "--data", str(folder / "data-{n}")],
        "a bare loop over aiohttp": [sys.executable, "-c", BARE, url, str(samples)],
    }
    if inspect is not None:
        words = [str(inspect / "bin" / "inspect"), "eval", "task.py", "--model", "openai/fixed"]
        words += ["--max-connections", "64", "--max-samples", "64", "--log-dir", str(folder / "logs-{n}")]
        found["inspect eval"] = [*words, "--display", "none", "-M", "responses_api=false"]
    return found


def _take(words: list[str], samples: int, url: str, folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one command."""
    environ = {**os.environ, "OPENAI_API_KEY": "unused", "OPENAI_BASE_URL": url, "SAMPLES": str(samples)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second start finds compiled files
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, timeout=900, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(words[:4])} ended with {done.returncode}:\n{done.stdout[-1000:]}\n{done.stderr[-1000:]}"
        )
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _inspect(folder: Path) -> Path | None:
    """An environment with Inspect AI, made where there is none; None where that cannot be had."""
    if (folder / "bin" / "inspect").exists():
        return folder
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
        install = [str(folder / "bin" / "pip"), "install", "--quiet", "inspect-ai", "openai"]
        subprocess.run(install, check=True, timeout=900, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"Inspect AI is left out: its environment could not be made ({type(error).__name__}).", file=sys.stderr)
        return None
    return folder


if __name__ == "__main__":
    main()
