"""Suites are read from YAML and Python; each mistake names file, key and fix."""

import json
import re
from pathlib import Path

import pytest

from watchkeeper.engines.experiments.dataset import SuiteError, read_dataset
from watchkeeper.engines.experiments.suite import Suite, Target, load_suite

EXAMPLES = Path(__file__).parents[4] / "examples" / "suites"
GOOD = """
name: desk
target: {base_url: "http://127.0.0.1:1/v1", model: m}
scorers: [{use: exact}]
cases: [{id: a, input: hello, expected: hi}]
"""


def write(folder: Path, text: str, name: str = "suite.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_suite_is_read_with_its_cases(tmp_path: Path) -> None:
    loaded = load_suite(write(tmp_path, GOOD))
    (case,) = loaded.cases
    assert (case.case_id, case.dataset, case.expected, case.origin) == ("desk/a", "desk", "hi", "file:suite.yaml")
    assert case.messages == '[{"role": "user", "content": "hello"}]'
    assert (loaded.suite.target, loaded.answer) == (Target(base_url="http://127.0.0.1:1/v1", model="m"), None)


@pytest.mark.parametrize("name", ["desk.yaml", "rules_of_thumb.py"])
def test_the_examples_can_be_read(name: str) -> None:
    loaded = load_suite(EXAMPLES / name)
    assert len(loaded.cases) >= 4
    assert len({case.case_id for case in loaded.cases}) == len(loaded.cases)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: desk", "title: desk", "`title` is not a key"),
        ("name: desk", "", "`name` is missing"),
        ("scorers: [{use: exact}]", "", "`scorers` is missing"),
        ("scorers: [{use: exact}]", "scorers: []", "`scorers` is missing"),
        ("{use: exact}", "{uze: exact}", "`scorers[0].uze` is not a key; did you mean `use`?"),
        ("{use: exact}", "{use: exact}, {use: exact}", "two `scorers` give scores called 'exact'"),
        ("model: m", "", "`target.model` is missing"),
        ("model: m", "model: m, modell: n", "`target.modell` is not a key; did you mean `model`?"),
        ('base_url: "http://127.0.0.1:1/v1"', "base_url: localhost", "expected a URL such as"),
        ('target: {base_url: "http://127.0.0.1:1/v1", model: m}', "", "there is nobody to ask"),
        ("model: m", "model: m, api_key: sk-abc123-secret", "must be env:NAME"),
        ("cases: [{id: a, input: hello, expected: hi}]", "", "the suite has no cases"),
        ("cases: [{id: a, input: hello, expected: hi}]", "dataset: gone.jsonl", "there is no such dataset"),
        (
            "cases: [{id: a, input: hello, expected: hi}]",
            "dataset: gone.xlsx",
            "a dataset is a .jsonl, .csv or .parquet file",
        ),
        ("input: hello, expected: hi", "expected: hi", "needs `input`"),
        ("input: hello", "input: hello, messages: [{role: user}]", "only one of them"),
        ("input: hello", "messages: hello", "is not JSON"),
        ("input: hello", "messages: [hello]", "must be a list of objects"),
        ("cases: [", "cases: [{id: a, input: other}, ", "the id 'a' of an earlier case"),
        ("name: desk", "name: desk\nmargin: 0", "`margin`: expected `float` > 0"),
        ("name: desk", "name: desk\nrepeats: 0", "`repeats`"),
        ("name: desk", "name: [", "is not valid YAML"),
        (GOOD, "hello", "expected the keys name"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(SuiteError) as raised:
        load_suite(path)
    assert said in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("model: m", "model: m, api_key: sk-abc123-secret"))
    with pytest.raises(SuiteError) as raised:
        load_suite(path)
    assert "secret" not in str(raised.value)


def test_the_key_comes_from_the_environment() -> None:
    target = Target(model="m", api_key="env:DESK_KEY")
    assert target.key({"DESK_KEY": "k"}) == "k"
    with pytest.raises(SuiteError, match="DESK_KEY, which is not set"):
        target.key({})
    assert Target(model="m").key({}) is None


def test_rows_without_an_id_keep_their_name_when_they_are_moved(tmp_path: Path) -> None:
    first, second = '{"input": "one"}\n', '{"input": "two", "expected": {"a": 1}}\n'
    suite = GOOD.replace("cases: [{id: a, input: hello, expected: hi}]", "dataset: rows.jsonl")
    path = write(tmp_path, suite)
    write(tmp_path, first + "\n" + second, "rows.jsonl")
    names = [case.case_id for case in load_suite(path).cases]
    write(tmp_path, second + first, "rows.jsonl")
    moved = load_suite(path).cases
    assert [case.case_id for case in moved] == names[::-1]
    assert moved[0].expected == '{"a": 1}'


def test_equal_rows_are_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("cases: [{id: a, ", "cases: [{input: hello, expected: hi}, {"))
    first, second = load_suite(path).cases
    assert second.case_id == f"{first.case_id}-2"


def test_exported_cases_are_a_dataset(tmp_path: Path) -> None:
    write(tmp_path, '{"case_id":"inc_1/t","dataset":"incident:inc_1","messages":"[{\\"role\\":\\"user\\"}]","origin":"incident:inc_1"}\n', "cases.jsonl")  # fmt: skip  # noqa: E501
    path = write(tmp_path, GOOD.replace("cases: [{id: a, input: hello, expected: hi}]", "dataset: cases.jsonl"))
    (case,) = load_suite(path).cases
    assert (case.case_id, case.dataset, case.origin) == ("inc_1/t", "incident:inc_1", "incident:inc_1")


def test_a_csv_is_a_dataset(tmp_path: Path) -> None:
    path = write(tmp_path, '\ufeffid,input,expected,tags\na,"hello, you",hi,x y\nb,no answer,,\n', "rows.csv")
    first, second = read_dataset(path)
    assert (first.id, first.input, first.expected, first.tags) == ("a", "hello, you", "hi", ("x", "y"))
    assert second.expected == ""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows.csv", "id,question\n1,2\n", "rows.csv:1: there is no column `input`"),
        ("rows.csv", "id,input,expectd\n1,2,3\n", "did you mean 'expected'?"),
        ("rows.csv", "id,input\n1\n", "rows.csv:2: the row has not as many cells"),
        ("rows.csv", "id,input\n1,2,3\n", "rows.csv:2: the row has not as many cells"),
        ("rows.jsonl", '{"input": "a"}\n{"input": \n', "rows.jsonl:2:"),
        ("rows.jsonl", '{"inputs": "a"}\n', "`inputs` is no field of a case; did you mean `input`? Mend"),
    ],
)
def test_a_broken_row_is_told_with_its_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(SuiteError) as raised:
        read_dataset(write(tmp_path, text, name))
    assert said in str(raised.value)


PYTHON = """
from watchkeeper.engines.experiments.suite import Item, Suite, Use
suite = Suite(name="own", cases=(Item(input="hello"),), scorers=(Use(use="exact"),))
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "sets no `suite`"),
        ("x = 1\nraise OSError('no disk')\n", "suite.py:2: running it raised OSError: no disk"),
        (PYTHON, "target(messages) -> str instead"),
        (PYTHON + "target = 7\n", "`target` is int"),
        (PYTHON + "def target(): ...\n", "expected one argument"),
        ("suite = {'name': 'own'}\ndef target(m): return ''\n", "`scorers` is missing"),
        ("def f(:\n", "SyntaxError"),
    ],
)
def test_a_mistake_in_a_python_suite_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SuiteError) as raised:
        load_suite(write(tmp_path, text, "suite.py"))
    assert said in str(raised.value)


def test_a_python_suite_may_answer_itself(tmp_path: Path) -> None:
    loaded = load_suite(write(tmp_path, PYTHON + "def target(messages): return 'hi'\n", "suite.py"))
    assert loaded.answer is not None
    assert loaded.answer([]) == "hi"
    assert isinstance(loaded.suite, Suite)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"is a \.yaml or a \.py file"):
        load_suite(write(tmp_path, "", "suite.toml"))


def test_other_columns_of_a_csv_are_attributes(tmp_path: Path) -> None:
    (item,) = read_dataset(write(tmp_path, "id,input,language\n1,hello,de\n", "rows.csv"))
    assert item.attributes == {"language": "de"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "rows.jsonl: holds no cases"),
        ('{"id": 1, "expected": "x"}\n', "rows.jsonl: row 1 needs `input`"),
        ('{"id": 1, "input": "a"}\n{"id": 1, "input": "b"}\n', "rows.jsonl: row 2 has the id '1'"),
    ],
)
def test_what_is_wrong_with_a_dataset_names_the_dataset(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, text, "rows.jsonl")
    suite = {
        "name": "s",
        "dataset": "rows.jsonl",
        "target": {"base_url": "http://127.0.0.1:9/v1", "model": "m"},
        "scorers": [{"use": "exact"}],
    }
    path = write(tmp_path, json.dumps(suite), "suite.yaml")
    with pytest.raises(SuiteError, match=re.escape(said)):
        load_suite(path)


def test_a_dataset_is_no_suite(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="Run a suite"):
        load_suite(write(tmp_path, "{}", "rows.jsonl"))
