"""Torrents that anybody may have written: what is read, what is refused, and that nothing is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pqwen.errors import FormatError, VerificationError
from p2pqwen.torrent import bencode
from p2pqwen.torrent.merkle import BLOCK_SIZE
from p2pqwen.torrent.metainfo import Metainfo, build_info, metainfo_from_info, parse_metainfo, read_metainfo
from p2pqwen.torrent.snapshot_torrent import build_metainfo, check_manifest, check_recipe
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.repo_path import MAX_FILES, RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from tests.strategies import content, hash_payload, lay_out, manifest_of, payloads, snapshot_ids

PIECE = 2 * BLOCK_SIZE
SNAPSHOT = SnapshotId.parse("Qwen/Qwen3-0.6B@" + "0123456789" * 4)
PAYLOAD = {
    RepoPath("README.md"): content(100, 0),
    RepoPath("empty"): b"",
    RepoPath("model/config.json"): content(PIECE, 1),
    RepoPath("model.safetensors"): content(3 * PIECE + 5, 2),
    RepoPath("same.safetensors"): content(3 * PIECE + 5, 2),
}


def made(
    payload: dict[RepoPath, bytes], snapshot: SnapshotId = SNAPSHOT, piece_length: int = PIECE, **more
) -> Metainfo:
    layout = lay_out(payload, piece_length)
    return build_metainfo(manifest_of(payload, snapshot), layout, hash_payload(payload, layout), **more)


TORRENT = made(
    PAYLOAD,
    web_seeds=("https://huggingface.co/Qwen/Qwen3-0.6B/resolve/",),
    trackers=(("udp://tracker.example:1337/announce",), ("https://a.example/announce", "http://b.example/announce")),
    created_by="p2pqwen 0.1.0",
)


def edited(*path: bytes | int, to: object = None, drop: bool = False) -> bytes:
    """Return the torrent with one value changed or dropped."""
    top = bencode.decode_dict(TORRENT.encode(), max_bytes=1 << 30)
    node = top
    for key in path[:-1]:
        node = node[key]
    if drop:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return bencode.encode(top)


@given(payloads(), snapshot_ids)
def test_what_is_written_is_read_back(payload, snapshot):
    torrent = made(payload, snapshot, web_seeds=("https://a.example/",))
    again = parse_metainfo(torrent.encode())
    assert again == torrent
    assert again.encode() == torrent.encode()
    assert again.commit == snapshot.commit
    assert again.comment == f"{snapshot.repo} @ {snapshot.commit}"
    assert [(file.path, file.size) for file in again.files] == [(path, len(payload[path])) for path in sorted(payload)]
    assert len(again.pieces) == 20 * again.layout.piece_count


def test_the_info_dictionary_holds_the_recipes_keys_only():
    info = bencode.decode_dict(TORRENT.info, max_bytes=1 << 20)
    assert list(info) == [b"file tree", b"files", b"meta version", b"name", b"piece length", b"pieces"]
    assert info[b"name"] == b"0123456789" * 4
    assert info[b"file tree"][b"empty"] == {b"": {b"length": 0}}
    assert info[b"files"] == [
        {b"length": 100, b"path": [b"README.md"]},
        {b"attr": b"p", b"length": PIECE - 100, b"path": [b".pad", b"%d" % (PIECE - 100)]},
        {b"length": 0, b"path": [b"empty"]},
        {b"length": PIECE, b"path": [b"model", b"config.json"]},
        {b"length": 3 * PIECE + 5, b"path": [b"model.safetensors"]},
        {b"attr": b"p", b"length": PIECE - 5, b"path": [b".pad", b"%d" % (PIECE - 5)]},
        {b"length": 3 * PIECE + 5, b"path": [b"same.safetensors"]},
    ]


def test_the_file_holds_the_designs_keys_only():
    top = bencode.decode_dict(TORRENT.encode(), max_bytes=1 << 20)
    assert list(top) == [b"announce-list", b"comment", b"created by", b"info", b"p2pqwen", b"piece layers", b"url-list"]
    assert top[b"p2pqwen"] == {b"manifest": TORRENT.manifest, b"recipe": 1}
    assert len(top[b"piece layers"]) == 1  # two files of one content have one root


def test_the_infohashes_never_change():
    assert str(TORRENT.infohash.v1) == "6f5d3026f8bb6fc13bdfb51ab0a4383ba3852227"
    assert str(TORRENT.infohash.v2) == "e5bedcb0bcc4f6d925aa164ca382de1394e26d55b4be4d857be3b33297a5bae7"


def test_copies_with_other_web_seeds_have_one_infohash():
    assert made(PAYLOAD).infohash == TORRENT.infohash


TREE = (b"info", b"file tree")
ROOT = bencode.decode_dict(TORRENT.info, max_bytes=1 << 20)[b"file tree"][b"model.safetensors"][b""][b"pieces root"]
LAYERS = {ROOT: TORRENT.piece_layers[Sha256(ROOT)]}
V1_FILES = bencode.decode_dict(TORRENT.info, max_bytes=1 << 20)[b"files"]
LEAF = {b"length": 100, b"pieces root": bytes(range(32))}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "an empty file"),
        (b"le", "expected a dictionary"),
        (b"de", "no info dictionary"),
        (TORRENT.encode() + b"\n", "continues after its end"),
        (edited(b"info", to=b"x"), "no info dictionary"),
        # other kinds of torrent
        (edited(b"info", b"file tree", drop=True), "not a BEP 52 hybrid, it has no v2"),
        (edited(b"info", b"files", drop=True), "no v1 `files`"),
        (edited(b"info", b"pieces", drop=True), "no v1 `files` and `pieces`"),
        (edited(b"info", b"length", to=5), "single file"),
        (edited(b"info", b"meta version", to=3), "meta version`, expected 2, got 3"),
        (edited(b"info", b"meta version", drop=True), "meta version"),
        # name and piece length
        (edited(b"info", b"name", to=b"../x"), "component '..'"),
        (edited(b"info", b"name", to=b"a/b"), "one folder's name"),
        (edited(b"info", b"name", to=b"\xff"), "not UTF-8"),
        (edited(b"info", b"name", to=7), "expected a string, got int"),
        (edited(b"info", b"piece length", to=8192), "power of two"),
        (edited(b"info", b"piece length", to=PIECE + 1), "power of two"),
        (edited(b"info", b"piece length", to=-PIECE), "power of two"),
        (edited(b"info", b"piece length", to=1 << 40), "power of two"),
        (edited(b"info", b"pieces", to=b""), "wrong length, expected 200, got 0"),
        (edited(b"info", b"pieces", to=[]), "expected a string, got list"),
        # the v2 file tree
        (edited(*TREE, to=[]), "expected a dictionary"),
        (edited(*TREE, to={}), "at least one file"),
        (edited(*TREE, b"x", to=5), "a node of `file tree`"),
        (edited(*TREE, b"x", to={}), "folder 'x' of `file tree` is empty"),
        (edited(*TREE, b"", to={b"": LEAF}), "one path component"),
        (edited(*TREE, b"a/b", to={b"": LEAF}), "one path component"),
        (edited(*TREE, b"..", to={b"": LEAF}), "component '..'"),
        (edited(*TREE, b"a\0", to={b"": LEAF}), "holds the character"),
        (edited(*TREE, b"con.txt", to={b"": LEAF}), "device name"),
        (edited(*TREE, b".pad", to={b"1": {b"": LEAF}}), "'.pad' has a special meaning"),
        (edited(*TREE, b"readme.md", to={b"": LEAF}), "clash"),
        (edited(*TREE, b"x", to={b"": LEAF, b"y": {b"": LEAF}}), "a file and a folder"),
        (edited(*TREE, b"x", to={b"": 5}), "a file and a folder"),
        (edited(*TREE, b"x", to={b"": {**LEAF, b"attr": b"x"}}), "has b'attr'"),
        (
            edited(*TREE, b"x", to={b"": {**LEAF, b"attr": b"l", b"symlink path": [b"a"]}}),
            "length and pieces root only",
        ),
        (edited(*TREE, b"x", to={b"": {b"length": 5}}), "has no pieces root"),
        (edited(*TREE, b"x", to={b"": {b"length": 5, b"pieces root": bytes(32)}}), "has no pieces root"),
        (edited(*TREE, b"x", to={b"": {b"length": 5, b"pieces root": b"short"}}), "wrong length"),
        (edited(*TREE, b"x", to={b"": {b"length": -5, b"pieces root": ROOT}}), "length of x"),
        (edited(*TREE, b"x", to={b"": {b"length": b"5", b"pieces root": ROOT}}), "length of x"),
        (edited(*TREE, b"empty", b"", b"pieces root", to=ROOT), "is empty and has a pieces root"),
        # the v1 file list must be the same payload
        (edited(b"info", b"files", to=5), "expected a list"),
        (edited(b"info", b"files", to=V1_FILES[:-1]), "expected 7 rows, got 6"),
        (edited(b"info", b"files", to=[*V1_FILES, V1_FILES[2]]), "expected 7 rows, got 8"),
        (edited(b"info", b"files", to=[V1_FILES[0], *V1_FILES[2:]]), "row 1 of the v1 file list differs"),
        (edited(b"info", b"files", 0, b"length", to=99), "row 0 of the v1 file list differs"),
        (edited(b"info", b"files", 0, b"path", to=[b"other"]), "row 0 of the v1 file list differs"),
        (edited(b"info", b"files", 0, b"attr", to=b"x"), "row 0 of the v1 file list differs"),
        (edited(b"info", b"files", 1, b"path", to=[b".pad", b"0"]), "row 1 of the v1 file list differs"),
        (edited(b"info", b"files", 1, b"attr", to=b"px"), "row 1 of the v1 file list differs"),
        (edited(b"info", b"files", 1, to=b"x"), "row 1 of the v1 file list differs"),
        # piece layers
        (edited(b"piece layers", drop=True), "`piece layers`, expected a dictionary"),
        (edited(b"piece layers", to={}), "lacks the piece layer"),
        (edited(b"piece layers", ROOT, to=LAYERS[ROOT][:-32]), "wrong length, expected 128, got 96"),
        (edited(b"piece layers", ROOT, to=LAYERS[ROOT][:-1] + b"x"), "wrong root"),
        (edited(b"piece layers", ROOT, to=5), "a piece layer, expected a string"),
        (edited(b"piece layers", b"short", to=b""), "wrong length"),
        (edited(b"piece layers", bytes(32), to=bytes(64)), "belongs to no file"),
        # around the info dictionary
        (edited(b"p2pqwen", to=5), "`p2pqwen`, expected a dictionary"),
        (edited(b"p2pqwen", b"recipe", to=2), "recipe this version does not know, expected 1, got 2"),
        (edited(b"p2pqwen", b"manifest", drop=True), "holds no manifest"),
        (edited(b"comment", to=b"\xff"), "not UTF-8"),
        (edited(b"comment", to=b"x" * 5000), "at most 4096 bytes"),
        (edited(b"created by", to=[]), "`created by`"),
        (edited(b"url-list", to=[b"file:///etc/passwd"]), "not a web address"),
        (edited(b"url-list", to=[b"http://u:p@host/"]), "no user name"),
        (edited(b"url-list", to=[5]), "expected strings"),
        (edited(b"url-list", to=[b"http://a.example/"] * 101), "at most 100"),
        (edited(b"announce-list", to=[[b"gopher://x/"]]), "not a tracker address"),
        (edited(b"announce-list", to=[b"http://a.example/"]), "a list of at most"),
        (edited(b"announce-list", to=5), "a list of at most"),
        (edited(b"signatures", to=5), "`signatures`, expected a dictionary"),
    ],
)
def test_refused(data, problem):
    with pytest.raises(FormatError, match=problem):
        parse_metainfo(data)


@pytest.mark.slow
def test_too_many_files():
    many = {b"%06d" % number: {b"": LEAF} for number in range(MAX_FILES + 5)}
    with pytest.raises(FormatError, match="too many files"):
        parse_metainfo(edited(*TREE, to=many))


def test_two_files_of_one_root_need_one_layer_of_both_their_lengths():
    top = bencode.decode_dict(TORRENT.encode(), max_bytes=1 << 20)
    same = top[b"info"][b"file tree"][b"same.safetensors"][b""]
    same[b"length"] = 5 * PIECE  # of the same root, which does not bind the length
    top[b"info"][b"files"][-1][b"length"] = 5 * PIECE
    top[b"info"][b"pieces"] += bytes(20)
    with pytest.raises(FormatError, match=r"layer of same\.safetensors has the wrong length"):
        parse_metainfo(bencode.encode(top))


def test_keys_we_do_not_know_are_kept():
    top = bencode.decode_dict(TORRENT.encode(), max_bytes=1 << 20)
    top[b"creation date"] = 5
    top[b"announce"] = b"http://only.example/announce"
    top[b"nodes"] = [[b"127.0.0.1", 6881]]
    top[b"p2pqwen"][b"later"] = b"x"
    top[b"signatures"] = {b"com.example": {b"certificate": b"...", b"signature": b"..."}}
    data = bencode.encode(top)
    assert parse_metainfo(data).encode() == data
    assert parse_metainfo(data).signatures == {}


@pytest.mark.parametrize(
    ("key", "value", "web_seeds", "trackers"),
    [
        (b"url-list", b"http://a.example/x/", ("http://a.example/x/",), TORRENT.trackers),
        (b"url-list", b"", (), TORRENT.trackers),
        (b"announce-list", [[], [b"udp://t.example:1"]], TORRENT.web_seeds, (("udp://t.example:1",),)),
    ],
)
def test_the_shapes_of_other_makers(key, value, web_seeds, trackers):
    torrent = parse_metainfo(edited(key, to=value))
    assert (torrent.web_seeds, torrent.trackers) == (web_seeds, trackers)


def test_announce_counts_where_there_is_no_list():
    top = bencode.decode_dict(TORRENT.encode(), max_bytes=1 << 20)
    del top[b"announce-list"]
    top[b"announce"] = b"http://only.example/announce"
    assert parse_metainfo(bencode.encode(top)).trackers == (("http://only.example/announce",),)


@settings(max_examples=300)
@given(st.data())
def test_damaged_bytes_are_refused_or_read_the_same_again(data):
    torrent = bytearray(TORRENT.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(torrent) - 1))
        torrent[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        read = parse_metainfo(bytes(torrent))
    except FormatError:
        return
    assert parse_metainfo(read.encode()) == read


def test_metadata_from_peers_has_no_layers_yet():
    torrent = metainfo_from_info(TORRENT.info)
    assert torrent.infohash == TORRENT.infohash
    assert not torrent.has_all_layers
    with pytest.raises(ValueError, match="without its piece layers"):
        torrent.encode()
    assert metainfo_from_info(TORRENT.info, TORRENT.piece_layers).has_all_layers
    with pytest.raises(FormatError, match="wrong root"):
        metainfo_from_info(TORRENT.info, {Sha256(ROOT): bytes(128)})


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (edited(b"piece layers", drop=True), set()),
        (edited(b"piece layers", to={}), set()),
        (TORRENT.encode(), {Sha256(ROOT)}),
    ],
)
def test_a_torrent_that_a_client_saved_without_its_layers_is_read_and_made_whole(data, kept):
    torrent = read_metainfo(data)
    assert (torrent.infohash, set(torrent.piece_layers)) == (TORRENT.infohash, kept)
    assert torrent.manifest == TORRENT.manifest
    whole = torrent.with_layers({**TORRENT.piece_layers, Sha256(bytes(range(32))): b"of another torrent"})
    assert whole == TORRENT
    assert parse_metainfo(whole.encode()) == TORRENT


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (edited(b"piece layers", ROOT, to=LAYERS[ROOT][:-1] + b"x"), "wrong root"),
        (edited(b"piece layers", bytes(32), to=bytes(64)), "belongs to no file"),
        (edited(b"piece layers", to=5), "expected a dictionary"),
    ],
)
def test_layers_that_are_there_must_be_right(data, problem):
    with pytest.raises(FormatError, match=problem):
        read_metainfo(data)


def test_a_wrong_layer_is_not_taken_in():
    with pytest.raises(FormatError, match="wrong root"):
        metainfo_from_info(TORRENT.info).with_layers({Sha256(ROOT): bytes(128)})


def test_recipe_1_is_told_from_other_hybrids():
    payload = {RepoPath("a"): b"x"}
    check_recipe(made(payload, piece_length=256 * 1024))
    info = bencode.decode_dict(made(payload).info, max_bytes=1 << 20)
    foreign = metainfo_from_info(bencode.encode({**info, b"name": b"some model", b"private": 1, b"source": b"x"}))
    with pytest.raises(FormatError) as refused:
        check_recipe(foreign)
    for difference in ("key 'private'", "key 'source'", "name is 'some model'", "piece length is 32768, not 262144"):
        assert difference in str(refused.value)
    with pytest.raises(FormatError, match="not a commit id"):
        foreign.commit  # noqa: B018 - reading it is the test


@pytest.mark.parametrize(
    ("payload", "snapshot", "problem"),
    [
        (PAYLOAD, SnapshotId.parse("Qwen/Qwen3-0.6B@" + "f" * 40), "not of the manifest's commit"),
        ({**PAYLOAD, RepoPath("README.md"): b"longer" * 100}, SNAPSHOT, "size of README.md .* expected 600, got 100"),
        ({**PAYLOAD, RepoPath("more"): b"x"}, SNAPSHOT, "size of more in the torrent, expected 1, got no such file"),
        ({RepoPath("README.md"): content(100, 0)}, SNAPSHOT, "holds empty, which the manifest does not list"),
    ],
)
def test_a_manifest_of_something_else(payload, snapshot, problem):
    check_manifest(TORRENT, manifest_of(PAYLOAD, SNAPSHOT))
    with pytest.raises(VerificationError, match=problem):
        check_manifest(TORRENT, manifest_of(payload, snapshot))


def test_hashes_made_for_another_layout_are_no_torrent():
    payload = {RepoPath("a"): content(PIECE + 1, 0)}
    layout = lay_out(payload, PIECE)
    hashes = hash_payload(payload, lay_out(payload, 2 * PIECE))
    with pytest.raises(ValueError, match="another size or piece length"):
        build_info(CommitId(bytes(20)), layout, hashes)
