"""Builds OTLP exports for the benchmarks: GenAI spans of agents whose histories grow turn by turn, from a seed."""

from __future__ import annotations

import bisect
import itertools
import json
import random
import time
from typing import Any

SPANS = 512
CALLS = 5
MARK = b"\xa5\x5a\xc3\x3c\x96"
"""Five bytes that begin every id in a built export; a client puts fresh ones in their place before it sends."""

CALL_MARK = b"c0ffee00d00dfeed"
"""The same for the ids of replies: sixteen hex digits, because two calls with one id would be one call told twice."""

MODELS = (("openai", "gpt-5-mini"), ("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-4o-mini"))
TOOLS = ("search_orders", "read_page", "look_up_price", "send_message")
SYSTEM = "You help the customers of a bookshop. Look orders up before you answer, and say so when you are not sure. "


class Words:
    """Text whose words are as unevenly used as a language's: the rank-th word comes up in proportion to 1 / rank."""

    def __init__(self, rng: random.Random, size: int = 6_000) -> None:
        letters = "etaoinshrdlucmfwypvbgkq"
        self._rng = rng
        self._words = ["".join(rng.choice(letters) for _ in range(rng.choice((2, 3, 4, 5, 6, 8)))) for _ in range(size)]
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, size + 1)))

    def text(self, length: int) -> str:
        """So many words."""
        top = self._weights[-1]
        places = (bisect.bisect(self._weights, self._rng.random() * top) for _ in range(length))
        return " ".join(self._words[place] for place in places)


class Exports:
    """Builds export requests of `SPANS` spans; one seed always gives the same bytes but for the time of day."""

    def __init__(self, seed: int, calls: int = CALLS) -> None:
        """`calls` is how many turns a conversation has; with more, the attributes are longer."""
        self._rng, self._calls = random.Random(seed), calls
        self._words = Words(self._rng)
        self._numbers = itertools.count(1)
        self.attribute_bytes = self.spans = 0

    def build(self) -> bytes:
        """One export of one service's spans."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        for key, text in (("service.name", "answers"), ("service.version", "1.14.2"), ("host.name", "ip-10-0-1-17")):
            resource.resource.attributes.add(key=key).value.string_value = text
        scope = resource.scope_spans.add()
        scope.scope.name = "opentelemetry.instrumentation.genai.openai"
        while len(scope.spans) < SPANS:
            self._run(scope.spans)
        del scope.spans[SPANS:]
        data: bytes = request.SerializeToString()
        return data

    def _run(self, spans: Any) -> None:
        """One agent's run: a root, and chats whose history grows by a tool call and its result each."""
        rng, words = self._rng, self._words
        trace_id = MARK + next(self._numbers).to_bytes(4, "big") + rng.randbytes(7)
        root, at_ns = self._id(), time.time_ns() - rng.randrange(30_000_000_000)
        session = f"session-{rng.getrandbits(48):012x}"
        history = [_message("user", words.text(30))]
        chats = []
        for turn in range(self._calls):
            said = _message("assistant", words.text(12))
            start_ns = at_ns + turn * 2_000_000_000
            span = self._span(spans, trace_id, root, start_ns, "chat")
            self._chat(span, session, history, said)
            chats.append(span)
            tool = self._span(spans, trace_id, root, start_ns + 1_500_000_000, "execute_tool")
            found = words.text(rng.choice((10, 30, 60, 200)))
            self._tool(tool, session, found)
            history += [said, _message("tool", found[:400])]
        agent = self._span(spans, trace_id, b"", at_ns, "invoke_agent", root)
        agent.end_time_unix_nano = at_ns + self._calls * 2_000_000_000
        self._fill(
            agent,
            {
                "gen_ai.agent.name": "answers",
                "gen_ai.conversation.id": session,
                "gen_ai.input.messages": json.dumps(history[:1]),
                "gen_ai.output.messages": json.dumps([_message("assistant", words.text(60))]),
            },
        )

    def _chat(self, span: Any, session: str, history: list[dict[str, Any]], said: dict[str, Any]) -> None:
        rng, (provider, model) = self._rng, self._rng.choice(MODELS)
        span.name = f"chat {model}"
        self._fill(
            span,
            {
                "gen_ai.provider.name": provider,
                "gen_ai.request.model": model,
                "gen_ai.response.model": f"{model}-2025-08-07",
                "gen_ai.response.id": f"chatcmpl-{CALL_MARK.decode()}{rng.getrandbits(32):08x}",
                "gen_ai.conversation.id": session,
                "gen_ai.agent.name": "answers",
                "server.address": "api.example.com",
                "customer.tier": rng.choice(("free", "pro", "enterprise")),
                "request.id": f"req_{rng.getrandbits(128):032x}",
                "gen_ai.system_instructions": json.dumps([{"type": "text", "content": SYSTEM * 2}]),
                "gen_ai.input.messages": json.dumps(history),
                "gen_ai.output.messages": json.dumps([said]),
            },
            {
                "gen_ai.usage.input_tokens": 60 + 90 * len(history) + rng.randrange(60),
                "gen_ai.usage.output_tokens": rng.randrange(5, 400),
                "gen_ai.request.max_tokens": 1024,
                "server.port": 443,
            },
        )
        reasons = span.attributes.add(key="gen_ai.response.finish_reasons").value.array_value.values
        reasons.add().string_value = "tool_calls"

    def _tool(self, span: Any, session: str, found: str) -> None:
        name = self._rng.choice(TOOLS)
        span.name = f"execute_tool {name}"
        self._fill(
            span,
            {
                "gen_ai.tool.name": name,
                "gen_ai.tool.call.id": f"call_{self._rng.getrandbits(96):024x}",
                "gen_ai.conversation.id": session,
                "gen_ai.agent.name": "answers",
                "customer.tier": self._rng.choice(("free", "pro", "enterprise")),
                "gen_ai.tool.call.arguments": json.dumps({"query": found[:60], "limit": 10}),
                "gen_ai.tool.call.result": json.dumps({"status": "ok", "text": found, "notes": self._words.text(170)}),
            },
        )

    def _id(self) -> bytes:
        return MARK + next(self._numbers).to_bytes(3, "big")

    def _span(
        self, spans: Any, trace_id: bytes, parent: bytes, start_ns: int, operation: str, own: bytes | None = None
    ) -> Any:
        span = spans.add(trace_id=trace_id, span_id=own or self._id(), parent_span_id=parent, kind=3, name=operation)
        span.start_time_unix_nano = start_ns
        span.end_time_unix_nano = start_ns + int(self._rng.lognormvariate(20.0, 0.8))
        span.attributes.add(key="gen_ai.operation.name").value.string_value = operation
        return span

    def _fill(self, span: Any, texts: dict[str, str], counts: dict[str, int] | None = None) -> None:
        for key, text in texts.items():
            span.attributes.add(key=key).value.string_value = text
        for key, count in (counts or {}).items():
            span.attributes.add(key=key).value.int_value = count
        self.attribute_bytes += sum(len(key) + len(text) for key, text in texts.items())
        self.spans += 1


def fresh(body: bytes, rng: random.Random) -> bytes:
    """A built export with ids of its own."""
    return body.replace(MARK, rng.randbytes(len(MARK))).replace(CALL_MARK, rng.randbytes(8).hex().encode())


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}
