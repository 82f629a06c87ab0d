"""`p2pqwen alerts …`: what is wrong with the running node, and whether alerts reach people."""

from __future__ import annotations

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output, fail


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="See what is wrong, and who is told.", no_args_is_help=True, rich_markup_mode=None)
    group.command("list", short_help="List what is wrong with the running node.")(list_alerts)
    group.command("test", short_help="Send a test message to the addresses of [alerts].")(send_test)
    app.add_typer(group, name="alerts")


def list_alerts(json_output: JsonFlag = False) -> None:
    """List what is wrong with this home's running node, worst first. Exit 4 if none runs."""
    from p2pqwen.app import open_app
    from p2pqwen.errors import NotFoundError
    from p2pqwen.operations.control.alerts import AlertsAnswer

    with Output(as_json=json_output) as out:
        client = open_app().running()
        if client is None:
            raise NotFoundError("no node of this home is running", hint="start it: `p2pqwen seed`")
        found = client.call(AlertsAnswer, "GET", "/v1/alerts")
        out.result(found, [f"{one.level:<8} {one}" for one in found.alerts] or ["nothing is wrong"])


def send_test(json_output: JsonFlag = False) -> None:
    """Send a test message to every address of [alerts] in config.toml. Exit 5 if one of them does not accept it.

    No running node is needed. Each address is shown without its secrets.
    """
    import platform

    from p2pqwen.app import open_app
    from p2pqwen.assembly.serving import messages
    from p2pqwen.errors import NetworkError, UsageError
    from p2pqwen.operations.control.alerts import TriedAnswer

    with Output(as_json=json_output) as out:
        app = open_app()
        service = messages(app)
        if service is None:
            hint = f'write into {app.home.config_file}: [alerts], and below it to = ["ntfys://ntfy.sh/TOPIC"]'
            raise UsageError("config.toml names no address for alerts", hint=hint)
        body = "This is a test. If you read it, alerts of this node reach you."
        failed = service.send(f"p2pqwen on {platform.node() or 'this machine'}: test", body, danger=False)
        refused = {one.to for one in failed}
        sent = tuple(one for one in service.addresses if one not in refused)
        lines = [f"sent     {one}" for one in sent] + [f"failed   {one.to}: {one.reason}" for one in failed]
        out.result(TriedAnswer(sent, failed), lines)
    if failed:
        fail(NetworkError("not every address accepted the message", hint="see above"))
