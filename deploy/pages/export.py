"""The contracts for others: AsyncAPI 3 of every subject, JSON Schema of every word. ``gridparley contracts``."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from agents.kit.skill import Vocabulary
from bus.address import Address, group, say, to
from bus.envelope import Envelope
from contracts import all as every_word
from contracts.kit import Conversation, Message, Role, vocabulary, word_of
from contracts.roles import AGGREGATOR, ALL, DSO, HES, OPS
from contracts.system import GroupMessage
from deploy.pages import contracts_page
from deploy.roster import UnknownRole, agent_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "contracts.md"
_GRID_SIDE = frozenset({DSO, HES, AGGREGATOR, OPS})
_SENDER = Address("{site}", "{role}", "{name}")
_PARAMETERS = {
    "site": "site of the sender: a home, or `grid`",
    "role": "role of the sender; the servers bind it to the credential",
    "name": "name of the sender within site and role",
    "to_site": "site of the receiver",
    "to_role": "role of the receiver",
    "to_name": "name of the receiver",
    "group": "name of a group; its members are known to the servers",
}
Json = dict[str, Any]


def vocabularies() -> dict[Role, Vocabulary]:
    """What each role's agent says and hears; a role that nobody plays yet is left out."""
    found = {}
    for role in ALL:
        try:
            found[role] = agent_of(role.name).vocabulary
        except UnknownRole:
            continue
    return found


def asyncapi(known: dict[Role, Vocabulary] | None = None) -> Json:
    """The document. ``known`` replaces the roles' vocabularies."""
    every_word.conversations()
    kinds = [kind for _, kind in sorted(vocabulary().items()) if kind.__module__.startswith("contracts.")]
    _, schemas = msgspec.json.schema_components(
        [Envelope[kind] for kind in kinds],  # type: ignore[valid-type]
        ref_template="#/components/schemas/{name}",
    )
    channels: Json = {}
    operations: Json = {}
    for role, words in (vocabularies() if known is None else known).items():
        _operations(role, words, channels, operations)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "gridparley",
            "version": "1.0.0",
            "description": "Agents of the customer side of the power grid, over NATS. Permissions bind the sender.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": dict(sorted(channels.items())),
        "operations": dict(sorted(operations.items())),
        "components": {
            "messages": {kind.__name__: _message(kind) for kind in kinds},
            "schemas": schemas,
        },
    }


def _message(kind: type[Message]) -> Json:
    return {
        "name": word_of(kind),
        "title": kind.__name__,
        "summary": contracts_page.doc_of(kind).partition("\n")[0],
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/Envelope_{kind.__name__}_"},
        "x-topic": kind.topic,
        "x-edition": kind.edition,
        "x-durable": kind.durable,
        "x-ttl-s": kind.ttl_s,
        "x-clause": kind.clause,
    }


def _operations(role: Role, words: Vocabulary, channels: Json, operations: Json) -> None:
    def put(action: str, plane: str, kind: type[Message], *, home: bool, other: str = "") -> None:
        channel = _channel(plane, kind, home, channels)
        verb = "says" if action == "send" else "hears"
        place = "_at_home" if home else ""
        way = "to" if action == "send" else "from"
        name = f"{role.name}_{verb}_{word_of(kind)}{place}" + (f"_{way}_{other}" if other else "")
        operations[name] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": f"#/channels/{channel}/messages/{kind.__name__}"}],
        }

    for kind in words.says_home:
        put("send", "say", kind, home=True)
    for kind in words.says_grid:
        put("send", "say", kind, home=False)
    for kind, receiver in words.tells:
        put("send", "to", kind, home=_at_home(role, receiver), other=receiver.name)
    for table in words.opens:
        for peer in table.answered_by:
            _talk(table, table.opener, role, peer, put)
    for table in words.answers:
        for peer in table.opened_by:
            _talk(table, table.answerer, role, peer, put)
    for heard in words.hears:
        if heard.where != "addressed":
            put("receive", "say", heard.kind, home=heard.where == "home")
        elif heard.kind is GroupMessage:
            put("receive", "group", heard.kind, home=False)
        for sender in heard.of if heard.where == "addressed" and heard.kind is not GroupMessage else ():
            put("receive", "to", heard.kind, home=_at_home(role, sender), other=sender.name)
    if words.speaks_to_groups:
        put("send", "group", GroupMessage, home=False)


def _talk(table: Conversation, side: str, role: Role, peer: Role, put: Any) -> None:
    other = table.answerer if side == table.opener else table.opener
    for kind in table.says(side):
        put("send", "to", kind, home=_at_home(role, peer), other=peer.name)
    for kind in table.says(other):
        put("receive", "to", kind, home=_at_home(role, peer), other=peer.name)


def _at_home(one: Role, other: Role) -> bool:
    """Both sit behind a site's own server: their words never leave it."""
    return one not in _GRID_SIDE and other not in _GRID_SIDE


def _channel(plane: str, kind: type[Message], home: bool, channels: Json) -> str:
    name = f"{plane}_{word_of(kind)}" + ("_at_home" if home else "")
    if plane == "say":
        subject = say(_SENDER, kind, home=home)
    elif plane == "group":
        subject = group("{group}", _SENDER, kind)
    else:
        # One placeholder for both sites at home: that is what keeps the word there.
        receiver = Address("{site}" if home else "{to_site}", "{to_role}", "{to_name}")
        subject = to(receiver, _SENDER, kind)
    channels[name] = {
        "address": subject,
        "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}},
        "parameters": {key: {"description": text} for key, text in _PARAMETERS.items() if f"{{{key}}}" in subject},
    }
    return name


def schema(kind: type[Message]) -> Json:
    """One word's body as JSON Schema 2020-12, units as ``x-unit``."""
    found: Json = msgspec.json.schema(kind)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def schemas() -> dict[str, Json]:
    """The schema of every word by its subject tail, such as ``power_limit.1.set_limit``."""
    kinds = [kind for several in contracts_page.words().values() for kind in several]
    return {f"{kind.topic}.{kind.edition}.{word_of(kind)}": schema(kind) for kind in kinds}


def export(folder: Path) -> list[Path]:
    """Write ``asyncapi.json`` and ``schemas/*.json``; returns what was written."""
    (folder / "schemas").mkdir(parents=True, exist_ok=True)
    written = {folder / "asyncapi.json": asyncapi()}
    written |= {folder / "schemas" / f"{tail}.json": found for tail, found in schemas().items()}
    for path, content in written.items():
        path.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    return list(written)


app = typer.Typer(no_args_is_help=True, help="The contracts for others: AsyncAPI, JSON Schema, documentation.")


@app.command("export")
def export_command(
    folder: Annotated[Path, typer.Argument(help="Where to write.", metavar="DIR")] = Path("build/contracts"),
) -> None:
    """Write AsyncAPI 3 and the JSON Schema of every word."""
    written = export(folder)
    typer.echo(f"{len(written)} files in {folder}: asyncapi.json and schemas/")


@app.command("docs")
def docs_command() -> None:
    """Write docs/contracts.md anew."""
    PAGE.write_text(contracts_page.page(), encoding="utf-8")
