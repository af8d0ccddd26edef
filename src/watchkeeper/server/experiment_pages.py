"""The pages of experiments: what was run, how sure its scores are, and how it compares with another run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.engines.experiments.compare import Compared, NotComparable, Side, compare_sides, side_of_scores
from watchkeeper.queries.judgments import Experiments, Scores
from watchkeeper.queries.registry import as_plain
from watchkeeper.queries.whole import Whole
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.score import Score
from watchkeeper.server.api import ApiError, answer, not_found
from watchkeeper.server.charts import bar_chart
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.views.experiments import (
    SHOWN_CASES,
    case_rows,
    compared_rows,
    experiment_facts,
    experiment_rows,
    mean_rows,
    pictures,
)
from watchkeeper.server.views.filters import PAGE_ROWS, Control, asked_of, read_form
from watchkeeper.server.views.lists import page_links

if TYPE_CHECKING:
    from watchkeeper.server.pages import Pages

CONTROLS = (
    Control(name="suite", label="Suite", hint="name"),
    Control(name="target", label="Target", hint="model or address", size="mid"),
)
PAGE_SCORES = 10_000
MOST_SCORES = 200_000
TOO_LARGE = "These runs are too large for a page. Compare them with: watchkeeper eval compare OLD NEW"
OTHERS = 50


class ExperimentPages:
    """The pages of experiments, and the comparison through the API."""

    def __init__(self, parts: StoreParts, pages: Pages) -> None:
        self._parts, self._pages = parts, pages

    def routes(self) -> list[Route]:
        """Their addresses, to be placed before those of the questions."""
        return [
            Route("/ui/experiments", self.experiments),
            Route("/ui/experiments/{experiment_id}", self.experiment),
            Route("/api/v1/experiments/{experiment_id}/against/{other}", self.against),
        ]

    async def experiments(self, request: Request) -> Response:
        """Runs of suites, newest first."""
        form = read_form(CONTROLS, request.query_params, self._parts.clock_ns(), "all")
        asked, problem = asked_of(Experiments, form)
        found = await self._ask(asked)
        page = page_links(form, min(len(found), PAGE_ROWS), len(found) > PAGE_ROWS, "Experiments")
        rows = experiment_rows(found[:PAGE_ROWS])
        return await self._pages.render(
            request, "experiments.html", "experiments", form=form, problem=problem, rows=rows, page=page
        )

    async def experiment(self, request: Request) -> Response:
        """One run: its scores with their intervals, its cases, and beside another run what changed."""
        experiment_id = request.path_params["experiment_id"]
        found = await self._one(experiment_id)
        if found is None:
            sentence = f"There is no experiment {experiment_id[:64]!r} in the index."
            return await self._pages.missing(request, "No such experiment", sentence)
        others = [
            each
            for each in await self._ask(Experiments(suite=found.suite, limit=OTHERS + 1))
            if each.experiment_id != experiment_id
        ][:OTHERS]
        side = await self._side(experiment_id)
        other_id = request.query_params.get("against", _before(found, others))
        before = await self._one(other_id) if other_id else None
        other = await self._side(other_id) if before else None
        missing = f"There is no experiment {other_id[:64]!r} in the index." if other_id else ""
        compared, problem = _compared(other, side) if other else ((), missing)
        means, differences = mean_rows(found.summary), compared_rows(compared)
        old_means = mean_rows({f"{name}, before": mean for name, mean in before.summary.items()}) if before else []
        rows, cases = case_rows(side.scores, other.scores if other and compared else ())
        return await self._pages.render(
            request,
            "experiment.html",
            "experiments",
            experiment=experiment_rows([found])[0],
            facts=experiment_facts(found),
            means=means,
            picture=_drawn("Mean scores and their 95% intervals", means + old_means),
            others=experiment_rows(others),
            against=other_id if other else "",
            problem=problem,
            compared=differences,
            differences=_drawn("Now minus before; pale: not resolved", differences),
            cases=rows,
            more_cases=max(cases - SHOWN_CASES, 0),
            cut=len(side.scores) >= MOST_SCORES,
        )

    async def against(self, request: Request) -> Response:
        """The comparison of two runs as JSON: what `watchkeeper eval compare A B --json` prints."""
        a, b = request.path_params["other"], request.path_params["experiment_id"]
        for name in (a, b):
            if await self._one(name) is None:
                raise not_found(f"There is no experiment {name[:64]!r} in the index.")
        compared, problem = _compared(await self._side(a), await self._side(b))
        if problem:
            raise ApiError(409, "invalid_request_error", "not_comparable", problem)
        return answer({"a": a, "b": b, "scores": as_plain(compared)})

    async def _one(self, experiment_id: str) -> Experiment | None:
        found = await self._ask(Experiments(experiment_id=experiment_id, limit=1))
        return found[0] if found else None

    async def _ask(self, asked: Experiments) -> list[Experiment]:
        return list(await self._parts.reader.ask(Whole(asked, Experiment)))

    async def _side(self, experiment_id: str) -> Side:
        """The scores of a run, up to `MOST_SCORES` of them."""
        found: list[Score] = []
        while len(found) < MOST_SCORES:
            asked = Scores(experiment_id=experiment_id, limit=PAGE_SCORES, cursor=len(found))
            page = await self._parts.reader.ask(Whole(asked, Score))
            found += page
            if len(page) < PAGE_SCORES:
                break
        return side_of_scores(experiment_id, found)


def _drawn(title: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
    return Markup("".join(bar_chart(each) for each in pictures(title, rows)))


def _before(found: Experiment, others: Sequence[Experiment]) -> str:
    """The latest run of the same suite before this one, which most people want to see it beside."""
    return next((each.experiment_id for each in others if each.at_ns < found.at_ns), "")


def _compared(old: Side, new: Side) -> tuple[Sequence[Compared], str]:
    """The comparison of two runs, or why there is none."""
    for side in (old, new):
        if len(side.scores) >= MOST_SCORES:
            return (), TOO_LARGE
    try:
        return compare_sides(old, new), ""
    except (NotComparable, ValueError) as error:
        said = str(error)
        return (), said[:1].upper() + said[1:]
