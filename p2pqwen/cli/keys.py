"""`p2pqwen keys …`: this home's publisher and its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.cli.passphrase import new_passphrase

if TYPE_CHECKING:
    from p2pqwen.operations.keys import PublisherShown


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Make and show a publisher's keys.", no_args_is_help=True, rich_markup_mode=None)
    group.command("init")(init)
    group.command("show")(show)
    app.add_typer(group, name="keys")


def init(
    name: Annotated[str, typer.Option(metavar="NAME", help="What the publisher is called.")],
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave the private keys unencrypted on disk.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Make a publisher: a root key, which can then be moved offline, and an index key for everyday publishing."""
    from p2pqwen.node import open_node
    from p2pqwen.operations.keys import init_keys

    with Output(as_json=json_output) as out:
        node = open_node()
        shown = init_keys(node.keys, name, new_passphrase(without=no_passphrase))
        lines = [
            "",
            "Give the publisher id to those who shall trust you.",
            f"Back up {node.home.keys}. Whoever holds the root key decides who may publish: keep it offline.",
        ]
        out.result(publisher_fields(shown), [*publisher_lines(shown), *lines])


def show(json_output: JsonFlag = False) -> None:
    """Show this home's publisher: id, root version, thresholds, and which private keys are here."""
    from p2pqwen.node import open_node
    from p2pqwen.operations.keys import show_keys

    with Output(as_json=json_output) as out:
        shown = show_keys(open_node().keys)
        out.result(publisher_fields(shown), publisher_lines(shown))


def publisher_fields(shown: PublisherShown) -> dict[str, Any]:
    """Return the JSON of a publisher with its keys."""
    return {
        "publisher": str(shown.publisher),
        "name": shown.root.name,
        "root_version": shown.root.version,
        "index_epoch": shown.root.index_epoch,
        "thresholds": {role: rule.threshold for role, rule in shown.root.roles.items()},
        "keys": [
            {"keyid": str(key.keyid), "label": key.label, "roles": list(key.roles), "private": key.private}
            for key in shown.keys
        ],
    }


def publisher_lines(shown: PublisherShown) -> list[str]:
    """Return the words for a publisher with its keys."""
    return [
        f"publisher  {shown.publisher}",
        f"name       {shown.root.name}",
        f"root       version {shown.root.version}, index epoch {shown.root.index_epoch}",
        *(f"{role:<9}  {rule.threshold} of {len(rule.keyids)} keys" for role, rule in shown.root.roles.items()),
        *(
            f"key        {key.keyid}  {key.label}  ({', '.join(key.roles)}; private half "
            f"{'in this home' if key.private else 'elsewhere'})"
            for key in shown.keys
        ),
    ]
