"""Wraps functions as tools and agents: a span around each call, and for tools a ruling before and a report after."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from watchkeeper.engines.decide.fold import BY_SPAN, normal, result_of, sketch_of
from watchkeeper.records.event import ToolStep
from watchkeeper.records.ids import digest
from watchkeeper.sdk.client import Client, current_client
from watchkeeper.sdk.guard import Denied
from watchkeeper.sdk.identity import Who, acting, current
from watchkeeper.sdk.tracing import Handle, content_of, open_span

F = TypeVar("F", bound=Callable[..., Any])


class AgentCall:
    """One call of an agent: a span, and the agent's name on everything within."""

    def __init__(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        self.client: Client = current_client()
        self.who: Who = current()._replace(agent=name)
        self.handle: Handle = open_span(
            f"invoke_agent {name}",
            {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name} | _conversation(self.who),
        )

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within this block the call is what is being done."""
        with acting(self.who), self.handle.current():
            yield

    def ask(self) -> None:
        """An agent needs no ruling: its calls and tools are ruled on themselves."""

    def saw(self, item: Any) -> None:
        """An item that a generator yielded."""

    def close(self, result: Any, error: BaseException | None) -> None:
        """End the span."""
        if error is not None and not isinstance(error, GeneratorExit):
            self.handle.fail(error)
        self.handle.end()


class ToolCall(AgentCall):
    """One call of a tool: a span, a ruling before it runs, and a report of its digests afterwards."""

    def __init__(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        self.client = current_client()
        self.who = current()
        given = named_arguments(function, arguments, named)
        attributes: dict[str, Any] = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
        attributes |= {"gen_ai.tool.type": "function"} | _conversation(self.who)
        if self.who.agent is not None:
            attributes["gen_ai.agent.name"] = self.who.agent
        if self.client.capture_content:
            attributes["gen_ai.tool.call.arguments"] = content_of(given)
        self.handle = open_span(f"execute_tool {name}", attributes)
        self.step = ToolStep(
            agent=self.who.agent,
            tool=name,
            arguments=normal(given),
            call_id=f"{BY_SPAN}{self.handle.span_id}",
            sketch=sketch_of(given),
        )
        self._seen: list[str] = []
        self._ran = False

    def ask(self) -> None:
        """Return when the tool may run; raises `Denied` when it may not."""
        if self.client.guard is not None:
            self.client.guard.ask(self.step, self.who, self.handle.trace_id, self.handle.span_id)
        self._ran = True

    def saw(self, item: Any) -> None:
        """An item that a generator yielded: part of its result."""
        self._seen.append(result_digest(item))

    def close(self, result: Any, error: BaseException | None) -> None:
        """End the span and report what came of the call."""
        if isinstance(error, Denied):
            self.handle.set("watchkeeper.decision.reason", error.reason)
            self.handle.set("watchkeeper.decision.policy", error.policy)
        elif error is None and self.client.capture_content and result is not None:
            self.handle.set("gen_ai.tool.call.result", content_of(result))
        super().close(result, error)
        if self._ran and self.client.guard is not None:
            told = f"{type(error).__qualname__}: {error}" if error is not None else result
            came, gist = result_digest(told), result_of(told if isinstance(told, str) else _plain(told))[1]
            if self._seen:
                came = gist = digest("".join([*self._seen, came]).encode())
            step = msgspec.structs.replace(self.step, result=came, gist=gist)
            self.client.guard.done(step, self.who, self.handle.trace_id, self.handle.span_id)


def _conversation(who: Who) -> dict[str, Any]:
    return {} if who.session is None else {"gen_ai.conversation.id": who.session}


def named_arguments(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments by name, as a model would write them; the object of a method is left out.

    What JSON cannot say is named by its type, so that equal calls have equal digests in every process.
    """
    try:
        bound = dict(inspect.signature(function).bind(*arguments, **named).arguments)
    except (TypeError, ValueError):
        bound = {f"arg{place}": value for place, value in enumerate(arguments)} | named
    if next(iter(bound), "") in ("self", "cls"):
        bound.pop(next(iter(bound)))
    plain: dict[str, Any] = {}
    for name, value in bound.items():
        kind = inspect.signature(function).parameters.get(name) if name in bound else None
        if kind is not None and kind.kind is inspect.Parameter.VAR_KEYWORD and isinstance(value, dict):
            plain |= {key: _plain(each) for key, each in value.items()}
        else:
            plain[name] = _plain(value)
    return plain


def _plain(value: Any) -> Any:
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=lambda each: f"<{type(each).__qualname__}>")
    except (TypeError, ValueError, RecursionError):
        return f"<{type(value).__qualname__}>"


def result_digest(value: Any) -> str:
    """The digest of a tool's result: text without the white space around it, or a value in canonical JSON."""
    return digest(value.strip().encode("utf-8", "surrogatepass")) if isinstance(value, str) else normal(_plain(value))


def decorate(function: Callable[..., Any], begin: type[AgentCall], name: str) -> Callable[..., Any]:
    """The function with each call wrapped; plain, asynchronous and generator functions keep their kind."""
    if inspect.isasyncgenfunction(function):
        return _async_generator(function, begin, name)
    if inspect.isgeneratorfunction(function):
        return _generator(function, begin, name)
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, begin, name)

    @functools.wraps(function)
    def plain(*arguments: Any, **named: Any) -> Any:
        call = begin(name, function, arguments, named)
        try:
            with call.active():
                call.ask()
                result = function(*arguments, **named)
        except BaseException as error:
            call.close(None, error)
            raise
        call.close(result, None)
        return result

    return plain


def _coroutine(function: Callable[..., Any], begin: type[AgentCall], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    async def coroutine(*arguments: Any, **named: Any) -> Any:
        call = begin(name, function, arguments, named)
        try:
            with call.active():
                await _asked(call)
                result = await function(*arguments, **named)
        except BaseException as error:
            await _closed(call, None, error)
            raise
        await _closed(call, result, None)
        return result

    return coroutine


def _generator(function: Callable[..., Any], begin: type[AgentCall], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def generator(*arguments: Any, **named: Any) -> Any:
        call = begin(name, function, arguments, named)
        try:
            with call.active():
                call.ask()
                inner = function(*arguments, **named)
            result = yield from _driven(inner, call)
        except BaseException as error:
            call.close(None, error)
            raise
        call.close(result, None)
        return result

    return generator


def _driven(inner: Any, call: AgentCall) -> Any:
    """Run a generator step by step, each within the call's context, and hand through what is sent and thrown."""
    step: Callable[[], Any] = functools.partial(next, inner)
    while True:
        try:
            with call.active():
                item = step()
        except StopIteration as stop:
            return stop.value
        call.saw(item)
        try:
            sent = yield item
        except GeneratorExit:
            with call.active():
                inner.close()
            raise
        except BaseException as error:  # noqa: BLE001  whatever is thrown in belongs to the generator that is wrapped
            step = functools.partial(inner.throw, error)
        else:
            step = functools.partial(inner.send, sent)


def _async_generator(function: Callable[..., Any], begin: type[AgentCall], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    async def generator(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
        call = begin(name, function, arguments, named)
        try:
            with call.active():
                await _asked(call)
                inner = function(*arguments, **named)
            try:
                while True:
                    with call.active():
                        item = await anext(inner)
                    call.saw(item)
                    yield item
            except StopAsyncIteration:
                pass
            finally:
                await inner.aclose()
        except BaseException as error:
            await _closed(call, None, error)
            raise
        await _closed(call, None, None)

    return generator


async def _asked(call: AgentCall) -> None:
    if isinstance(call, ToolCall) and call.client.guard is not None:
        await asyncio.to_thread(call.ask)
    else:
        call.ask()


async def _closed(call: AgentCall, result: Any, error: BaseException | None) -> None:
    call.close(result, error)
