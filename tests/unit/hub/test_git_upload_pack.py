"""A pack is made while it is sent: a few blobs are open, none is held, and what is wrong ends as an error of git's."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from dulwich.objects import Blob, Commit, ObjectID, Tree
from dulwich.protocol import pkt_line

from p2pqwen.errors import VerificationError
from p2pqwen.hub.git_upload_pack import upload_pack
from p2pqwen.values.digest import CommitId
from tests.support.models import noise

PIECE = noise(1 << 16, "piece")
PIECES = 256
FILES = 200


@dataclass
class Repository:
    """A commit of `FILES` blobs, each `PIECES` pieces long, which nobody has at once."""

    fails: bool = False
    opened: int = 0
    at_once: int = 0
    read: int = 0
    branches: dict[str, CommitId] = field(default_factory=dict)
    tags: dict[str, CommitId] = field(default_factory=dict)
    late: set[ObjectID] = field(default_factory=set)

    def __post_init__(self) -> None:
        tree = Tree()
        for number in range(FILES):
            oid = Blob.from_string(b"%d" % number).id  # their names: nobody reads so much to make them
            tree.add(b"%03d" % number, 0o100644, oid)
            self.late.add(oid)
        commit = Commit()
        commit.tree, commit.author, commit.committer = tree.id, b"a <a@b>", b"a <a@b>"
        commit.author_time = commit.commit_time = commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"all\n"
        self.made = {tree.id: tree, commit.id: commit}
        self.branches["main"] = CommitId.parse(commit.id.decode())

    @property
    def objects(self):
        return self

    def __contains__(self, oid):
        return oid in self.made or oid in self.late

    def __getitem__(self, oid):
        return Late(self) if oid in self.late else self.made[oid]


@dataclass
class Late:
    of: Repository
    size: int = PIECES * len(PIECE)

    def open(self):
        self.of.opened += 1
        self.of.at_once = max(self.of.at_once, self.of.opened)
        return self

    def pieces(self):
        for _ in range(PIECES):
            self.of.read += 1
            yield PIECE
        if self.of.fails:
            raise VerificationError("it is another file", got="\r\n\x1b[31m")

    def close(self):
        self.of.opened -= 1


def request(*lines: bytes, command: bytes = b"fetch") -> bytes:
    return pkt_line(b"command=" + command) + b"0001" + b"".join(map(pkt_line, lines)) + b"0000"


def clone(repository: Repository):
    return upload_pack(repository, request(b"want " + str(repository.branches["main"]).encode(), b"done"), "allow")


def test_169_a_pack_is_read_as_far_as_it_is_taken():
    repository = Repository()
    answer = clone(repository)
    assert repository.read == 0
    sent = sum(len(next(answer)) for _ in range(PIECES // 2))
    assert 0 < repository.read * len(PIECE) < sent + 4 * len(PIECE)
    assert 1 < repository.at_once <= 32
    answer.close()  # whoever asked has gone
    assert repository.opened == 0


def test_169_a_blob_that_is_wrong_ends_the_pack_with_an_error_of_gits():
    repository = Repository(fails=True)
    *_, error, end = clone(repository)
    assert error[4:].startswith(b"\x03it is another file")
    assert b"\x1b" not in error
    assert end == b"0000"
    assert repository.read == PIECES
    assert repository.opened == 0


@pytest.mark.parametrize(
    "line",
    [
        b"want " + b"a" * 65_000,
        b"want " + b"A" * 40,
        b"want " + "\N{ARABIC-INDIC DIGIT ONE}".encode() * 40,
        b"want \xff",
        b"want ",
        b"deepen " + b"9" * 5000,
        b"deepen x",
    ],
    ids=lambda line: line[:12].decode(errors="replace"),
)
def test_170_arguments_that_are_none(line):
    with pytest.raises(ValueError, match=r"b'|integer|^$|int"):
        upload_pack(Repository(), request(line, b"done"), "allow")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((b"want " + b"a" * 40, b"done"), b"not our ref " + b"a" * 40),
        ((*[b"want " + b"%040x" % number for number in range(10_000)], b"done"), b"not our ref " + b"0" * 40),
    ],
)
def test_170_wants_that_are_not_here(lines, said):
    [answer] = upload_pack(Repository(), request(*lines), "allow")
    assert said in answer
    assert int(answer[:4], 16) == len(answer)


def test_170_one_want_many_times_is_one_and_what_is_had_is_not_looked_for():
    repository = Repository()
    main = str(repository.branches["main"]).encode()
    lines = [b"want " + main] * 2000 + [b"have " + b"%040x" % number for number in range(2000)]
    lines += [b"shallow " + main, b"filter blob:none", b"filter tree:0", b"deepen 1", b"done"]
    answer = b"".join(upload_pack(repository, request(*lines), "allow"))
    assert len(answer) < 20_000
    assert repository.read == 0
