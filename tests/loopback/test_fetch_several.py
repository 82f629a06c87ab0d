"""`fetch` of several names and globs: each is fetched, none that fails stops another, and the exit code tells."""

from __future__ import annotations

import pytest

from tests.support.command import CommandLine
from tests.support.models import noise, write_folder
from tests.support.preserved import Preserver
from tests.support.processes import p2pqwen
from tests.support.swarm import QUIET, seeding
from tests.support.terminal import on_a_terminal

FILES = {"README.md": b"---\nlicense: apache-2.0\n---\n", "sub/config.json": b"{}\n"}
GGUF = {one: noise(20_000, one) for one in ("tiny-q4_k_m.gguf", "tiny-q8_0.gguf")}
MODELS = {
    "Qwen/Tiny": {},
    "Qwen/Tiny-GGUF": GGUF,
    "Qwen/Small-GGUF": {"x-Q4_K_M.gguf": noise(9_000, "x")},
    "Other/One": {},
}
NOBODYS = f"magnet:?xt=urn:btmh:1220{'ab' * 32}&dn=Qwen%2FZero%40{'0' * 40}"
COMMITS = {repo: f"{number}" * 40 for number, repo in enumerate(MODELS, 1)}


@pytest.fixture(scope="module")
def publisher(tmp_path_factory):
    """Somebody whose torrents name folders of this machine as web seeds, so that nobody has to seed."""
    made = Preserver(tmp_path_factory.mktemp("publisher"))
    for repo, more in MODELS.items():
        folder = write_folder(made.folder / "sources" / COMMITS[repo], {**FILES, **more, "name.txt": repo.encode()})
        made.user.ok("preserve", "--from", folder, "--repo", repo, "--commit", COMMITS[repo])
    made.user.ok("publish", "--out", made.site, "--yes")
    return made


@pytest.fixture
def user(publisher, seeds, request) -> CommandLine:
    return publisher.trusted_by(request.node.name.replace("/", "-"))


@pytest.fixture(scope="module")
def seeds(publisher):
    with seeding(publisher.user) as (_, peer):
        yield peer


@pytest.fixture
def fetch(user, seeds):
    def run(*typed, json=True):
        options = ("--peer", seeds, *QUIET, "--no-web-seeds", "--timeout", "30", *(["--json"] if json else []))
        return user.run("fetch", *typed, *options)

    return run


@pytest.mark.parametrize(
    ("typed", "repos"),
    [
        (["Qwen/Tiny", "Other/One"], ["Qwen/Tiny", "Other/One"]),
        (["qwen/*-gguf"], ["Qwen/Small-GGUF", "Qwen/Tiny-GGUF"]),
        (["Qwen/Tiny@1111111", "Qwen/*"], ["Qwen/Tiny", "Qwen/Small-GGUF", "Qwen/Tiny-GGUF"]),
        (["*@444*"], ["Other/One"]),
    ],
    ids=["names", "a glob", "both", "a glob of commits"],
)
def test_each_is_fetched(fetch, user, typed, repos):
    done = fetch(*typed)
    assert done.code == 0, done.stderr
    assert list(dict.fromkeys(one["repo"] for one in done.json["fetched"])) == repos
    assert done.json["failed"] == []
    assert {one["repo"] for one in user.ok("list")["snapshots"]} == set(repos)


def test_one_name_is_answered_as_ever(fetch):
    assert fetch("Qwen/Tiny").json["repo"] == "Qwen/Tiny"
    assert [path.rsplit("/", 1)[1] for path in fetch("Qwen/Tiny", "sub/config.json").json["file_paths"]] == [
        "config.json"
    ]


def test_a_quantisation_of_each(fetch):
    done = fetch("Qwen/*-GGUF:Q4_K_M")
    assert [len(one["file_paths"]) for one in done.json["fetched"]] == [1, 1], done.stderr
    text = fetch("Qwen/*-GGUF", "--include", "q4_k_m", json=False)
    assert text.stdout.count("already fetched and verified") == 2
    assert [line.endswith(".gguf") for line in text.stdout.splitlines() if line.startswith("/")] == [True, True]
    assert text.stdout.endswith("2 of 2 fetched and verified\n")


@pytest.mark.parametrize(
    ("typed", "code", "fetched"),
    [
        (["Qwen/Tiny", "Qwen/Absent", "Other/One"], 4, 2),
        (["Qwen/Tiny", "Other/One", "Qwen/Tiny@9999999"], 4, 2),
        (["Qwen/Tiny", "Other/One", "Qwen/Absent", NOBODYS], 1, 2),  # not found, and nobody to fetch from
        (["Qwen/Tiny@1111111", NOBODYS], 5, 1),
        (["Nobody/*"], 4, 0),
    ],
    ids=["one is listed nowhere", "a commit is", "two reasons", "nobody has it", "nothing matches"],
)
def test_what_fails_stops_nothing_else(fetch, typed, code, fetched):
    done = fetch(*typed, "--timeout", "3")
    assert done.code == code, done.stderr
    if fetched:
        assert len(done.json["fetched"]) == fetched
        assert [one["target"] for one in done.json["failed"]] == [
            one for one in typed if one not in {*MODELS, "Qwen/Tiny@1111111"}
        ]
        assert all(one["reason"] for one in done.json["failed"])


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["Qwen/Tiny", "Other/One", "sub/con fig.json"], 2, "files can be named for one model only"),
        (["Qwen/Tiny", "Other/One", "--local-dir", "x"], 2, "--local-dir is for one model"),
        (["Qwen/*", "--repo", "Qwen/Tiny"], 2, "--repo is for one model"),
        (["Qwen/Tiny", "Qwen/Absent"], 4, "no trusted index lists a model of that name"),
    ],
)
def test_what_is_refused(fetch, user, typed, code, said):
    done = fetch(*typed, json=False)
    assert done.code == code, done.stderr
    assert said in done.stderr
    assert user.ok("list")["snapshots"] == []


def test_what_can_be_asked_is_asked_before_the_first(user, seeds):
    command = p2pqwen("fetch", "Qwen/Tiny", "Qwen/Tiny-GGUF", "--peer", seeds, *QUIET, "--no-web-seeds")
    with on_a_terminal(command, user.environment) as terminal:
        before = terminal.wait_for("Which one, or all?")
        assert "fetched Qwen/Tiny@" not in before
        terminal.type("q4_k_m")
        terminal.wait_for("2 of 2 fetched and verified")
        assert terminal.wait() == 0
