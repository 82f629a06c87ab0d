"""A node with a budget adopts by itself, plans again when health changes, and gives up only what it adopted itself."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from p2pqwen import snapshot_download
from p2pqwen.app import open_app
from p2pqwen.index.upstream import Upstream
from p2pqwen.library.health_store import HealthStore
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.steward_store import StewardStore
from p2pqwen.operations.node.job_answer import Ended, JobAnswer, JobLine
from p2pqwen.stewardship.rebalance import Holding, why_kept
from p2pqwen.stewardship.swarm_health import Sighting, Source
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, health_of, remember
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.archive import CONFIG, archive, node_of
from tests.support.waiting import wait_until

SIZES = [200_000, 300_000]
LONG_AGO = datetime.now(UTC) - timedelta(days=100)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with archive(tmp_path_factory.mktemp("archive"), SIZES) as found, node_of(found.publisher.user) as node:
        wait_until(lambda: node.stdout.count('"seeding"') == len(SIZES), 60, "the publisher seeds")
        yield found


def snapshot(number: int, org: str = "Qwen") -> SnapshotId:
    return SnapshotId(RepoId(f"{org}/Model-{number}"), CommitId.parse(f"{number:040x}"))


def held(user) -> set[str]:
    return {row["repo"] for row in user.ok("list")["snapshots"] if row["state"] == "complete"}


def events(node, name: str) -> list[dict[str, object]]:
    return [one for one in map(json.loads, list(node.lines)) if one["event"] == name]


def test_a_node_adopts_from_every_trusted_publisher_within_its_budget(made, tmp_path):
    with archive(tmp_path / "others", [250_000, 400_000], org="Other") as others, node_of(others.publisher.user):
        user = made.person("by-itself", CONFIG + '[archive]\nbudget = "850kB"\nexclude = ["Other/Model-1"]\n')
        user.ok("trust", "add", others.publisher.publisher, "--index", others.publisher.site)
        wanted = {"Qwen/Model-0", "Qwen/Model-1", "Other/Model-0"}
        with node_of(user) as node:
            wait_until(lambda: len(events(node, "adopted")) == 3, 90, "the node adopts")
            rests = node.json_line(60, containing='"archive rests"')
            wait_until(lambda: {row["repo"] for row in events(node, "seeding")} == wanted, 60, "it seeds them")
        assert held(user) == wanted
        assert rests["held"] == 3
        assert rests["reason"] == "left out by --exclude"
        assert all(row["reason"] for row in events(node, "adopting"))
        for repo in wanted:
            assert user.ok("verify", repo)["ok"]


def test_a_budget_of_the_command_line_is_kept(made):
    user = made.person("small")
    with node_of(user, "--budget", "250kB") as node:
        rests = node.json_line(90, containing='"archive rests"')
        assert events(node, "adopted") == [{"event": "adopted", "repo": "Qwen/Model-0", "commit": f"{0:040x}"}]
        assert "larger than the budget" in rests["reason"]
    assert held(user) == {"Qwen/Model-0"}


def change_health(user) -> None:
    """Model-0 came long ago and has fifty copies by now, Model-1 has one left; the node's turn has come."""
    torrent = user.home / "library/Qwen/Model-0" / f"{0:040x}.torrent"
    os.utime(torrent, (LONG_AGO.timestamp(), LONG_AGO.timestamp()))
    now = datetime.now(UTC)
    with StateStore(user.home / "state.sqlite") as store:
        store.update("steward", lambda value: {**value, "node": whose_turn(now).hex()})
        seen = {snapshot(0): 50, snapshot(1): 1}
        HealthStore(store).change(
            {
                one: lambda before, count=count: remember(before, [Sighting(now, Source.DHT, count, count)])
                for one, count in seen.items()
            }
        )


def whose_turn(now: datetime) -> bytes:
    record = remember(NEVER_SEEN, [Sighting(now, Source.DHT, 50, 50)])
    long_held = Holding(snapshot(0), 1, LONG_AGO, health_of(record, Upstream.UNKNOWN, now))
    return next(node for number in range(1000) if why_kept(long_held, node := number.to_bytes(32), now) is None)


ARCHIVE = '[archive]\nbudget = "350kB"\nprefer = ["Model-0"]\n'


def test_a_node_plans_anew_when_health_changes(made):
    user = made.person("changing", CONFIG + ARCHIVE)
    with node_of(user) as node:
        node.line(90, containing='"adopted"')
        node.line(60, containing='"archive rests"')
        assert held(user) == {"Qwen/Model-0"}
        change_health(user)
        gone = node.json_line(90, containing='"given up"')
        assert (gone["repo"], gone["for"]) == ("Qwen/Model-0", str(snapshot(1)))
        wait_until(lambda: held(user) == {"Qwen/Model-1"}, 30, "the exchange")
    archive_now = user.ok("status")["archive"]
    assert archive_now["budget"] == 350_000
    assert archive_now["adopted"] == [{"repo": "Qwen/Model-1", "commit": f"{1:040x}"}]
    assert "1 snapshot adopted within 350 kB; planned" in user.run("status").stdout


@pytest.mark.parametrize("by", ["a person", "a setting"])
def test_what_a_person_fetched_or_wants_kept_is_not_given_up(made, by):
    more = "rebalance = false\n" if by == "a setting" else ""
    user = made.person(f"keeping-{by[2:]}", CONFIG + ARCHIVE + more)
    if by == "a person":
        user.ok("adopt", "--budget", "250kB")
    with node_of(user) as node:
        node.line(90, containing='"archive rests"')
        assert held(user) == {"Qwen/Model-0"}
        change_health(user)
        with StateStore(user.home / "state.sqlite") as store:
            planned = StewardStore(store).planned()
            StewardStore(store).set_planned(LONG_AGO)  # so that it plans once more for certain
            wait_until(lambda: StewardStore(store).planned() >= planned, 60, "another plan")
        assert events(node, "given up") == []
    assert held(user) == {"Qwen/Model-0"}


def test_a_node_that_was_killed_goes_on_with_what_it_began(made):
    user = made.person("killed", CONFIG + '[archive]\nbudget = "1MB"\n')
    with node_of(user) as node:
        node.line(90, containing='"adopting"')
        node.kill()
    with node_of(user) as node:
        node.line(90, containing='"archive rests"')
    assert held(user) == {"Qwen/Model-0", "Qwen/Model-1"}
    with StateStore(user.home / "state.sqlite") as store:
        assert StewardStore(store).adopted() == {snapshot(0), snapshot(1)}
    user.ok("fetch", str(snapshot(0)))  # here already, and from now on a person's
    with StateStore(user.home / "state.sqlite") as store:
        assert StewardStore(store).adopted() == {snapshot(1)}


def _command(user):
    user.ok("fetch", str(snapshot(0)), "--no-hf-cache")


def _batch(user):
    user.ok("fetch", "Qwen/Model-*", "--no-hf-cache", "--yes")


def _python(user):
    snapshot_download(str(snapshot(0).repo))


def _control(user):
    running = open_app().running()
    job = running.call(JobAnswer, "POST", "/v1/fetches", {"target": str(snapshot(0))})
    *_, last = running.stream(JobLine, "GET", f"/v1/fetches/{job.id}/events")
    assert isinstance(last.line, Ended)


@pytest.mark.parametrize("road", [_command, _batch, _python, _control])
@pytest.mark.parametrize("by", ["a node", "itself"])
def test_whatever_way_a_person_fetches_what_a_node_adopted_it_is_theirs(made, monkeypatch, road, by):
    if road is _control and by == "itself":
        return  # there is no such way
    user = made.person(f"theirs-{road.__name__}-{by[:2].strip()}")
    user.ok("adopt", "--budget", "1MB")
    for name, value in user.environment.items():
        monkeypatch.setenv(name, value)
    with StateStore(user.home / "state.sqlite") as store:
        StewardStore(store).change_adopted({snapshot(0), snapshot(1)})
    with node_of(user) if by == "a node" else nullcontext():
        road(user)
    with StateStore(user.home / "state.sqlite") as store:
        assert StewardStore(store).adopted() == (set() if road is _batch else {snapshot(1)})


def test_what_a_person_removes_is_not_adopted_again_until_they_fetch_it(made):
    user = made.person("removing", CONFIG + '[archive]\nbudget = "1MB"\n')
    with node_of(user) as node:
        wait_until(lambda: len(events(node, "adopted")) == 2, 90, "both are adopted")
        node.line(60, containing='"archive rests"')
        user.ok("remove", "Qwen/Model-0", "--yes")
        with StateStore(user.home / "state.sqlite") as store:
            memory = StewardStore(store)
            wait_until(lambda: memory.declined() == {snapshot(0)}, 60, "it is understood")
            memory.set_planned(LONG_AGO)
            wait_until(lambda: memory.planned() > LONG_AGO, 60, "another plan")
            assert held(user) == {"Qwen/Model-1"}
            user.ok("fetch", "Qwen/Model-0", "--no-hf-cache")
            wait_until(lambda: not memory.declined(), 60, "it is theirs now")
            assert memory.adopted() == {snapshot(1)}


def test_outside_the_hours_nothing_is_adopted(made):
    user = made.person("hours", CONFIG + '[archive]\nbudget = "1MB"\n')
    hour = datetime.now().astimezone().hour
    user.ok("limits", "--hours", f"{(hour + 3) % 24:02}:00-{(hour + 4) % 24:02}:00")
    with node_of(user) as node:
        waits = node.json_line(60, containing='"archive waits"')
        assert waits["reason"]
        assert events(node, "adopting") == []
        user.ok("limits", "--hours", "always")
        node.line(90, containing='"adopted"')


def test_a_full_disk_pauses_it_and_room_lets_it_go_on(made, tmp_path):
    """A disk of its own, full at first; the home's folder is not used."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("only root may mount")
    try:
        (disk / "filler").write_bytes(bytes(1_900_000))
        folders = f'folders = [{{path = "{disk}", reserve = "0"}}]\nreserve = "9000TB"\n'
        user = made.person("full-disk", CONFIG + f'[library]\n{folders}[archive]\nbudget = "1MB"\n')
        with node_of(user) as node:
            assert "no disk has room" in node.json_line(90, containing='"archive rests"')["reason"]
            (disk / "filler").unlink()
            wait_until(lambda: len(events(node, "adopted")) == 2, 90, "it goes on")
            assert held(user) == {"Qwen/Model-0", "Qwen/Model-1"}
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
