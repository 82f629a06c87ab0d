"""`p2pqwen trust …`: whose index this node believes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.library.trust_store import TrustedPublisher

PublisherArgument = Annotated[str, typer.Argument(metavar="PUBLISHER_ID", help="The publisher's id, or its beginning.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Choose whose index to believe.", no_args_is_help=True, rich_markup_mode=None)
    group.command("add")(add)
    group.command("list")(list_publishers)
    group.command("show")(show)
    group.command("remove")(remove)
    app.add_typer(group, name="trust")


def add(
    publisher_id: Annotated[str, typer.Argument(metavar="PUBLISHER_ID", help="64 hex digits, from the publisher.")],
    index: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="Where its index is: a file, a folder or a web address.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Pin a publisher id, remember where its index is, and accept that index at once."""
    from p2pqwen.mirrors.location import Location
    from p2pqwen.node import open_node
    from p2pqwen.operations.publisher_id import parse_publisher
    from p2pqwen.operations.trust import add_publisher

    with Output(as_json=json_output) as out:
        source = None if index is None else Location.of_user(index)
        added = add_publisher(
            open_node().trust,
            parse_publisher(publisher_id),
            source,
            now=datetime.now(UTC),
            report=out.report,
        )
        lines = [*trusted_lines(added), *key_lines(added)]
        if added.accepted is None:
            lines.append("no index yet: name its place with `p2pqwen trust add … --index FILE|URL`")
        out.result({**trusted_fields(added), "keys": key_fields(added)}, lines)


def list_publishers(json_output: JsonFlag = False) -> None:
    """List the trusted publishers."""
    from p2pqwen.node import open_node

    with Output(as_json=json_output) as out:
        found = open_node().trust.publishers(now=datetime.now(UTC), report=out.report)
        lines = [line for one in found for line in [*trusted_lines(one), ""]]
        out.result(
            {"publishers": [trusted_fields(one) for one in found]},
            lines or ["nobody is trusted yet; `p2pqwen trust add PUBLISHER_ID --index FILE|URL`"],
        )


def show(publisher_id: PublisherArgument, json_output: JsonFlag = False) -> None:
    """Show a trusted publisher: name, keys, thresholds, where its index comes from."""
    from p2pqwen.node import open_node
    from p2pqwen.operations.publisher_id import find_publisher

    with Output(as_json=json_output) as out:
        store = open_node().trust
        one = store.get(find_publisher(store, publisher_id), now=datetime.now(UTC), report=out.report)
        out.result({**trusted_fields(one), "keys": key_fields(one)}, [*trusted_lines(one), *key_lines(one)])


def remove(publisher_id: PublisherArgument, json_output: JsonFlag = False) -> None:
    """Stop trusting a publisher; snapshots that came through it stay."""
    from p2pqwen.node import open_node
    from p2pqwen.operations.publisher_id import find_publisher

    with Output(as_json=json_output) as out:
        store = open_node().trust
        publisher = find_publisher(store, publisher_id)
        store.unpin(publisher)
        out.result({"publisher": str(publisher), "removed": True}, [f"no longer trusting {publisher}"])


def trusted_fields(one: TrustedPublisher) -> dict[str, Any]:
    """Return the JSON of a trusted publisher."""
    document = one.document
    return {
        "publisher": str(one.publisher),
        "name": one.name,
        "root_version": one.root.version if one.root else None,
        "epoch": document.epoch if document else None,
        "version": document.version if document else None,
        "entries": len(document.entries) if document else None,
        "age_days": one.accepted.age_days if one.accepted else None,
        "sources": list(one.sources),
        "mirrors": list(one.mirrors),
    }


def trusted_lines(one: TrustedPublisher) -> list[str]:
    """Return the words for a trusted publisher."""
    lines = [f"publisher  {one.publisher}", f"name       {one.name or 'unknown until its index is read'}"]
    if one.accepted is not None:
        lines.append(
            f"index      {one.accepted.position}, {len(one.accepted.document.entries)} snapshot(s), "
            f"signed by {', '.join(one.accepted.signer_labels)} {age(one.accepted.age_days)}"
        )
    return [*lines, *(f"source     {mirror}" for mirror in one.mirrors)]


def key_fields(one: TrustedPublisher) -> list[dict[str, Any]]:
    """Return the JSON of a trusted publisher's keys."""
    root = one.root
    if root is None:
        return []
    return [
        {
            "keyid": str(keyid),
            "label": key.label,
            "roles": [role for role, rule in root.roles.items() if keyid in rule.keyids],
        }
        for keyid, key in root.keys.items()
    ]


def key_lines(one: TrustedPublisher) -> list[str]:
    """Return the words for a trusted publisher's keys and thresholds."""
    if one.root is None:
        return []
    rules = [
        f"{role:<9}  {rule.threshold} of {len(rule.keyids)} keys (root version {one.root.version})"
        for role, rule in one.root.roles.items()
    ]
    return rules + [
        f"key        {row['keyid']}  {row['label']}  ({', '.join(row['roles'])})" for row in key_fields(one)
    ]


def age(days: int) -> str:
    """Return how long ago something was signed."""
    if days < 0:
        return "in the future"
    return "today" if days == 0 else "yesterday" if days == 1 else f"{days} days ago"
