"""How the upstreams fare: their breakers, gates and counts, for the attempts, the listing and the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from time import monotonic

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from watchkeeper.engines.gateway.breakers import Breaker, Change
from watchkeeper.engines.gateway.limits import Gate
from watchkeeper.engines.gateway.retrying import RetryShare
from watchkeeper.engines.gateway.settings import UpstreamSpec
from watchkeeper.records.record import Record, Scalar

_STATES = {"closed": 0, "half_open": 1, "open": 2}
_MOST_BREAKERS = 2048
_RATE_S = 60.0


class UpstreamState(Record):
    """How one upstream fares with one model (None: no call yet): its breaker, and what is in flight and waiting.

    `since_ns` is when the breaker came into its state; `per_minute` counts attempts begun in the last minute.
    """

    upstream: str
    model: str | None
    state: str
    since_ns: int
    why: str
    quality: str | None
    in_flight: int
    queued: int
    per_minute: float
    attempts: int
    failures: int
    max_concurrency: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    calls_left: float | None = None
    tokens_left: float | None = None


class _Rate:
    """Events of about the last minute, counted by the second."""

    def __init__(self) -> None:
        self._seconds: Counter[int] = Counter()

    def add(self, now_s: float) -> None:
        self._seconds[int(now_s)] += 1
        if len(self._seconds) > 2 * _RATE_S:
            self._drop(now_s)

    def per_minute(self, now_s: float) -> float:
        self._drop(now_s)
        return float(self._seconds.total())

    def _drop(self, now_s: float) -> None:
        for second in [each for each in self._seconds if each <= now_s - _RATE_S]:
            del self._seconds[second]


Changed = Callable[[str, str, Change], None]


class Board:
    """The breakers and gates of all upstreams; they live on when the settings change. Used from one event loop.

    `changed` is told of every change of a breaker's state: upstream, model, change.
    """

    def __init__(
        self,
        specs: Iterable[UpstreamSpec],
        changed: Changed,
        clock_ns: Callable[[], int],
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        self._clock_ns, self.clock_s, self._changed = clock_ns, clock_s, changed
        self._gates: dict[str, Gate] = {}
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._rates: dict[str, _Rate] = {}
        self._shares: dict[str, RetryShare] = {}
        self._quality: dict[tuple[str, str | None], str] = {}
        self._specs: dict[str, UpstreamSpec] = {}
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.rescued: Counter[str] = Counter()
        self.successes = 0
        self.absurd_hints: Counter[str] = Counter()
        self.changes: Counter[tuple[str, str]] = Counter()
        self.set(specs)

    def set(self, specs: Iterable[UpstreamSpec]) -> None:
        """Take the upstreams' settings; states and calls in flight go on."""
        self._specs = {spec.name: spec for spec in specs}
        for name, spec in self._specs.items():
            if name in self._gates:
                self._gates[name].set(spec.limits)
            else:
                self._gates[name] = Gate(name, spec.limits, self.clock_s)
                self._rates[name] = _Rate()
        for (name, _), breaker in self._breakers.items():
            if name in self._specs:
                breaker.spec = self._specs[name].breaker
        gone = [key for key in self._breakers if key[0] not in self._specs]
        for key in gone:
            del self._breakers[key]

    def gate(self, spec: UpstreamSpec) -> Gate:
        """The way to an upstream."""
        gate = self._gates.get(spec.name)
        if gate is None:
            gate = self._gates[spec.name] = Gate(spec.name, spec.limits, self.clock_s)
        return gate

    def share(self, route: str) -> RetryShare:
        """What a route may still retry."""
        found = self._shares.get(route)
        if found is None:
            found = self._shares[route] = RetryShare()
        return found

    def breaker(self, spec: UpstreamSpec, model: str | None) -> Breaker:
        """The breaker of an upstream and a model. There are at most so many: then models share their upstream's."""
        key = (spec.name, model or "")
        found = self._breakers.get(key)
        if found is None:
            if len(self._breakers) >= _MOST_BREAKERS:
                key = (spec.name, "")
            found = self._breakers.setdefault(key, Breaker(spec.breaker, self.clock_s()))
            why = self._bad(*key)
            if why is not None:
                self._tell(key, found.judged(why, self.clock_s()))
        return found

    def begin(self, spec: UpstreamSpec, model: str | None) -> None:
        """An attempt is made."""
        now_s = self.clock_s()
        self._rate(spec.name).add(now_s)
        self._tell((spec.name, model or ""), self.breaker(spec, model).begin(now_s))

    def ended(self, spec: UpstreamSpec, model: str | None, outcome: str) -> None:
        """An attempt has ended: "ok", "undecided" (it says nothing of the upstream), or how it failed."""
        self.attempts[(spec.name, outcome)] += 1
        breaker, now_s = self.breaker(spec, model), self.clock_s()
        if outcome == "undecided":
            breaker.undecided()
            return
        change = breaker.succeeded(now_s) if outcome == "ok" else breaker.failed(now_s, outcome)
        self._tell((spec.name, model or ""), change)

    def judge(self, signals: dict[tuple[str, str | None], str]) -> None:
        """The quality signals that stand now: (upstream, model; None: all its models) and why each is bad."""
        self._quality = signals
        for name, model in signals:
            if name in self._specs and model is not None:
                self.breaker(self._specs[name], model)
        now_s = self.clock_s()
        for key, breaker in self._breakers.items():
            self._tell(key, breaker.judged(self._bad(*key), now_s))

    def states(self) -> list[UpstreamState]:
        """How each upstream fares, model by model, in the order of the settings."""
        found = []
        for name in self._specs:
            models = [key for key in self._breakers if key[0] == name]
            found += [self._state(name, model or None, self._breakers[(name, model)]) for _, model in sorted(models)]
            if not models:
                found.append(self._state(name, None, None))
        return found

    def collect(self) -> Iterator[Metric]:
        """The metrics of upstreams and rescues. Upstreams are the owner's; the model is no label but of a breaker."""
        rescues = CounterMetricFamily("watchkeeper_rescues", "Rescues of calls, by kind.", labels=["kind"])
        for kind, count in self.rescued.items():
            rescues.add_metric([kind], count)
        yield rescues
        yield CounterMetricFamily("watchkeeper_successes", "Calls that were answered well.", value=self.successes)
        ratio = self.rescued.total() / self.successes if self.successes else float("nan")
        yield GaugeMetricFamily("watchkeeper_rescues_per_success", "Rescues for each successful call.", value=ratio)
        attempts = CounterMetricFamily(
            "watchkeeper_upstream_attempts", "Attempts at upstreams.", labels=["upstream", "outcome"]
        )
        for labels, count in self.attempts.items():
            attempts.add_metric(list(labels), count)
        yield attempts
        hints = CounterMetricFamily(
            "watchkeeper_upstream_absurd_hints", "Retry hints that made no sense and were ignored.", labels=["upstream"]
        )
        for name, count in self.absurd_hints.items():
            hints.add_metric([name], count)
        yield hints
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "watchkeeper_upstream_breaker_state",
            "0 closed, 1 half-open, 2 open; the worst of the upstream's models.",
            labels=["upstream"],
        )
        for name in self._specs:
            worst = [_STATES[each.state] for key, each in self._breakers.items() if key[0] == name]
            state.add_metric([name], max(worst, default=0))
        yield state
        changes = CounterMetricFamily(
            "watchkeeper_upstream_breaker_changes", "Changes of breakers.", labels=["upstream", "to"]
        )
        for labels, count in self.changes.items():
            changes.add_metric(list(labels), count)
        yield changes
        for what, text in (
            ("in_flight", "Calls in flight."),
            ("queued", "Calls that wait for their turn."),
            ("refused", "Calls that got no turn since the start."),
        ):
            gauge = GaugeMetricFamily(f"watchkeeper_upstream_{what}", text, labels=["upstream"])
            for name, gate in self._gates.items():
                gauge.add_metric([name], getattr(gate, what))
            yield gauge

    def _rate(self, name: str) -> _Rate:
        found = self._rates.get(name)
        if found is None:
            found = self._rates[name] = _Rate()
        return found

    def _bad(self, name: str, model: str) -> str | None:
        return self._quality.get((name, model)) or self._quality.get((name, None))

    def _tell(self, key: tuple[str, str], change: Change | None) -> None:
        if change is not None:
            self.changes[(key[0], change.after)] += 1
            self._changed(key[0], key[1], change)

    def _state(self, name: str, model: str | None, breaker: Breaker | None) -> UpstreamState:
        now_s, gate, spec = self.clock_s(), self._gates[name], self._specs[name]
        since_s = now_s if breaker is None else breaker.since_s
        tried = {outcome: count for (each, outcome), count in self.attempts.items() if each == name}
        levels: dict[str, Scalar] = dict(gate.levels())
        return UpstreamState(
            upstream=name,
            model=model,
            state="closed" if breaker is None else breaker.state,
            since_ns=self._clock_ns() - round((now_s - since_s) * 1e9),
            why="" if breaker is None else breaker.why,
            quality=None if breaker is None else breaker.quality,
            in_flight=gate.in_flight,
            queued=gate.queued,
            per_minute=self._rate(name).per_minute(now_s),
            attempts=sum(tried.values()),
            failures=sum(count for outcome, count in tried.items() if outcome not in ("ok", "undecided")),
            max_concurrency=spec.limits.max_concurrency,
            requests_per_minute=spec.limits.requests_per_minute,
            tokens_per_minute=spec.limits.tokens_per_minute,
            **levels,  # type: ignore[arg-type]
        )
