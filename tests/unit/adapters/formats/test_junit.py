"""JUnit XML: counts agree with the cases, and nothing that a model writes breaks the document."""

from xml.etree import ElementTree as Xml

from tests.unit.adapters.formats.sheets import SHEET
from watchkeeper.adapters.formats.junit import junit


def test_each_case_and_gate_is_told_once_and_counted() -> None:
    root = Xml.fromstring(junit(SHEET))
    (suite,) = root.findall("testsuite")
    cases = suite.findall("testcase")
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["7", "2", "2", "1"]
    assert dict(root.attrib) == {"tests": "7", "failures": "2", "errors": "2"}
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


# What the Jenkins xunit schema (junit-10.xsd) allows of what is used: attributes (a star: must be there), children.
SCHEMA = {
    "testsuites": ("name time tests failures disabled errors", "testsuite"),
    "testsuite": (
        "name tests* failures errors time disabled skipped timestamp hostname id package",
        "properties testcase",
    ),
    "testcase": ("name* time classname status file line", "skipped error failure"),
    "properties": ("", "property"),
    "property": ("name* value*", ""),
    "failure": ("type message", ""),
    "error": ("type message", ""),
    "skipped": ("type message", ""),
}


def test_the_document_is_valid_by_the_schema_that_it_names() -> None:
    for element in Xml.fromstring(junit(SHEET)).iter():
        attributes, children = SCHEMA[element.tag]
        needed = {name.rstrip("*") for name in attributes.split() if name.endswith("*")}
        assert needed <= set(element.keys()) <= set(attributes.replace("*", "").split()), element.tag
        assert {child.tag for child in element} <= set(children.split()), element.tag
