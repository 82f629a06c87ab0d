"""Alerts that leave the machine: over a webhook, ntfy and e-mail, to the named addresses and nowhere else."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path

import pytest

from p2pqwen.errors import UsageError
from p2pqwen.net import messages
from p2pqwen.net.messages import Messages
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.inboxes import Inbox, inbox, mail_box
from tests.support.models import small_model, write_folder
from tests.support.nodes import quiet_config, seeding
from tests.support.proxies import proxy
from tests.support.waiting import wait_until

WORD = "open-sesame-4711"


@pytest.fixture
def post() -> Iterator[Inbox]:
    with inbox() as server:
        yield server


@pytest.fixture
def user(tmp_path) -> CommandLine:
    return CommandLine(tmp_path / "user")


def tell(user: CommandLine, *addresses: str, more: str = "") -> None:
    quiet_config(user, f"[alerts]\nto = {json.dumps(addresses)}\n{more}")


def test_a_test_message_arrives_by_webhook_ntfy_and_mail(user, post):
    with mail_box(WORD) as box:
        tell(
            user,
            f"json://ann:{WORD}@127.0.0.1:{post.port}/hook",
            f"ntfy://127.0.0.1:{post.port}/{WORD}",
            f"mailto://ann:{WORD}@127.0.0.1:{box.port}?from=node@example.org&to=ann@example.org&mode=insecure",
        )
        done = user.run("alerts", "test", "--json")
        assert (done.code, len(done.json["sent"]), done.json["failed"]) == (0, 3, [])
        assert WORD not in done.stdout + done.stderr
        said = user.run("alerts", "test")
        assert WORD not in said.stdout + said.stderr
        hook = next(one for one in post.posted if one.path.startswith("/hook"))
        assert hook.json["message"].startswith("This is a test.")
        assert hook.json["title"].startswith("p2pqwen on ")
        ntfy = next(one for one in post.posted if "hook" not in one.path)
        assert b"This is a test." in ntfy.body or "This is a test." in ntfy.json["message"]
        assert box.logins[0] == (b"ann", WORD.encode())
        mail = box.mails[0]
        assert "test" in mail["Subject"]
        assert mail["To"] == "ann@example.org"
        assert "This is a test." in mail.get_body(("plain", "html")).get_content()


def test_a_node_tells_once_of_what_the_hub_dropped(tmp_path, post):
    with HubSimulator() as hub:
        user = CommandLine(tmp_path / "keeper", hub.endpoint)
        hub.add("Qwen/Goes", write_folder(tmp_path / "model", small_model()))
        user.ok("preserve", "Qwen/Goes")
        hub.delete("Qwen/Goes")
        user.ok("upstream", "check")
        tell(user, f"json://127.0.0.1:{post.port}/hook")
        with seeding(user) as (node, _):
            event = node.json_line(60, containing='"alert"')
            assert (event["kind"], event["level"]) == ("gone", "warning")
            (first,) = wait_until(lambda: post.posted, 30, "a message")
            assert "the Hub no longer serves it" in first.json["message"]
            assert first.json["type"] == "warning"
            listed = user.ok("alerts", "list")["alerts"]
            assert [(one["kind"], one["about"]) for one in listed] == [("gone", event["about"])]
            assert "the Hub no longer serves it" in user.run("alerts", "list").stdout
        with seeding(user) as (node, _):  # the next one remembers
            node.json_line(60, containing='"seeding"')
            user.ok("alerts", "list")
        assert len(post.posted) == 1


def test_without_a_node_the_list_is_not_to_be_had(user):
    assert user.run("alerts", "list", "--json").code == 4


def test_nobody_to_tell_is_a_wrong_use(user):
    done = user.run("alerts", "test", "--json")
    assert done.code == 2
    assert "config.toml" in done.json["error"]["what"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(user, post, status):
    with inbox() as elsewhere:
        post.status, post.location = status, f"http://127.0.0.1:{elsewhere.port}/inside"
        tell(user, f"json://127.0.0.1:{post.port}/hook")
        done = user.run("alerts", "test", "--json")
        assert done.code == 5
        assert len(post.posted) == 1
        assert elsewhere.posted == []


def test_one_address_that_fails_is_named_without_its_secret_and_stops_no_other(user, post):
    with inbox() as broken:
        broken.status = 500
        tell(user, f"json://ann:{WORD}@127.0.0.1:{broken.port}/{WORD}", f"json://127.0.0.1:{post.port}/hook")
        done = user.run("alerts", "test", "--json")
    assert done.code == 5
    said = json.loads(done.stdout)
    (failed,) = said["failed"]
    assert str(broken.port) in failed["to"]
    assert "500" in failed["reason"]
    assert len(post.posted) == len(said["sent"]) == 1
    assert WORD not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('to = ["nonsense"]', "address 1"),
        (f'to = ["json://127.0.0.1/", "carrier-pigeon://{WORD}"]', "address 2"),
        (f'to = "json://ann:{WORD}@127.0.0.1/"', "not a list"),
        ('to = [""]', "not a list"),
        ('mute = ["noise"]', "no such kind"),
        ('mute = ["held-back"]', "no such kind"),
        ('quiet = "soon"', "length of time"),
        ('to_file = "nowhere.txt"', "nowhere.txt"),
        ("when = 5", "no setting"),
    ],
)
def test_what_is_no_setting_is_told_without_secrets(user, setting, said):
    quiet_config(user, f"[alerts]\n{setting}\n")
    for command in (["alerts", "test", "--json"], ["seed", "--json", "--listen", "127.0.0.1:0"]):
        done = user.run(*command)
        assert done.code == 2, done
        assert said in done.stderr + done.stdout
        assert WORD not in done.stdout + done.stderr


def test_addresses_may_stand_in_a_file_of_their_own(user, post):
    tell(user, more='to_file = "alerts.txt"\n')
    (user.home / "alerts.txt").write_text(f"# mine\n\njson://127.0.0.1:{post.port}/{WORD}\n")
    done = user.run("alerts", "test", "--json")
    assert done.code == 0
    assert post.posted[0].path == f"/{WORD}"


def test_a_proxy_is_used_but_for_this_machine(user, post, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with proxy("http", post.port) as middle:
        tell(user, f"json://127.0.0.1:{post.port}/here", "json://hooks.example/there")
        done = user.run("alerts", "test", "--json", http_proxy=f"http://127.0.0.1:{middle.port}")
        assert done.code == 0, done.stderr
        assert len(middle.asked) == 1
        assert "hooks.example" in middle.asked[0]
    assert sorted(one.path.rpartition("/")[2] for one in post.posted) == ["here", "there"]


@pytest.mark.parametrize(("excepted", "code"), [("", 5), ("mail.example", 0)])
def test_mail_does_not_go_past_a_proxy_unless_its_host_is_excepted(user, monkeypatch, excepted, code):
    import socket

    real = socket.getaddrinfo

    def here(host, *rest, **options):
        return real("127.0.0.1" if host == "mail.example" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    with mail_box(WORD) as box, proxy("http", 9) as middle:
        tell(
            user,
            f"mailto://ann:{WORD}@mail.example:{box.port}?smtp=mail.example&from=node@example.org&to=a@example.org&mode=insecure",
        )
        way = f"http://127.0.0.1:{middle.port}"
        done = user.run("alerts", "test", "--json", http_proxy=way, https_proxy=way, no_proxy=excepted)
        assert done.code == code, done
        assert len(box.mails) == (code == 0)
        assert middle.asked == []


def test_without_apprise_the_error_says_how_to_get_it(user, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(UsageError) as caught:
        Messages(["json://127.0.0.1/"], "[alerts]")
    assert "apprise" in str(caught.value.hint)


def hook(post: Inbox) -> str:
    return f"json://127.0.0.1:{post.port}/hook"


def answering(*pieces: bytes, ends: threading.Event) -> tuple[int, socket.socket]:
    """Serve one connection: send these pieces, the last again and again, until the other side has gone or it `ends`."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError), server.accept()[0] as connection:
            connection.recv(65536)
            for piece in chain(pieces, repeat(pieces[-1])):
                connection.sendall(piece)
                if ends.wait(0.0 if len(piece) > 1 else 0.01):
                    return

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1], server


def test_an_answer_without_end_is_read_to_its_bound(post):
    ends = threading.Event()
    port, server = answering(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536, ends=ends)
    with server:
        told = Messages([f"json://127.0.0.1:{port}/hook", hook(post)], "[alerts]")
        assert told.send("title", "body", danger=True) == ()  # it comes back though the answer never ends
    ends.set()
    assert len(post.posted) == 1


def test_an_answer_that_trickles_holds_nobody_up(post, monkeypatch):
    monkeypatch.setattr(messages, "ALL_SECONDS", 0.5)
    ends = threading.Event()
    port, server = answering(b"HTTP/1.1 200 OK\r\nX: ", b"x", ends=ends)
    with server:
        told = Messages([f"json://127.0.0.1:{port}/hook", hook(post)], "[alerts]")
        assert [one.reason for one in told.send("title", "body", danger=True)] == ["its answer did not end within 0 s"]
        again = told.send("title", "body", danger=True)  # and no more threads wait for it than the one
        assert [one.reason for one in again] == ["it has not answered the last message yet"]
        ends.set()
    assert len(post.posted) == 2


def test_its_own_pictures_and_links_are_left_out(post):
    Messages([f"json://127.0.0.1:{post.port}/hook", f"ntfy://127.0.0.1:{post.port}/topic"], "[alerts]").send(
        "title", "body", danger=True
    )
    for one in post.posted:
        assert b"github" not in one.body
        assert "github" not in str(one.headers).lower()


def test_what_a_message_says_is_no_markup_and_no_template(post):
    said = "{{ 7 * 7 }} <b>@everyone</b> &amp; \\n file:///etc/passwd"
    Messages([f"json://127.0.0.1:{post.port}/hook"], "[alerts]").send("title", said, danger=False)
    assert post.posted[0].json["message"] == said
    assert post.posted[0].json["attachments"] == []


def test_the_module_names_no_host_of_its_own():
    text = Path(messages.__file__).read_text()
    assert [
        line for line in text.splitlines() if "://" in line and "appriseit.com" not in line and '"""' not in line
    ] == [line for line in text.splitlines() if "https://{host}/" in line]
