"""JUnit XML: counts agree with the cases, and nothing that a model writes breaks the document."""

from xml.etree import ElementTree as Xml

from tests.unit.adapters.formats.sheets import SHEET
from watchkeeper.adapters.formats.junit import junit


def test_each_case_and_gate_is_told_once_and_counted() -> None:
    root = Xml.fromstring(junit(SHEET))
    (suite,) = root.findall("testsuite")
    cases = suite.findall("testcase")
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["7", "2", "2", "1"]
    assert dict(root.attrib) == {"tests": "7", "failures": "2", "errors": "2", "skipped": "1"}
    assert len(cases) == 7 and len({case.get("name") for case in cases}) == 7
    assert cases[0].get("time") == "1.500" and not list(cases[0])
    assert [[child.tag for child in case] for case in cases] == [
        [],
        ["failure"],
        ["error"],
        ["skipped"],
        ["failure"],
        ["error"],
        [],
    ]


def test_the_mean_stands_among_the_properties_with_its_error_bar() -> None:
    properties = {each.get("name"): each.get("value") for each in Xml.fromstring(junit(SHEET)).iter("property")}
    assert properties["mean exact"] == "0.5 (95% interval 0.2 to 0.8, n = 4)"


def test_what_cannot_be_in_xml_is_replaced_and_the_rest_is_there() -> None:
    failure = next(Xml.fromstring(junit(SHEET)).iter("failure"))
    assert failure.text is not None and "<script>" in failure.text and "\x00" not in failure.text
