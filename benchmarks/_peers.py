"""The systems that `gateway_peers` sets side by side, each in processes of its own with what it costs.

Every one stands before the same stub upstream on loopback and is bound to one core; stub and load share another.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from watchkeeper.config import Config

PORT_LINE = "listening on "
STUB_CORE, SYSTEM_CORE = 0, -1
STARTS_WITHIN_S = 60.0
LITELLM = ("litellm[proxy]",)
LITELLM_KEY = "sk-bench-0000"


class Absent(RuntimeError):
    """A system is not there; the message says why, and what to do to have it."""


class System:
    """A running system: its port, the key that it takes, its CPU time and memory over all its processes."""

    def __init__(self, name: str, process: subprocess.Popen[Any], port: int, key: str = "none") -> None:
        self.name, self.process, self.port, self.key = name, process, port, key

    def cpu_s(self) -> float:
        """CPU seconds so far, user and system."""
        return sum(map(_cpu_s, self._pids()))

    def rss_mib(self) -> float:
        """Resident memory in MiB."""
        return sum(map(_rss_mib, self._pids()))

    def stop(self) -> None:
        """Ask the processes to end, and see that they do."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _pids(self) -> list[int]:
        found, at = [self.process.pid], 0
        while at < len(found):
            for path in Path(f"/proc/{found[at]}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += map(int, path.read_text().split())
            at += 1
        return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * resource.getpagesize() / (1 << 20)


def core(which: int) -> set[int]:
    """The cores that a role is bound to: one of those that are ours."""
    ours = sorted(os.sched_getaffinity(0))
    return {ours[which % len(ours)]}


def _bound(which: int) -> Callable[[], None]:
    cores = core(which)
    return lambda: os.sched_setaffinity(0, cores)


def own(role: str, upstream_port: int, folder: Path, which: int = SYSTEM_CORE) -> System:
    """A role of this file in a process of its own."""
    command = [sys.executable, "-m", "benchmarks._peers", "--role", role, "--upstream", str(upstream_port)]
    process = subprocess.Popen(
        [*command, "--folder", str(folder)], stdout=subprocess.PIPE, text=True, preexec_fn=_bound(which)
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith(PORT_LINE):
        raise RuntimeError(f"The {role} server did not start; its own message stands above.")
    port = int(line.removeprefix(PORT_LINE))
    _answers(port)
    key = folder / f"{role}.key"
    return System(role, process, port, key.read_text() if key.exists() else "none")


def _answers(port: int) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise Absent(f"it did not answer on its port within {STARTS_WITHIN_S:.0f} s")


# --- nginx ----------------------------------------------------------------------------------------------------------


def nginx(upstream_port: int, folder: Path) -> System:
    """nginx with one worker, `proxy_pass` over kept connections, nothing buffered in files, no access log."""
    program = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
    if program is None:
        raise Absent("nginx is not installed (`apt-get install nginx-light`)")
    port = _free_port()
    place = folder / "nginx"
    place.mkdir()
    temporary = "".join(
        f"{kind}_temp_path {place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place / "nginx.conf").write_text(
        f"""daemon off; worker_processes 1; pid {place}/pid; error_log {place}/error.log warn;
        {"user root;" if os.getuid() == 0 else ""}
        events {{ worker_connections 1024; }}
        http {{ access_log off; {temporary} keepalive_requests 100000000; client_max_body_size 100m;
        client_body_buffer_size 2m;
        upstream stub {{ server 127.0.0.1:{upstream_port}; keepalive 128; keepalive_requests 100000000; }}
        server {{ listen 127.0.0.1:{port} backlog=2048;
        location / {{ proxy_pass http://stub; proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_buffering off; }} }} }}"""
    )
    command = [program, "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "error.log")]
    process = subprocess.Popen(command, preexec_fn=_bound(SYSTEM_CORE))
    _answers(port)
    return System("nginx", process, port)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# --- LiteLLM --------------------------------------------------------------------------------------------------------


def litellm(upstream_port: int, folder: Path, environment: Path, install: bool) -> System:
    """LiteLLM's proxy with one worker and a master key, from an environment of its own."""
    program = environment / "bin" / "litellm"
    if not program.exists():
        if not install:
            raise Absent(f"LiteLLM is not installed in {environment}; `--litellm` installs it there")
        _install(environment)
    port = _free_port()
    settings = folder / "litellm.yaml"
    settings.write_text(
        "model_list:\n- model_name: gpt-4o-mini\n  litellm_params:\n    model: openai/gpt-4o-mini\n"
        f"    api_base: http://127.0.0.1:{upstream_port}/v1\n    api_key: none\n"
        f"general_settings:\n  master_key: {LITELLM_KEY}\n"
    )
    variables = {**os.environ, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1"}
    variables.pop("PYTHONPATH", None)
    log = (folder / "litellm.log").open("wb")
    process = subprocess.Popen(
        [str(program), "--config", str(settings), "--port", str(port), "--host", "127.0.0.1", "--telemetry", "False"],
        preexec_fn=_bound(SYSTEM_CORE),
        env=variables,
        stdout=log,
        stderr=log,
    )
    system = System("litellm", process, port, LITELLM_KEY)
    try:
        _answers(port)
        _answers_well(system)
    except Absent:
        system.stop()
        raise
    return system


def _install(environment: Path) -> None:
    try:
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=120)
        command = [str(environment / "bin" / "pip"), "install", "--quiet", *LITELLM]
        subprocess.run(command, check=True, timeout=900)
    except (subprocess.SubprocessError, OSError) as error:
        raise Absent(f"LiteLLM could not be installed in {environment} ({type(error).__name__})") from error


def _answers_well(system: System) -> None:
    from benchmarks._wire import request_body

    headers = {"content-type": "application/json", "authorization": f"Bearer {system.key}"}
    url = f"http://127.0.0.1:{system.port}/v1/chat/completions"
    said = ""
    for _ in range(30):
        try:
            asked = urllib.request.Request(url, request_body(1000, False), headers)
            with urllib.request.urlopen(asked, timeout=30) as answer:
                if answer.status == 200:
                    return
        except OSError as error:
            said = str(error)
        time.sleep(1)
    raise Absent(f"LiteLLM did not answer a call ({said[:200]})")


# --- Watchkeeper's gateway process ----------------------------------------------------------------------------------

LIMITS = (
    {"use": "budget", "name": "per-key", "with": {"per": "key", "usd": 1_000_000.0}},
    {"use": "budget", "name": "per-session", "with": {"per": "session", "usd": 1_000_000.0}},
    {"use": "loop", "with": {}},
)


def _settings(place: Path, port: int, upstream_port: int, limits: bool, recording: str, transport: str) -> Config:
    from watchkeeper.config import Config

    return msgspec.convert(
        {
            "server": {
                "listen": f"127.0.0.1:{port}",
                "require_keys": True,
                "data": str(place),
                "transport": transport,
            },
            "upstreams": [
                {
                    "name": "stub",
                    "base_url": f"http://127.0.0.1:{upstream_port}/v1",
                    "credential": "none",
                    "provider": "openai",
                    "recording": recording,
                }
            ],
            "policies": list(LIMITS) if limits else [],
        },
        Config,
    )


def gateway(
    name: str,
    upstream_port: int,
    folder: Path,
    *,
    limits: bool = False,
    recording: str = "available",
    transport: str = "native",
) -> System:
    """The gateway process as `watchkeeper serve` starts it: front, keys, redaction and journal, on a free port."""
    from watchkeeper.adapters.store.sqlite_cells import SQLiteCells
    from watchkeeper.engines.gateway.keys import KeyRing
    from watchkeeper.engines.recorder.home import Home

    place = folder / name
    home = Home(place)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    port = listener.getsockname()[1]
    config = _settings(place, port, upstream_port, limits, recording, transport)

    async def made() -> str:
        cells = SQLiteCells.open(home.cells)
        secret = (await KeyRing(cells).create("bench")).secret
        await cells.close()
        return secret

    key = asyncio.run(made())
    process = subprocess.Popen(
        [sys.executable, "-m", "watchkeeper.server.processes", "gateway", str(listener.fileno())],
        stdin=subprocess.PIPE,
        pass_fds=(listener.fileno(),),
        preexec_fn=_bound(SYSTEM_CORE),
        env={"MALLOC_ARENA_MAX": "2"} | os.environ,
        stderr=(folder / f"{name}.log").open("wb"),
    )
    listener.close()
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(config) + b"\n")
    process.stdin.flush()
    system = System(name, process, port, key)
    _answers(port)
    _answers_well(system)
    return system


# --- the roles ------------------------------------------------------------------------------------------------------


def _libraries(upstream_port: int) -> Any:
    from benchmarks.gateway import bare

    return bare(f"http://127.0.0.1:{upstream_port}/v1")


async def _serve_protocol(factory: Callable[[], asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", 0, backlog=2048)
    print(f"{PORT_LINE}{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def _serve_app(app: Any) -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"{PORT_LINE}{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, http="httptools", loop="uvloop", log_level="warning", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one role until stopped."""
    import uvloop

    from benchmarks._wire import BareProxy, Stub

    parser = argparse.ArgumentParser()
    parser.add_argument("--role", choices=("stub", "protocols", "libraries", "load"), required=True)
    parser.add_argument("--upstream", type=int, default=0)
    parser.add_argument("--folder", default="")
    parser.add_argument("--plan", default="")
    given = parser.parse_args(arguments)
    if given.role == "libraries":
        _serve_app(_libraries(given.upstream))
    elif given.role == "load":
        print(json.dumps(uvloop.run(_load(json.loads(given.plan)))))
    else:
        pool: list[Any] = []
        factory = Stub if given.role == "stub" else lambda: BareProxy(given.upstream, pool)
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(_serve_protocol(factory))


async def _load(plan: dict[str, Any]) -> dict[str, Any]:
    from benchmarks._wire import Run

    run = Run(plan["port"], plan["key"], plan["size_bytes"], plan["stream"])
    if plan.get("rate_per_s"):
        return await run.at_rate(plan["rate_per_s"], plan["connections"], plan["seconds"])
    return await run.closed(plan["connections"], plan["seconds"], plan.get("most") or 1 << 60)


def load(system: System, **plan: Any) -> dict[str, Any]:
    """A turn of load on a system, from a process of its own on the stub's core, with what each answer cost it."""
    told = json.dumps({"port": system.port, "key": system.key, **plan})
    command = [sys.executable, "-m", "benchmarks._peers", "--role", "load", "--plan", told]
    before = system.cpu_s()
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=plan["seconds"] + 60,
        preexec_fn=_bound(STUB_CORE),
    )
    result: dict[str, Any] = json.loads(done.stdout)
    result["cpu_us"] = (system.cpu_s() - before) / max(1, result["answers"]) * 1e6
    return result


if __name__ == "__main__":
    main()
