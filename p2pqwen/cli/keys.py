"""`p2pqwen keys …`: this home's publisher and its keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.cli.passphrase import KnownPassphrases, chosen_passphrase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from p2pqwen.operations.publish.keys import KeyShown, PublisherShown
    from p2pqwen.operations.publish.rotate import Rotation

NoPassphrase = Annotated[bool, typer.Option("--no-passphrase", help="Leave new private keys unencrypted on disk.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        help="Make, show and hand over a publisher's keys.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("init", short_help="Make a publisher, with its root key and its index key.")(init)
    group.command("show", short_help="Show this home's publisher and its keys.")(show)
    group.command("new", short_help="Make a key for another publisher.")(new)
    group.command("rotate", short_help="Add, remove or replace keys, or change thresholds.")(rotate)
    group.command("sign", short_help="Sign a draft of a new root.")(sign)
    group.command("accept", short_help="Accept new roots, or join a publisher as a signer.")(accept)
    app.add_typer(group, name="keys")


def init(
    name: Annotated[str, typer.Option(metavar="NAME", help="The publisher's name.")],
    no_passphrase: NoPassphrase = False,
    json_output: JsonFlag = False,
) -> None:
    """Make a publisher: a root key, which can then be moved offline, and an index key for everyday publishing."""
    from p2pqwen.app import open_app
    from p2pqwen.operations.publish.keys import check_no_publisher, init_keys
    from p2pqwen.operations.publish.keys_answer import PublisherAnswer

    with Output(as_json=json_output) as out:
        app = open_app()
        check_no_publisher(app.keys)  # before asking for a passphrase
        shown = init_keys(app.keys, name, chosen_passphrase(out, f"the keys of {name}", without=no_passphrase))
        lines = [
            "",
            "Send the publisher id to the people who should trust you.",
            f"Back up {app.home.keys}. The root key decides who may publish: keep it offline.",
        ]
        out.result(PublisherAnswer.of(shown), [*publisher_lines(shown), *lines])


def show(json_output: JsonFlag = False) -> None:
    """Show this home's publisher: id, root version, thresholds, and the private keys in this home.

    In a home that has not joined a publisher yet, show the keys made for one.
    """
    from p2pqwen.app import open_app
    from p2pqwen.operations.publish.keys import show_keys, spare_keys
    from p2pqwen.operations.publish.keys_answer import PublisherAnswer, SpareKeysAnswer

    with Output(as_json=json_output) as out:
        store = open_app().keys
        if not store.exists and (made := spare_keys(store)):
            out.result(SpareKeysAnswer(made), made_lines(made))
            return
        shown = show_keys(store)
        out.result(PublisherAnswer.of(shown), publisher_lines(shown))


def new(
    label: Annotated[str, typer.Option(metavar="LABEL", help="The name of the key's owner.")],
    no_passphrase: NoPassphrase = False,
    json_output: JsonFlag = False,
) -> None:
    """Make a private key in this home for another publisher, and print the public half to send to them."""
    from p2pqwen.app import open_app
    from p2pqwen.operations.publish.keys import format_public, new_key
    from p2pqwen.operations.publish.keys_answer import NewKeyAnswer

    with Output(as_json=json_output) as out:
        key = new_key(open_app().keys, label, chosen_passphrase(out, f"the key {label}", without=no_passphrase))
        public = format_public(key)
        out.result(
            NewKeyAnswer(key.public.keyid, key.label, public),
            [f"key     {key.public.keyid}", f"public  {public}"],
        )


def rotate(
    new_root_key: Annotated[
        list[str] | None, typer.Option(metavar="LABEL…", help="Make a root key in this home and add it.")
    ] = None,
    new_index_key: Annotated[
        list[str] | None, typer.Option(metavar="LABEL…", help="Make an index key in this home and add it.")
    ] = None,
    add_root: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=KEY…", help="Add another signer's root key, as `keys new` printed it."),
    ] = None,
    add_index: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=KEY…", help="Add another signer's index key.")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="KEYID…", help="Remove a key from every role.")] = None,
    stolen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEYID…",
            help="Revoke a stolen key: remove it and raise the index epoch, which invalidates everything it signed.",
        ),
    ] = None,
    root_threshold: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many root keys must sign.")
    ] = None,
    index_threshold: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many index keys must sign.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Rename the publisher.")] = None,
    draft: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the new root to FILE for others to sign.")
    ] = None,
    no_passphrase: NoPassphrase = False,
    json_output: JsonFlag = False,
) -> None:
    """Hand the publisher over to a new root: keys added, removed or replaced, thresholds changed.

    The new root is signed by the root keys in this home. If that is not enough, write it with --draft, let others
    run `p2pqwen keys sign`, and apply it with `p2pqwen keys accept`. Then publish again.
    """
    from p2pqwen.app import open_app
    from p2pqwen.index.root import INDEX_ROLE, ROOT_ROLE
    from p2pqwen.index.rotation import RootChange
    from p2pqwen.operations.publish.keys import find_key, make_keys, parse_public
    from p2pqwen.operations.publish.keys_answer import RotationAnswer
    from p2pqwen.operations.publish.rotate import rotate as rotate_keys

    with Output(as_json=json_output) as out:
        store = open_app().keys
        root = store.root()
        made = {ROOT_ROLE: make_keys(new_root_key or ()), INDEX_ROLE: make_keys(new_index_key or ())}
        given = {ROOT_ROLE: map(parse_public, add_root or ()), INDEX_ROLE: map(parse_public, add_index or ())}
        thresholds = {ROOT_ROLE: root_threshold, INDEX_ROLE: index_threshold}
        change = RootChange(
            name=name,
            add={role: (*(row.shown for row in made[role]), *given[role]) for role in made},
            remove=tuple(find_key(root, text) for text in remove or ()),
            stolen=tuple(find_key(root, text) for text in stolen or ()),
            thresholds={role: value for role, value in thresholds.items() if value is not None},
        )
        fresh = tuple(row.private for rows in made.values() for row in rows)
        done = rotate_keys(
            store,
            change,
            fresh,
            draft=draft,
            passphrase=KnownPassphrases(out),
            new_passphrase=chosen_passphrase(out, f"the new keys of {root.name}", without=no_passphrase)
            if fresh
            else None,
        )
        out.result(RotationAnswer.of(done), rotation_lines(done))


def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A draft that `keys rotate --draft` wrote.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before signing.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Add the signatures of the root keys in this home to a draft of a new root, after showing what it changes."""
    import sys

    from p2pqwen.app import open_app
    from p2pqwen.operations.publish.keys_answer import RotationAnswer
    from p2pqwen.operations.publish.rotate import sign_draft

    with Output(as_json=json_output) as out:
        done = sign_draft(
            open_app().keys,
            file,
            passphrase=KnownPassphrases(out),
            approve=lambda root, keys: (
                yes
                or not sys.stdin.isatty()
                or out.confirm(f"Sign root {root.version} of {root.name} with {', '.join(keys)}?")
            ),
            report=out.report,
        )
        out.result(RotationAnswer.of(done), rotation_lines(done))


def accept(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A fully signed draft, or an index.json.")],
    publisher: Annotated[
        str | None, typer.Option(metavar="ID", help="In a home without a publisher: the one to join.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Accept new roots for this home's publisher, or join a publisher as one of its signers."""
    from p2pqwen.app import open_app
    from p2pqwen.operations.indexes.publisher_id import parse_publisher
    from p2pqwen.operations.publish.keys import show_keys
    from p2pqwen.operations.publish.keys_answer import PublisherAnswer
    from p2pqwen.operations.publish.rotate import accept_draft

    with Output(as_json=json_output) as out:
        store = open_app().keys
        accept_draft(store, file, None if publisher is None else parse_publisher(publisher))
        shown = show_keys(store)
        out.result(PublisherAnswer.of(shown), publisher_lines(shown))


def rotation_lines(done: Rotation) -> list[str]:
    """Return the lines for a new root and its signatures."""
    root, state = done.root, done.progress
    counts = [
        f"{len(one.signed_by)} of the {one.threshold} needed of root {version}"
        for one, version in ((state.old, root.version - 1), (state.new, root.version))
    ]
    lines = [
        f"publisher  {done.publisher}",
        f"root       version {root.version}, index epoch {root.index_epoch}",
        f"signed by  {', '.join(counts)}",
    ]
    if done.draft is None:
        return [*lines, "in force in this home; readers follow once you publish: `p2pqwen publish`"]
    wanted = [one for one in (state.old, state.new) if not one.met]
    names = {keyid: key.label for keyid, key in root.keys.items()}
    missing = dict.fromkeys(keyid for one in wanted for keyid in one.missing)
    lines += [f"not yet    {keyid}  {names.get(keyid, '(leaving)')}" for keyid in missing]
    step = f"p2pqwen keys accept {done.draft}" if state.complete else f"p2pqwen keys sign {done.draft}"
    return [*lines, f"draft      {done.draft}; next: `{step}`"]


def made_lines(made: Sequence[KeyShown]) -> list[str]:
    """Return the lines for a co-signer's keys, whose publisher is not known here yet."""
    return [
        "publisher  none yet; join one with `p2pqwen keys accept FILE --publisher ID`",
        *(line for key in made for line in _spare_lines(key)),
    ]


def _spare_lines(key: KeyShown) -> list[str]:
    lines = [f"key        {key.keyid}  {key.label or 'without a label'}  (in this home; no root names it yet)"]
    return lines if key.public is None else [*lines, f"public     {key.public}"]


def publisher_lines(shown: PublisherShown) -> list[str]:
    """Return the lines for a publisher with its keys."""
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
        *(line for key in shown.spare for line in _spare_lines(key)),
    ]
