"""`p2pqwen trust …`: the publishers whose indexes this home trusts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from p2pqwen.cli import names
from p2pqwen.cli.network_options import NoDht, PeerOption, bundle_route
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.cli.skipped import skipped_lines
from p2pqwen.values.plural import plural

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.index.acceptance import Accepted
    from p2pqwen.library.trust_store import TrustedPublisher
    from p2pqwen.operations.indexes.bundle_route import BundleRoute

    Way: TypeAlias = Callable[[], BundleRoute | None]

PublisherArgument = Annotated[
    str,
    typer.Argument(
        metavar="PUBLISHER_ID", autocompletion=names.publishers, help="The publisher's id, or its beginning."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Choose which publishers to trust.", no_args_is_help=True, rich_markup_mode=None)
    group.command("add", short_help="Pin a publisher, and accept its index.")(add)
    group.command("list")(list_publishers)
    group.command("show", short_help="Show a trusted publisher's name, keys and sources.")(show)
    group.command("remove", short_help="Stop trusting a publisher.")(remove)
    app.add_typer(group, name="trust")


def add(
    publisher: Annotated[
        str,
        typer.Argument(
            metavar="PUBLISHER_ID|LINK|FILE|URL",
            help="The publisher's id, 64 hex digits; or a magnet:?xs=urn:btpk:… link; or the place of the index.",
        ),
    ],
    index: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="Where its index is: a file, a folder or a web address.")
    ] = None,
    peer: PeerOption = None,
    no_dht: NoDht = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Trust the signer of the index at FILE or URL without asking.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Pin a publisher, remember where its index is, and accept that index.

    With an id or link alone, the index is fetched from the DHT and peers.
    """
    from p2pqwen.app import open_app
    from p2pqwen.index.publisher_link import is_publisher_link
    from p2pqwen.operations.indexes.trust_answer import TrustedWithKeys

    with Output(as_json=json_output) as out:
        app = open_app()
        way = partial(bundle_route, app, out, dht=not no_dht, peers=peer)  # imports libtorrent, so only when needed
        if is_publisher_link(publisher):
            added = _add_by_link(app, out, publisher, index, way)
        elif index is None and _is_place(publisher):
            added = _add_signer(app, out, publisher, yes=yes)
        else:
            added = _add_by_id(app, out, publisher, index, way)
        lines = [*trusted_lines(added), *key_lines(added)]
        if added.accepted is None:
            lines.append("no index yet: name its place with `p2pqwen trust add … --index FILE|URL`")
        out.result(TrustedWithKeys.of(added), lines)


def _add_by_link(app: App, out: Output, text: str, index: str | None, way: Way) -> TrustedPublisher:
    from p2pqwen.errors import UsageError
    from p2pqwen.index.publisher_link import parse_publisher_link
    from p2pqwen.operations.indexes.trust import add_by_link

    link = parse_publisher_link(text)
    if link.publisher is not None and index is not None:
        return _add_by_id(app, out, str(link.publisher), index, way)
    if index is not None:
        raise UsageError("a link without a publisher id is followed through the DHT, not with --index")
    if (route := way()) is None:
        raise UsageError("a link is looked up in the DHT, which is switched off", hint="leave out --no-dht")
    return add_by_link(app.trust, link, route, now=datetime.now(UTC), report=out.report)


def _add_by_id(app: App, out: Output, publisher: str, index: str | None, way: Way) -> TrustedPublisher:
    from p2pqwen.mirrors.location import Location
    from p2pqwen.operations.indexes.publisher_id import parse_publisher
    from p2pqwen.operations.indexes.trust import add_publisher
    from p2pqwen.operations.indexes.update import update

    now = datetime.now(UTC)
    source = None if index is None else Location.of_user(index)
    added = add_publisher(app.trust, parse_publisher(publisher), source, now=now, report=out.report)
    if added.accepted is None and (route := way()) is not None:
        return update(app.trust, added, now=now, route=route, report=out.report).publisher
    return added


def _is_place(text: str) -> bool:
    """Tell whether a user named the place of an index, rather than a publisher's id."""
    from p2pqwen.mirrors.location import is_web
    from p2pqwen.user_path import user_path

    return is_web(text) or user_path(text, "PUBLISHER").exists()


def _add_signer(app: App, out: Output, place: str, *, yes: bool) -> TrustedPublisher:
    import sys

    from p2pqwen.errors import P2pqwenError, UsageError
    from p2pqwen.mirrors.location import Location
    from p2pqwen.operations.indexes.trust import add_signer

    source = Location.of_user(place)

    def confirm(found: Accepted) -> None:
        if yes:
            return
        question = f"{source.text} is signed by {found.root.name!r}, publisher {found.publisher}. Trust it?"
        if not sys.stdin.isatty():
            raise UsageError(
                "a file or URL names its own publisher, which needs confirmation, and there is no terminal",
                got=f"publisher {found.publisher}",
                hint="compare that id with one you know and name it, or use --yes",
            )
        if not out.confirm(question):
            raise P2pqwenError("cancelled; the publisher is not trusted")

    return add_signer(app.trust, source, confirm, now=datetime.now(UTC), report=out.report)


def list_publishers(json_output: JsonFlag = False) -> None:
    """List the trusted publishers."""
    from p2pqwen.app import open_app
    from p2pqwen.operations.indexes.trust_answer import TrustedList

    with Output(as_json=json_output) as out:
        found = open_app().trust.publishers(now=datetime.now(UTC), report=out.report)
        lines = [line for one in found for line in [*trusted_lines(one), ""]]
        out.result(
            TrustedList.of(found),
            lines or ["no publisher is trusted yet; `p2pqwen trust add PUBLISHER_ID --index FILE|URL`"],
        )


def show(publisher_id: PublisherArgument, json_output: JsonFlag = False) -> None:
    """Show a trusted publisher: name, keys, thresholds, and the sources of its index."""
    from p2pqwen.app import open_app
    from p2pqwen.operations.indexes.publisher_id import find_publisher
    from p2pqwen.operations.indexes.trust_answer import TrustedWithKeys

    with Output(as_json=json_output) as out:
        store = open_app().trust
        one = store.get(find_publisher(store, publisher_id), now=datetime.now(UTC), report=out.report)
        out.result(TrustedWithKeys.of(one), [*trusted_lines(one), *key_lines(one)])


def remove(publisher_id: PublisherArgument, json_output: JsonFlag = False) -> None:
    """Stop trusting a publisher and seeding its index; snapshots fetched through it stay."""
    from p2pqwen.app import open_app
    from p2pqwen.operations.indexes.publisher_id import find_publisher
    from p2pqwen.operations.indexes.trust_answer import TrustedAnswer, TrustRemoved

    with Output(as_json=json_output) as out:
        app = open_app()
        publisher = find_publisher(app.trust, publisher_id)
        trusted = TrustedAnswer.of(app.trust.get(publisher, now=datetime.now(UTC)))
        ours = app.keys.exists and app.keys.publisher() == publisher
        app.trust.unpin(publisher)
        if not ours:
            app.bundles.forget(publisher)
        out.result(TrustRemoved(trusted, removed=True), [f"no longer trusting {publisher}"])


def trusted_lines(one: TrustedPublisher) -> list[str]:
    """Return the lines for a trusted publisher."""
    lines = [f"publisher  {one.publisher}", f"name       {one.name or 'unknown until its index is read'}"]
    if one.accepted is not None:
        lines.append(
            f"index      {one.accepted.position}, {plural(len(one.accepted.document.entries), 'snapshot')}, "
            f"signed by {', '.join(one.accepted.signer_labels)} {age(one.accepted.age_days)}"
        )
    lines += skipped_lines(one.document)
    return [*lines, *(f"source     {mirror}" for mirror in one.mirrors)]


def key_lines(one: TrustedPublisher) -> list[str]:
    """Return the lines for a trusted publisher's keys and thresholds."""
    from p2pqwen.operations.indexes.trust_answer import KeyAnswer

    if one.root is None:
        return []
    rules = [
        f"{role:<9}  {rule.threshold} of {len(rule.keyids)} keys (root version {one.root.version})"
        for role, rule in one.root.roles.items()
    ]
    return rules + [f"key        {row.keyid}  {row.label}  ({', '.join(row.roles)})" for row in KeyAnswer.all(one.root)]


def age(days: int) -> str:
    """Return how long ago something was signed."""
    if days < 0:
        return "in the future"
    return "today" if days == 0 else "yesterday" if days == 1 else f"{days} days ago"
