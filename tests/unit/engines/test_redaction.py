"""What the redactor takes out of bodies and streams, what it leaves byte for byte, and what it does when it cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from watchkeeper.engines.recorder import redaction
from watchkeeper.engines.recorder.redaction import RedactionFailed, Redactor, place_of
from watchkeeper.engines.recorder.rule_spec import RuleSpec
from watchkeeper.engines.recorder.rules import Rule

KEY = "sk-proj-Q7wErTyUiOpAs9dFgHjKl"
MAIL = "bob@example.org"


def redactor(*specs: RuleSpec, known: tuple[str, ...] = ()) -> Redactor:
    return Redactor([Rule(spec, known) for spec in specs], b"k" * 32)


SECRETS, MAILS = RuleSpec(detect="secret_keys"), RuleSpec(detect="emails", action="token")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"a": 1.0, "b": "caf\\u00e9",\n "c" : [1e5, 12345678901234567890]}',
        b"\xff\xfe\x00 raw",
        b"data: {}\n\n",
        b'{"cut off in the mid',
        b'{"a": "no key here, sk-learn-like-words"}',
    ],
)
def test_bytes_without_anything_to_take_out_come_back_as_they_are(data: bytes) -> None:
    done = redactor(SECRETS, MAILS, RuleSpec(fields=("password",)), RuleSpec(detect="cards")).redact(data)
    assert (done.data, done.total) == (data, 0)


def test_only_the_places_change_and_all_other_bytes_stay() -> None:
    data = f'{{"n" : 1.50,\t"a":"caf\\u00e9 {KEY} \\"q\\"" , "b":[ ]}}'.encode()
    done = redactor(SECRETS).redact(data)
    assert done.data == data.replace(KEY.encode(), b"[secret]")
    assert (done.total, dict(done.by)) == (1, {"secret_keys": 1})


def test_tokens_are_equal_for_equal_values_of_a_tenant_and_differ_between_tenants_and_keys() -> None:
    data = f'{{"a": "{MAIL}", "b": "{MAIL.upper()}", "c": "bob%40example.org", "d": "other@example.org"}}'.encode()
    said = json.loads(redactor(MAILS).redact(data, tenant="t1").data)
    assert said["a"] == said["b"] == said["c"] != said["d"]
    assert said["a"].startswith("[email:") and len(said["a"]) == len("[email:]") + 12
    assert json.loads(redactor(MAILS).redact(data, tenant="t2").data)["a"] != said["a"]
    assert json.loads(Redactor([Rule(MAILS)], b"x" * 32).redact(data, tenant="t1").data)["a"] != said["a"]


@pytest.mark.parametrize(
    ("action", "text", "number"), [("mask", "[field]", "[field]"), ("drop", "", None), ("token", None, None)]
)
def test_a_named_field_goes_whole_whatever_it_holds(action: Any, text: str | None, number: str | None) -> None:
    rule = RuleSpec(fields=("password", "*.ssn", "headers.authorization"), action=action)
    value = {
        "Password": 'p"w',
        "x": {"ssn": 123},
        "ssn": 5,
        "headers": {"Authorization": {"deep": [1]}},
        "none": {"password": None},
    }
    said = json.loads(redactor(rule).redact(json.dumps(value).encode()).data)
    if action != "token":
        assert said["Password"] == text and said["x"]["ssn"] == number and said["headers"]["Authorization"] == number
    else:
        assert said["Password"].startswith("[field:") and said["x"]["ssn"].startswith("[field:")
    assert said["ssn"] == 5, "*.ssn asks for a step above it"
    assert said["none"]["password"] is None


@pytest.mark.parametrize(
    "text",
    [
        "https://x.example/?a=1&password=hunter2&b=2",
        "password=hunter2&x=1",
        "password: hunter2",
        "{'password': 'hunter2'}",
        'say {\\"password\\": \\"hunter2\\"} twice',
        '{"password": "hunter2"',
    ],
)
def test_a_named_field_is_found_in_queries_forms_headers_and_quoted_json(text: str) -> None:
    rules = redactor(RuleSpec(fields=("password",)))
    for data in (text.encode(), json.dumps({"said": text}).encode()):
        done = rules.redact(data)
        assert done.total == 1 and b"hunter2" not in done.data


def test_a_number_that_is_a_card_becomes_a_string() -> None:
    done = redactor(RuleSpec(detect="cards")).redact(b'{"card": 4111111111111111, "id": 4111111111111112}')
    assert json.loads(done.data) == {"card": "[card]", "id": 4111111111111112}


def test_a_rule_for_tool_results_leaves_the_rest_of_the_request() -> None:
    rules = redactor(
        RuleSpec(detect="emails", places=("tool_results",)), RuleSpec(detect="cards", places=("tool_arguments",))
    )
    card = "4111 1111 1111 1111"
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps({"q": f"{MAIL} {card}"})}}
    messages = [
        {"role": "user", "content": f"{MAIL} {card}"},
        {"role": "assistant", "tool_calls": [call]},
        {"content": f"{MAIL} {card}", "role": "tool"},
    ]
    done = rules.redact(json.dumps({"messages": messages}).encode(), places=place_of("request"))
    said = json.loads(done.data)["messages"]
    assert said[0]["content"] == f"{MAIL} {card}"
    assert json.loads(said[1]["tool_calls"][0]["function"]["arguments"])["q"] == f"{MAIL} [card]"
    assert said[2]["content"] == f"[email] {card}"


def test_the_log_probabilities_of_what_was_taken_out_go_too() -> None:
    body = {"choices": [{"message": {"content": KEY}, "logprobs": {"content": [{"token": "sk", "bytes": [115, 107]}]}}]}
    said = json.loads(redactor(SECRETS).redact(json.dumps(body).encode()).data)
    assert said["choices"][0]["logprobs"] is None
    body["choices"][0]["message"] = {"content": "nothing"}  # type: ignore[index]
    assert json.loads(redactor(SECRETS).redact(json.dumps(body).encode()).data) == body


def test_a_credential_that_this_process_holds_is_found_without_any_form() -> None:
    done = redactor(SECRETS, known=("plain words of mine", "short")).redact(b'{"a": "see plain words of mine, short"}')
    assert done.data == b'{"a": "see [secret], short"}'


def test_text_cut_off_within_a_string_is_searched_to_its_end() -> None:
    done = redactor(SECRETS).redact(f'{{"a": "b", "c": "and {KEY}'.encode())
    assert done.data == b'{"a": "b", "c": "and [secret]'


def test_deep_nesting_ends_with_an_answer() -> None:
    data = b"[" * 100_000 + f'"{KEY}"'.encode() + b"]" * 100_000
    assert KEY.encode() not in redactor(SECRETS, RuleSpec(fields=("password",))).redact(data).data
    text = KEY
    for _ in range(12):
        text = json.dumps({"a": text})
    try:
        assert KEY.encode() not in redactor(SECRETS).redact(text.encode()).data
    except RedactionFailed:
        pass


def test_a_search_that_takes_too_long_fails_and_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "SECONDS_AND_PER_MB", (-1.0, 0.0))
    with pytest.raises(RedactionFailed, match="too long"):
        redactor(SECRETS).redact(f'{{"a": "{KEY}"}}'.encode())


def test_pictures_and_sound_are_passed_over() -> None:
    data = f"raw {KEY}".encode()
    assert redactor(SECRETS).redact(data, "image/png").data == data


def test_what_a_drop_joins_is_searched_again() -> None:
    rules = redactor(RuleSpec(pattern="<cut>", name="cut", action="drop"), SECRETS)
    done = rules.redact(f"{KEY[:6]}<cut>{KEY[6:]}".encode())
    assert done.data == b"[secret]"
