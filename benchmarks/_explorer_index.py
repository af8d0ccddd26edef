"""Makes a large index for the benchmark of questions: simulated spans and scores, by SQL, in the order they come in.

The tables, the compression, the row groups and the columns for attributes are those of the Log itself, which then opens
the file. Ten spans make a trace (an agent, its calls, tools and look-ups); four traces run at the same time.

    python -m benchmarks._explorer_index FILE [--spans 10000000] [--scores 1000000] [--days 30]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from watchkeeper.adapters.store.attribute_slots import SLOT_COLUMNS
from watchkeeper.adapters.store.duckdb_file import ROW_GROUP_ROWS, open_file
from watchkeeper.queries.timespan import DAY_NS

END_NS = 1_780_012_800_000_000_000
"""The end of the recorded time; a round hour."""

CHUNK_ROWS = 8 * ROW_GROUP_ROWS
KEYS = (
    "service.version", "deployment.environment", "host.name", "k8s.pod.name", "telemetry.sdk.name", "process.pid",
    "gen_ai.request.temperature", "gen_ai.request.max_tokens", "server.address", "customer.tier", "customer.id",
    "request.id", "feature.flag", "prompt.template",
)  # fmt: skip
RARE = "incident.note"


def chance(salt: int, of: int) -> str:
    """SQL for an even draw of 0 to `of` - 1 for a row."""
    return f"(hash(i * 7919 + {salt}) % {of})::BIGINT"


def choice(salt: int, *words: str) -> str:
    """SQL for an even draw of a word for a row."""
    return f"[{', '.join(repr(word) for word in words)}][1 + {chance(salt, len(words))}]"


WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo", "lima")
ATTRIBUTES = {
    "service.version": f"'1.14.' || {chance(1, 4)}",
    "deployment.environment": choice(2, "production", "production", "production", "staging"),
    "host.name": f"'ip-10-0-' || {chance(3, 120)} || '.compute.internal'",
    "k8s.pod.name": f"'answers-worker-7d9f8b6c5-' || {chance(4, 64)}",
    "telemetry.sdk.name": "'opentelemetry'",
    "process.pid": f"{chance(5, 30_000)}::VARCHAR",
    "gen_ai.request.temperature": f"CASE WHEN operation = 'chat' THEN {choice(6, '0.0', '0.2', '0.7', '1.0')} END",
    "gen_ai.request.max_tokens": f"CASE WHEN operation = 'chat' THEN {choice(7, '256', '1024', '4096')} END",
    "server.address": "'api.example.com'",
    "customer.tier": choice(8, "free", "pro", "enterprise"),
    "customer.id": "'cus_' || (hash(trace * 31) % 20000)",
    "request.id": "'req_' || lpad(to_hex(hash(i)), 16, '0')",
    "feature.flag": choice(9, "baseline", "variant-a", "variant-b"),
    "prompt.template": f"'answers/' || {choice(10, *WORDS)} || '@v' || {chance(11, 9)}",
}


def _spans_sql(step_ns: int, begin_ns: int) -> str:
    draw = f"{chance(20, 1000)}"
    slots = [f"{ATTRIBUTES[key]} AS {column}" for key, column in zip(KEYS, SLOT_COLUMNS, strict=False)]
    words = ", ' ', ".join(choice(30 + n, *WORDS) for n in range(9))
    return f"""
    WITH rows AS (
        SELECT i, (i // 40) * 4 + i % 4 AS trace, (i % 40) // 4 AS step,
            {begin_ns} + i * {step_ns} + {chance(21, step_ns)} AS begun
        FROM range($1, $2) r(i)
    ), named AS (
        SELECT *, md5('t' || trace) AS trace_id, left(md5('s' || i), 16) AS span_id,
            CASE WHEN step = 0 THEN 'invoke_agent' WHEN step IN (3, 6, 9) THEN 'execute_tool'
                 WHEN step = 1 THEN 'retrieval' ELSE 'chat' END AS operation,
            ['gpt-5-mini', 'gpt-5-mini', 'gpt-5-mini', 'gpt-5', 'claude-sonnet-5', 'qwen3-32b', 'claude-haiku-5',
             'gemini-3-flash'][1 + (hash(trace * 13) % 8)::BIGINT] AS asked,
            ['answers', 'answers', 'refunds', 'search', 'triage'][1 + (hash(trace * 17) % 5)::BIGINT] AS service,
            CASE WHEN {draw} < 940 THEN 'ok' WHEN {draw} < 985 THEN 'error' WHEN {draw} < 996 THEN 'denied'
                 ELSE 'open' END AS status,
            {chance(22, 6000)} + 50 AS told, {chance(23, 900)} + 5 AS said,
            (exp(sqrt(-2 * ln(({chance(24, 99_999)} + 1) / 100000.0)) * cos(6.28318 * {chance(25, 100_000)} / 100000.0))
                * 900000000)::BIGINT AS length
        FROM rows
    ), timed AS (
        SELECT *, operation = 'chat' AND status = 'ok' AS answered, operation = 'chat' AS calls FROM named
    ), filled AS (
        SELECT trace_id, span_id, CASE WHEN step > 0 THEN left(md5('s' || (i - 4 * step)), 16) END AS parent_id,
            begun AS start_ns, CASE WHEN status != 'open' THEN begun + length END AS end_ns,
            CASE WHEN status != 'open' THEN length END AS duration_ns,
            CASE WHEN calls THEN 'chat ' || asked ELSE operation END AS name, operation, status,
            CASE WHEN status = 'error' THEN {choice(26, "timeout", "rate_limit", "server_error")} END AS error_type,
            CASE WHEN status = 'error' THEN 'the upstream said: try again' END AS message, 'otlp' AS door, service,
            CASE WHEN status = 'open' THEN 0 ELSE 1 END AS revision, 'acme' AS tenant,
            'key-' || (hash(trace * 3) % 10) AS key, 'user-' || (hash(trace // 5) % 5000) AS user,
            'session-' || lpad(to_hex(trace // 5), 8, '0') AS session,
            'run-' || lpad(to_hex(hash(trace)), 16, '0') AS run,
            CASE WHEN step < 5 THEN 'planner' ELSE 'worker' END AS agent, NULL AS sources,
            CASE WHEN calls THEN 'openai' END AS provider, CASE WHEN calls THEN 'main' END AS upstream,
            CASE WHEN calls THEN asked || '-2026-01-01' END AS model, CASE WHEN calls THEN asked END AS request_model,
            CASE WHEN answered THEN asked || '-2026-01-01' END AS response_model,
            CASE WHEN answered THEN 'chatcmpl-' || left(md5('r' || i), 24) END AS response_id, calls AS stream,
            CASE WHEN answered THEN '["stop"]' END AS finish_reasons,
            CASE WHEN answered OR step = 0 THEN told END AS input_tokens,
            CASE WHEN answered OR step = 0 THEN said END AS output_tokens,
            CASE WHEN answered THEN told * 1e-6 + said * 4e-6 END AS cost_usd,
            CASE WHEN answered THEN 'table 2026-01-01' END AS cost_source,
            CASE WHEN answered THEN length * ({chance(27, 60)} + 5) // 100 END AS first_token_ns,
            CASE WHEN calls THEN CASE WHEN status = 'ok' THEN 200 WHEN status = 'error' THEN 503 END END AS http_status,
            CASE WHEN operation = 'execute_tool' THEN {choice(28, "lookup", "refund", "search_docs")} END AS tool,
            CASE WHEN {chance(29, 100)} = 0
                THEN '{{"{RARE}":"seen by ' || {choice(40, *WORDS)} || '"}}' END AS attributes,
            concat({words}) AS preview, 'w0' AS origin_writer, 1 + i // 100000 AS origin_segment,
            (i % 100000) * 700 AS origin_offset, 0 AS origin_item, {", ".join(slots)}
        FROM timed
    )
    INSERT INTO spans BY NAME SELECT * FROM filled ORDER BY start_ns"""


def _scores_sql(begin_ns: int, step_ns: int, stride: int) -> str:
    at = f"{begin_ns} + i * {step_ns}"
    return f"""
    INSERT INTO scores BY NAME
    SELECT 'scr_' || i AS score_id, 'span' AS subject_kind, left(md5('s' || i), 16) AS subject_id, 'helpful' AS name,
        {at} + 5000000000 + revision AS at_ns, {at} AS event_ns,
        CASE WHEN {chance(50, 100)} < 3 THEN NULL WHEN {chance(51, 100)} < 91 THEN 1.0 ELSE 0.0 END AS value,
        'judge' AS scorer, '1' AS version, 'monitor' AS source, md5('t' || ((i // 40) * 4 + i % 4)) AS trace_id
    FROM (SELECT r.i // 4 * {stride} + [8, 16, 20, 28][1 + r.i % 4] AS i,
              unnest(CASE WHEN r.i % 50 = 0 THEN [0, 1] ELSE [0] END) AS revision FROM range($1, $2) r(i))
    ORDER BY i, revision"""


def make(path: Path, spans: int, scores: int, days: float) -> None:
    """Make the index file anew."""
    path.unlink(missing_ok=True)
    connection = open_file(path, 1024, 2)
    step_ns = int(days * DAY_NS / spans)
    begin_ns = END_NS - spans * step_ns
    _directory(connection, begin_ns)
    began = time.monotonic()
    sql = _spans_sql(step_ns, begin_ns)
    for low in range(0, spans, CHUNK_ROWS):
        connection.execute(sql, [low, min(low + CHUNK_ROWS, spans)])
        if low // CHUNK_ROWS % 4 == 3:
            print(f"{low + CHUNK_ROWS:>12,} spans  {time.monotonic() - began:5.0f} s", file=sys.stderr, flush=True)
    if scores:
        stride = max(40, 4 * spans // scores // 40 * 40)
        for low in range(0, scores, CHUNK_ROWS):
            connection.execute(_scores_sql(begin_ns, step_ns, stride), [low, min(low + CHUNK_ROWS, scores)])
        connection.execute(
            "INSERT INTO restated SELECT 'scores', score_id FROM scores GROUP BY score_id HAVING count(*) > 1"
        )
    connection.execute("CHECKPOINT log")
    connection.close()


def _directory(connection: Any, begin_ns: int) -> None:
    for slot, key in enumerate(KEYS):
        connection.execute("INSERT INTO attribute_keys VALUES ($1, $2, NULL, NULL)", [key, slot])
    connection.execute("INSERT INTO attribute_keys VALUES ($1, NULL, $2, $3)", [RARE, begin_ns, END_NS + DAY_NS])


def main() -> None:
    """Read the arguments and make the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("file", type=Path)
    parser.add_argument("--spans", type=int, default=10_000_000)
    parser.add_argument("--scores", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=30)
    given = parser.parse_args()
    make(given.file, given.spans, given.scores, given.days)
    size = given.file.stat().st_size
    print(f"{given.file}: {size / 1e6:,.0f} MB, {size / given.spans:,.0f} B/span")


if __name__ == "__main__":
    main()
