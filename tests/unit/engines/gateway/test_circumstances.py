"""What surrounds a call is noted under known names, shortened, and never guessed."""

from __future__ import annotations

from watchkeeper.engines.gateway.circumstances import OPENAI_DEFAULTS, answered, asked, defaults


def test_client_retries_prompt_and_flags_are_noted() -> None:
    headers = {
        b"user-agent": b"OpenAI/Python 3.52.0",
        b"x-stainless-retry-count": b"2",
        b"x-watchkeeper-prompt": b"refunds@12",
        b"x-watchkeeper-flags": b"new-retriever=on",
        b"authorization": b"Bearer sk-secret",
    }
    assert asked(headers) == {
        "user_agent.original": "OpenAI/Python 3.52.0",
        "watchkeeper.client.retry_count": "2",
        "gen_ai.prompt.name": "refunds@12",
        "watchkeeper.flags": "new-retriever=on",
    }


def test_an_endless_header_is_cut() -> None:
    assert asked({b"user-agent": b"x" * 5_000}) == {"user_agent.original": "x" * 200}


def test_who_answered_is_noted_whatever_the_case_of_the_header() -> None:
    found = answered([(b"X-Request-Id", b"req_1"), (b"x-ms-region", b"Sweden Central"), (b"set-cookie", b"a=b")])
    assert found == {"watchkeeper.upstream.request_id": "req_1", "cloud.region": "Sweden Central"}


def test_defaults_are_stated_only_where_they_are_documented() -> None:
    assert defaults("openai", {}) == OPENAI_DEFAULTS
    assert "temperature" not in defaults("openai", {"temperature": 0})
    assert defaults("lab", {}) == defaults(None, {}) == {}
