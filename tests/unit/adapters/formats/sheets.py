"""A run with one of each kind of case, whose texts try to break out of every format."""

from watchkeeper.records.estimate import Estimate
from watchkeeper.records.sheet import Line, Ruling, Sheet, Verdict

EVIL = '<script>alert(1)</script> | **bold** ]]> @everyone\x00\x1b[31m "quoted" \ud800 & `code`\n# head'
MEAN = Estimate(value=0.5, low=0.2, high=0.8, n=4, method="t")
SHEET = Sheet(
    suite="desk",
    target="http://127.0.0.1/v1",
    experiment_id="exp_1",
    path="evals/desk.eval.yaml",
    at_ns=1_764_000_000_000_000_000,
    lines=(
        Line(case_id="good", passed=True, scores={"exact": 1.0}, duration_ns=1_500_000_000),
        Line(case_id=EVIL, passed=False, scores={"exact": 0.0}, expected="yes", said=EVIL, explanation="differs"),
        Line(case_id="broken", passed=None, problem=EVIL),
        Line(case_id="unjudged", passed=None, explanation="nothing is expected"),
    ),
    summary={"exact": MEAN},
    effects={"exact": 0.3},
    rulings=(
        Ruling(gate="exact at least 0.9", passed=False, sentence="0.5."),
        Ruling(gate="better", passed=None, sentence="Not resolved."),
        Ruling(gate="floor", passed=True, sentence="Fine."),
    ),
    verdicts=(
        Verdict(
            score="exact",
            verdict="worse",
            n=4,
            difference=MEAN,
            p_value=0.01,
            minimum_detectable_effect=None,
            improved=0,
            worsened=2,
            mean_a=1.0,
            mean_b=0.5,
            regressed=("b", EVIL),
        ),
    ),
    baseline="base",
    changes=(("model", "m-1", "m-2"), ("tools", None, EVIL)),
)
