"""Words from a URL or a command line become questions, or a clear refusal."""

from __future__ import annotations

import math

import pytest

from watchkeeper.queries.explorer import Latency, Spans, Traces, TracesNamed
from watchkeeper.queries.exported import Exported
from watchkeeper.queries.question import Answer
from watchkeeper.queries.registry import QUESTIONS, QuestionError, as_plain, parameters, question_from
from watchkeeper.queries.select import Select
from watchkeeper.queries.timespan import FAR_NS, HOUR_NS
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.incident import Incident

NOW_NS = 1_700_000_000_000_000_000


def test_words_become_values() -> None:
    words = {"since": "1h", "status": "error", "limit": "20", "min_cost": "0.5", "min_duration": "2s", "model": ""}
    assert question_from("traces", words, NOW_NS) == Traces(
        since=NOW_NS - HOUR_NS, status="error", limit=20, min_cost=0.5, min_duration=2 * 10**9
    )
    assert question_from("latency", {"width": "5m", "operation": None}, NOW_NS) == Latency(width=300 * 10**9)


def test_words_with_commas_between_them_become_a_list() -> None:
    assert question_from("traces_named", {"ids": "a, b,"}, NOW_NS) == TracesNamed(ids=("a", "b"))
    assert question_from("traces_named", {"ids": ("a",)}, NOW_NS) == TracesNamed(ids=("a",))


def test_an_export_goes_on_behind_the_last_span_of_a_page() -> None:
    place = f"1795880403315480075:{'9' * 32}:{'a' * 16}"
    assert question_from("exported", {"after": place}, NOW_NS) == Exported(after=place)
    with pytest.raises(QuestionError, match="after"):
        question_from("exported", {"after": "x"}, NOW_NS)


def test_values_stay_as_they_are() -> None:
    assert question_from("spans", {"since": 5, "until": FAR_NS, "limit": 7}, NOW_NS) == Spans(since=5, limit=7)


def test_a_number_word_is_text_where_text_is_meant() -> None:
    assert question_from("spans", {"session": "1234", "user": "null"}, NOW_NS) == Spans(session="1234", user="null")


@pytest.mark.parametrize(
    ("name", "words", "parameter", "says"),
    [
        ("colours", {}, None, "There is no question 'colours'; the questions are audits, body_rate, cases,"),
        ("traces", {"colour": "red"}, "colour", "traces has no parameter 'colour'; it has since, until, model"),
        ("traces", {"limit": "many"}, "limit", "traces cannot take limit='many'"),
        ("traces", {"limit": "-1"}, "limit", "traces cannot take limit='-1'"),
        ("traces", {"since": "yesterday"}, "since", "It takes 1h, 7d, 2026-01-31 or unix ns"),
        ("traces", {"status": "bad"}, "status", "It takes one of open, ok, error, denied, unset"),
        ("latency", {"width": "0s"}, "width", "latency cannot take width='0s'"),
        ("costs", {"by": "weather"}, "by", "It takes one of model, provider"),
        ("trace", {}, "trace_id", "trace needs the parameter 'trace_id': The trace: 32 hex digits."),
        ("previews", {"text": ""}, "text", "previews needs the parameter 'text'"),
        ("spans", {"attribute": "tier"}, None, "'tier' is not an attribute filter"),
    ],
)
def test_a_mistake_is_named(name: str, words: dict, parameter: str | None, says: str) -> None:
    with pytest.raises(QuestionError) as caught:
        question_from(name, words, NOW_NS)
    assert says in str(caught.value)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_every_question_says_what_it_and_its_parameters_mean(name: str) -> None:
    kind = QUESTIONS[name]
    assert kind.name == name
    assert (kind.__doc__ or "").strip().splitlines()[0].endswith((".", ",", ":", ";")) or kind.__doc__
    for parameter in parameters(kind):
        assert parameter.doc.endswith("."), parameter
        assert parameter.takes


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_every_question_plans_a_bounded_select(name: str) -> None:
    words = {p.name: "x" for p in parameters(QUESTIONS[name]) if p.required}
    if name == "body_rate":  # needs one of two
        words["text"] = "x"
    select = question_from(name, {**words, "since": "1d"}, NOW_NS).select()
    assert isinstance(select, Select)
    assert select.until_ns <= FAR_NS + HOUR_NS


def test_parameters_carry_their_choices_and_defaults() -> None:
    found = {parameter.name: parameter for parameter in parameters(Traces)}
    assert found["status"].choices == ("open", "ok", "error", "denied", "unset")
    assert (found["limit"].default, found["limit"].takes, found["limit"].required) == (100, "a whole number", False)
    assert found["since"].takes == "1h, 7d, 2026-01-31 or unix ns"


def test_a_plain_answer_shows_every_field_and_no_infinity() -> None:
    estimate = Estimate(value=0.5, low=-math.inf, high=1.0, n=0, method="none")
    assert as_plain(Answer(items=({"estimate": estimate, "at": (1, None)},))) == {
        "items": [
            {
                "estimate": {
                    "value": 0.5, "low": None, "high": 1.0, "n": 0, "method": "none", "confidence": 0.95, "unit": "",
                },
                "at": [1, None],
            }
        ],
        "complete": True,
        "total": None,
    }  # fmt: skip
    incident = Incident(incident_id="i", title="t", subject="s", severity="page", status="open", opened_ns=1, at_ns=1)
    assert as_plain(incident)["revision"] == 0
    assert as_plain(None) is None
