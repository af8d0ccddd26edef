"""The command that asks what stands behind an answer, what rests on a document, and where an answer went wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from watchkeeper.cli.options import Failure, house_options, print_json, print_table, write_private

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door

SENTENCE_CHARS = 100


@click.command()
@click.argument("name", required=False)
@click.option("--document", help="Instead of a trace: which answers rest on this document.")
@click.option("--version", "document_version", help="Only this version of the document.")
@click.option("--since", help="Only answers from this moment on: 7d, 2026-11-01.")
@click.option("--export", type=click.Path(path_type=Path), help="Write the answers to a file, one JSON object a line.")
@click.option("--withdraw", is_flag=True, help="Take the document back: audited, and opens a case file.")
@click.option(
    "--kind",
    type=click.Choice(["withdrawn", "deletion", "consent"]),
    default="withdrawn",
    show_default=True,
    help="Why: it is wrong, its deletion was asked for, or consent was revoked.",
)
@click.option("--reason", help="Why it is taken back.")
@click.option("--expected", help="The right answer: say where the recorded one went wrong.")
@click.option("--question", default="", help="The question, where the sources do not say it.")
@click.option("--corpus", type=click.Path(path_type=Path), help="The corpus: JSONL with a text a line, or plain text.")
@click.option("--cases", type=click.Path(path_type=Path), help="Many at once: JSONL of {trace, expected, question}.")
@click.option("--influence", metavar="URL", help="Ask the model at this endpoint again without each chunk.")
@click.option("--samples", type=click.IntRange(5, 1000), default=20, show_default=True, help="How often to ask.")
@click.option("--model", help="The model to ask, if not the recorded one.")
@house_options
def lineage(
    name: str | None,
    document: str | None,
    document_version: str | None,
    since: str | None,
    export: Path | None,
    withdraw: bool,
    kind: str,
    reason: str | None,
    expected: str | None,
    question: str,
    corpus: Path | None,
    cases: Path | None,
    influence: str | None,
    samples: int,
    model: str | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Say what stands behind NAME (a trace or span id): its sources, and what each sentence of the answer rests on.

    With --document: which answers rested on it, so that a document can be withdrawn. With --expected: whether a wrong
    answer was not in the corpus, not retrieved, dropped, ignored, or has a wrong source. With --influence: how often
    the answer changes when a chunk is left out. Exit code 2 when there is no such trace.
    """
    if sum(each is not None for each in (name, document, cases)) != 1:
        raise Failure("Give one of: a trace or span id, --document ID, or --cases FILE.", "usage")
    if (expected is not None or influence is not None) and name is None:
        raise Failure("--expected and --influence are about one answer: give its trace or span id.", "usage")
    from watchkeeper.cli.door import open_door

    request = b""
    with open_door(config, data) as door:
        door.flush()
        if document is not None:
            wanted = {"document": document, "version": document_version, "since": since}
            answer = _document(door, wanted, {"kind": kind, "reason": reason} if withdraw else None)
        elif cases is not None:
            answer = _sort_many(door, cases, corpus)
        else:
            answer = door.get(f"/api/v1/lineage/{quote(str(name), safe='')}").json()
            request = _request_of(door, answer) if influence else b""
    if expected is not None:
        answer["origin"] = _sort(answer, expected, question, _corpus(corpus))
    if influence is not None:
        answer["influence"] = _influence(answer, request, influence, samples, model, quiet=as_json)
    if export is not None:
        _export(export, answer.get("answers", []))
    if as_json:
        print_json(answer)
    elif document is not None:
        _show_document(answer)
    elif cases is not None:
        rows = [(each["trace"], each["label"], each["explanation"]) for each in answer["items"]]
        print_table(("trace", "fault", "why"), rows, "The file has no cases.")
    else:
        _show(answer)


def _document(door: Door, wanted: Mapping[str, Any], act: Mapping[str, Any] | None) -> Any:
    if act is None:
        return door.get("/api/v1/lineage", wanted).json()
    given = {name: each for name, each in {**wanted, **act}.items() if each is not None}
    return door.post("/api/v1/documents/withdraw", given).json()


def _corpus(path: Path | None) -> list[str] | None:
    from watchkeeper.compose.faults import read_corpus

    if path is None:
        return None
    try:
        return read_corpus(path)
    except (OSError, ValueError) as error:
        raise Failure(f"The corpus cannot be read: {error}") from error


def _sort(found: Mapping[str, Any], expected: str, question: str, corpus: Sequence[str] | None) -> dict[str, Any]:
    from watchkeeper.compose.faults import fault_of

    mark = fault_of(found, expected, question, corpus)
    return {"label": mark.label, "value": mark.value, "explanation": mark.explanation}


def _sort_many(door: Door, path: Path, corpus_path: Path | None) -> dict[str, Any]:
    corpus, items = _corpus(corpus_path), []
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        wanted = [(str(row["trace"]), str(row["expected"]), str(row.get("question") or "")) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(
            f"{path} cannot be read ({type(error).__name__}: {error}). "
            "Each line is a JSON object with trace and expected."
        ) from error
    with click.progressbar(wanted, label="Sorting", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for trace, expected, question in bar:
            reply = door.get(f"/api/v1/lineage/{quote(trace, safe='')}")
            if reply.status == 404:
                items.append({"trace": trace, "label": "unknown", "value": None, "explanation": "no such trace"})
            else:
                items.append({"trace": trace, **_sort(reply.json(), expected, question, corpus)})
    return {"items": items}


def _request_of(door: Door, found: Mapping[str, Any]) -> bytes:
    if not found["answers"]:
        raise Failure("There is no answer on record, so there is nothing to ask again.", "no_answer")
    span = found["answers"][-1]["span_id"]
    sent = door.get(f"/api/v1/spans/{span}/bodies/sent")
    return sent.body if sent.status == 200 else door.get(f"/api/v1/spans/{span}/request").checked()


def _influence(
    found: Mapping[str, Any], request: bytes, url: str, samples: int, model: str | None, quiet: bool
) -> list[dict[str, Any]]:
    import asyncio
    import os

    from watchkeeper.compose.asking import provider_of
    from watchkeeper.engines.lineage.influence import Influence, influences
    from watchkeeper.queries.registry import as_plain

    candidates = _candidates(found)
    if not candidates:
        raise Failure("No chunk was found in the recorded request, so none can be left out.", "no_chunk")
    total = samples * (len(candidates) + 1)

    async def run(told: Any) -> tuple[Influence, ...]:
        async with provider_of("openai", url, os.environ.get("OPENAI_API_KEY")) as provider:
            overrides = {"model": model} if model else {}
            return await influences(request, candidates, provider, samples, overrides=overrides, progress=told)

    try:
        with click.progressbar(
            length=total, label="Asking", file=sys.stderr, hidden=quiet or not sys.stderr.isatty()
        ) as bar:
            done = asyncio.run(run(bar.update))
    except ValueError as error:
        raise Failure(str(error)) from error
    return [{**as_plain(each), "verdict": each.verdict} for each in done]


def _candidates(found: Mapping[str, Any]) -> list[Any]:
    """The chunks in the last answer's own request, with the sentences that rest on each (else all of them)."""
    from watchkeeper.engines.lineage.influence import Candidate

    answer = found["answers"][-1]
    made = []
    for each in found["sources"]:
        if each["seen_start"] is None or not each["calls"] or each["calls"][0] != answer["span_id"]:
            continue
        own = [
            s["text"]
            for s in answer["sentences"]
            if s["source_id"] == each["source_id"] and s["verdict"] != "unsupported"
        ]
        texts = own or [s["text"] for s in answer["sentences"]]
        made.append(
            Candidate(
                source_id=each["source_id"],
                document=each["document"],
                start=each["seen_start"],
                end=each["seen_end"],
                sentences=tuple(texts),
            )
        )
    return made


def _export(path: Path, answers: Sequence[Mapping[str, Any]]) -> None:
    try:
        write_private(path, "".join(json.dumps(each) + "\n" for each in answers).encode())
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}. Name another file with --export.") from error
    click.echo(f"Wrote {len(answers):,} answers to {path}.", err=True)


def _show_document(found: Mapping[str, Any]) -> None:
    from datetime import UTC, datetime

    named = found["document"] + (f" version {found['version']}" if found["version"] else "")
    click.echo(
        f"{found['count']:,} answers rest on {named}: {found['users']} users, {found['sessions']} sessions known."
    )
    if found["declared_only"]:
        click.echo(
            f"{found['declared_only']:,} of them by the assembler's word alone; the others were found in requests."
        )
    for act in found["withdrawn"]:
        click.echo(f"{act['act']} by {act['actor']}" + (f": {act['reason']}" if act["reason"] else ""))
    if found.get("incident"):
        click.echo(f"The case file is {found['incident']}: watchkeeper incident show {found['incident']}")
    rows = [
        (
            datetime.fromtimestamp(each["at_ns"] // 10**9, UTC).isoformat(),
            each["trace_id"],
            each["user"],
            each["session"],
            each["version"],
            "found" if each["seen"] else "declared",
        )
        for each in found["answers"]
    ]
    print_table(("at", "trace", "user", "session", "version", "evidence"), rows, "No answer rests on it.")


def _show(found: Mapping[str, Any]) -> None:
    rows = [
        (each["document"], each["version"], each["chunk"], _became(each), each["seen"], each["reason"], each["rank"])
        for each in found["sources"]
    ]
    print_table(("document", "version", "chunk", "became", "evidence", "reason", "rank"), rows, "No sources.")
    for answer in found["answers"]:
        click.echo(
            f"\nAnswer of {answer['span_id']}: {answer['supported']} sentences supported, {answer['partly']} partly, "
            f"{answer['unsupported']} not."
        )
        lines = [
            (each["verdict"], f"{each['score']:.2f}", each["document"], each["text"][:SENTENCE_CHARS])
            for each in answer["sentences"]
        ]
        print_table(("support", "score", "document", "sentence"), lines, "The answer is empty.")
    if found["note"]:
        click.echo(f"\n{found['note']}")
    if "origin" in found:
        click.echo(f"\nOrigin of the fault: {found['origin']['label']}: {found['origin']['explanation']}")
    for each in found.get("influence", ()):
        rate = each["difference"]
        click.echo(
            f"\nWithout {each['document']}: says it again in {each['without_it']['value']:.0%} of "
            f"{each['without_it']['n']} samples, with it in {each['with_it']['value']:.0%}: difference "
            f"{rate['value']:+.0%} ({rate['low']:+.0%} to {rate['high']:+.0%}): {each['verdict']}."
        )


def _became(source: Mapping[str, Any]) -> str:
    if source["withdrawn"]:
        return "entered, since withdrawn" if source["entered"] else "withdrawn"
    return "entered" if source["entered"] and source["status"] == "candidate" else str(source["status"])
