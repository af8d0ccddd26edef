"""The Markdown summary: gates and verdicts with their error bars, and no markup of a model's."""

import msgspec

from tests.unit.adapters.formats.sheets import SHEET
from watchkeeper.adapters.formats.step_summary import SHOWN, step_summary
from watchkeeper.records.sheet import Line


def test_gates_verdicts_and_scores_carry_their_error_bars() -> None:
    text = step_summary(SHEET)
    assert "❌ failed: exact at least 0\\.9" in text and "⚠️ not resolved" in text
    assert "| exact | **worse** | +0.5 (+0.2 to +0.8) | 0.01 | unknown | 4 | 0 / 2 |" in text
    assert "| exact | 0.5 | 0.2 to 0.8 | 4 | 0.3 |" in text
    assert "| model | m\\-1 | m\\-2 |" in text


def test_nothing_that_a_model_wrote_is_markup_a_mention_or_a_new_line() -> None:
    text = step_summary(SHEET)
    assert "<script>" not in text and "**bold**" not in text and "@everyone" not in text and "\n# head" not in text
    for line in text.splitlines():
        if line.startswith("| "):
            cells = line.replace("\\|", "").count("|")
            assert cells in (4, 5, 6, 8), line


def test_a_long_list_is_cut_and_says_so() -> None:
    lines = tuple(Line(case_id=f"c{n}", passed=False) for n in range(SHOWN + 5))
    text = step_summary(msgspec.structs.replace(SHEET, lines=lines))
    assert f"c{SHOWN - 1} " in text and f"c{SHOWN} " not in text and "and 5 more" in text
