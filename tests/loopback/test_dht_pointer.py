"""The pointer in the DHT: found by key or by publisher id alone, outliving its publisher, out of vandals' reach."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from p2pqwen.errors import NetworkError
from p2pqwen.index.acceptance import Position, TrustedState, accept
from p2pqwen.index.board import BOARD_SLOTS, Vouched, board_address, board_key, board_notice, board_salt
from p2pqwen.index.document import DhtPointer
from p2pqwen.index.mutable_item import MAX_SEQUENCE, ItemAddress, sign_item
from p2pqwen.index.pointer import Pointer
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.home import Home
from p2pqwen.library.known_peers import KnownPeers
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.operations.indexes.bundle_route import BundleRoute
from p2pqwen.operations.indexes.dht_access import DhtAccess
from p2pqwen.operations.indexes.pointer import (
    all_pointers,
    keep_pointers,
    pointer_address,
    put_pointer,
    read_pointer,
    refresh,
    sign_pointer,
)
from p2pqwen.values.digest import Sha1, Sha256
from tests.simulators.dht_node import LIFETIME, Clock, simulated_dht
from tests.support.publishing import NOW, Rules, chain, key, keyid, make_document, make_index

SALT = b"p2pqwen"
ROOTS = chain(Rules())
PUBLISHER = ROOTS[0].root.digest
KEY = key("index")
ADDRESS = ItemAddress(KEY.public, SALT)
HOUR = 3600.0


def pointer(version=1):
    return Pointer(Sha1(b"1" * 20), Sha256(b"2" * 32), Position(0, version), Sha256(bytes([version]) * 32))


def accepted(version=1):
    document = make_document(ROOTS, version, dht=DhtPointer(keyid("index"), SALT.decode()))
    return accept(make_index(ROOTS, document), TrustedState(PUBLISHER), NOW)


class User:
    """Somebody with a home and a way into the DHT."""

    def __init__(self, folder, nodes):
        self.store = PointerStore(Home(folder))
        self.known = KnownPeers(folder / "peers.json")
        self.access = DhtAccess((nodes[0].endpoint,), self.known)

    def do(self, step):
        async def run():
            async with self.access.open() as dht:
                return await step(dht)

        return asyncio.run(run())

    def put(self, version):
        return self.do(lambda dht: put_pointer(dht, self.store, ROOTS, KEY, SALT, pointer(version)))

    def find(self, **known):
        return self.do(lambda dht: all_pointers(dht, PUBLISHER, self.store, **known))

    def refresh(self):
        return self.do(lambda dht: refresh(dht, self.store, PUBLISHER, ROOTS, ADDRESS))

    def follow(self):
        found = self.find()
        keep_pointers(self.store, accepted(), found)
        return found


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def nodes(clock):
    with simulated_dht(5, clock=clock) as running:
        yield running


@pytest.fixture
def publisher(tmp_path, nodes):
    return User(tmp_path / "publisher", nodes)


@pytest.fixture
def follower(tmp_path, nodes):
    return User(tmp_path / "follower", nodes)


def test_a_newcomer_finds_it_by_the_publisher_id_alone(publisher, follower):
    assert publisher.put(1).accepted == 5
    (found,) = follower.find()
    assert found.pointer == pointer(1)
    assert found.vouched == Vouched(1, signs_index=True)  # the board shows root 1, and that is what the id names


def test_with_the_roots_the_key_vouches_for_it(publisher, follower):
    publisher.put(1)
    (found,) = follower.find(roots=ROOTS, address=ADDRESS)
    assert (found.pointer, found.vouched) == (pointer(1), Vouched(1, signs_index=True))


def test_by_its_key(publisher, follower):
    publisher.put(1)
    assert follower.do(lambda dht: read_pointer(dht, ADDRESS)).pointer == pointer(1)
    assert follower.do(lambda dht: read_pointer(dht, ItemAddress(KEY.public, b"other"))) is None


def test_nothing_is_found_where_nothing_is(follower):
    assert follower.find() == []
    assert follower.find(roots=ROOTS, address=ADDRESS) == []


def test_the_pointer_survives_its_publisher(publisher, follower, tmp_path, nodes, clock):
    publisher.put(1)
    follower.follow()
    for hour in range(1, 8):  # the publisher is never heard of again
        clock.now = hour * HOUR
        done = follower.refresh()
        assert (done.items, done.nodes, done.boards) == (1, 5, BOARD_SLOTS)
    assert clock.now > 3 * LIFETIME
    newcomer = User(tmp_path / "newcomer", nodes)
    assert newcomer.find()[0].pointer == pointer(1)
    assert newcomer.find(roots=ROOTS, address=ADDRESS)[0].vouched


def test_without_followers_it_is_gone(publisher, follower, clock):
    publisher.put(1)
    clock.now = LIFETIME
    assert follower.find() == []
    assert follower.find(roots=ROOTS, address=ADDRESS) == []


def test_it_comes_back_when_every_node_forgot_it(publisher, follower, clock):
    publisher.put(1)
    follower.follow()
    clock.now = 10 * LIFETIME
    assert follower.find() == []
    follower.refresh()
    assert follower.find()[0].pointer == pointer(1)


def test_a_newer_pointer_takes_the_place_of_the_older(publisher, follower):
    publisher.put(1)
    follower.follow()
    publisher.put(2)
    follower.refresh()  # an old copy must not come back, and the new one is taken along
    assert follower.find(roots=ROOTS, address=ADDRESS)[0].pointer == pointer(2)
    assert follower.store.items(PUBLISHER)[0].sequence == publisher.store.items(PUBLISHER)[0].sequence


def put_board(user, slot, sequence, value):
    item = sign_item(board_key(PUBLISHER), board_salt(slot), sequence, value)
    return user.do(lambda dht: dht.put(item))


def test_84_a_strangers_pointer_is_not_even_looked_up(follower, nodes):
    stranger = ItemAddress(key("stranger").public, b"x")
    lie = sign_item(key("stranger"), b"x", 1, pointer(9).encode())
    follower.do(lambda dht: dht.put(lie))
    put_board(follower, 0, 5, board_notice([stranger], chain(Rules(root=("stranger",), index=("stranger",)))).value)
    put_board(follower, 1, 5, board_notice([stranger], ROOTS).value)  # the true roots do not vouch for their key
    put_board(follower, 2, 5, board_notice([stranger], ()).value)
    for node in nodes:
        node.asked.clear()
    assert follower.follow() == []
    assert follower.store.items(PUBLISHER) == []
    targets = {query[b"a"][b"target"] for node in nodes for method, query in node.asked if method == "get"}
    assert lie.address.target.raw not in targets


def test_84_a_vandals_board_is_put_right(publisher, follower, nodes):
    publisher.put(1)
    follower.follow()
    for slot in range(BOARD_SLOTS):
        spoiled = sign_item(board_key(PUBLISHER), board_salt(slot), 1000, b"de")
        assert follower.do(lambda dht, spoiled=spoiled: dht.put(spoiled)).accepted == 5
    assert follower.find() == []
    assert follower.refresh().boards == BOARD_SLOTS
    assert follower.find()[0].pointer == pointer(1)


def test_84_one_good_board_is_enough(publisher, follower):
    publisher.put(1)
    for slot in range(BOARD_SLOTS - 1):
        put_board(follower, slot, MAX_SEQUENCE, b"de")
    assert follower.find()[0].pointer == pointer(1)
    assert publisher.put(2).accepted == 5  # and those that cannot be mended hold nobody up


def test_84_one_node_that_kept_the_true_board_is_enough(publisher, follower, nodes):
    """The highest sequence number says nothing of a board: anybody can sign one."""
    publisher.put(1)
    true = dict(nodes[3].items)
    for slot in range(BOARD_SLOTS):
        put_board(follower, slot, MAX_SEQUENCE, b"de")
    assert follower.find() == []
    nodes[3].items = true
    assert follower.find()[0].pointer == pointer(1)


def test_a_chain_that_does_not_fit_stands_behind_its_hash(tmp_path, nodes, clock):
    rules = Rules(root=("a", "b", "c"), root_threshold=2, index=("index", "e", "f"), index_threshold=2)
    roots = chain(*[rules] * 4)
    identity = roots[0].root.digest
    publisher, follower = User(tmp_path / "one", nodes), User(tmp_path / "other", nodes)
    publisher.do(lambda dht: put_pointer(dht, publisher.store, roots, KEY, SALT, pointer(1)))

    def find():
        return follower.do(lambda dht: all_pointers(dht, identity, follower.store))

    (found,) = find()
    assert (found.pointer, found.vouched) == (pointer(1), Vouched(4, signs_index=True))
    clock.now = 2 * LIFETIME
    assert find() == []
    follower.store.keep(identity, found.item)
    done = follower.do(lambda dht: refresh(dht, follower.store, identity, roots, ADDRESS))
    assert done.boards == BOARD_SLOTS  # a holder of an accepted index has the chain
    assert find()[0].pointer == pointer(1)


def test_85_who_has_older_roots_does_not_hide_newer_ones(tmp_path, nodes):
    roots = chain(Rules(), Rules(index=("next",)))
    publisher, behind = User(tmp_path / "one", nodes), User(tmp_path / "other", nodes)
    publisher.put(1)
    behind.follow()
    put = publisher.do(lambda dht: put_pointer(dht, publisher.store, roots, key("next"), SALT, pointer(2)))
    assert put.accepted == 5
    assert behind.refresh().boards == BOARD_SLOTS  # with root 1 alone
    newest, older = User(tmp_path / "third", nodes).find()[0], behind.find(roots=ROOTS, address=ADDRESS)[0]
    assert (newest.pointer, newest.vouched) == (pointer(2), Vouched(2, signs_index=True))
    assert older == newest  # the boards told them of root 2, though they found a pointer under root 1


def test_86_no_claim_puts_a_pointer_before_another(publisher, follower, tmp_path, nodes):
    """A key that was taken out of the roots signs a pointer to the end of time; the newest root's key goes first."""
    roots = chain(Rules(), Rules(index=("next",)))
    publisher.do(lambda dht: put_pointer(dht, publisher.store, roots, key("next"), SALT, pointer(2)))
    stolen = sign_item(KEY, SALT, MAX_SEQUENCE, replace(pointer(9), position=Position(9, 2**53 - 1)).encode())
    follower.do(lambda dht: dht.put(stolen))
    put_board(follower, 0, 99, board_notice([ADDRESS], ROOTS).value)
    found = follower.find()
    assert [one.pointer.position.version for one in found] == [2, 2**53 - 1]


def test_86_a_thief_of_one_key_crowds_out_no_other_key(tmp_path, nodes):
    """Three boards name pointers that the thief signed with a key of the newest root, the fourth the publisher's."""
    roots = chain(Rules(index=("index", "stolen")))
    publisher = User(tmp_path / "one", nodes)
    publisher.do(lambda dht: put_pointer(dht, publisher.store, roots, KEY, SALT, pointer(1)))
    identity = roots[0].root.digest
    for slot in range(BOARD_SLOTS - 1):
        lie = sign_item(key("stolen"), b"%d" % slot, MAX_SEQUENCE, pointer(100 + slot).encode())
        board = sign_item(board_key(identity), board_salt(slot), MAX_SEQUENCE, board_notice([lie.address], roots).value)
        for item in (lie, board):
            publisher.do(lambda dht, item=item: dht.put(item))
    newcomer = User(tmp_path / "other", nodes)
    found = newcomer.do(lambda dht: all_pointers(dht, identity, newcomer.store))
    assert len(found) == BOARD_SLOTS
    assert pointer(1) in [one.pointer for one in found[:2]]


def test_84_one_board_does_not_crowd_out_another(publisher, follower, nodes):
    """Three boards name the true keys under salts that hold nothing, as many as they can."""
    publisher.put(1)
    for slot in range(BOARD_SLOTS - 1):
        nothing = [ItemAddress(KEY.public, b"%d %d" % (slot, number)) for number in range(4)]
        put_board(follower, slot, 99, board_notice(nothing, ROOTS).value)
    for node in nodes:
        node.asked.clear()
    assert follower.find()[0].pointer == pointer(1)
    lookups = {query[b"a"][b"target"] for node in nodes for method, query in node.asked if method == "get"}
    assert len(lookups) <= BOARD_SLOTS + 8


def test_what_is_no_pointer_is_passed_over(follower):
    follower.do(lambda dht: dht.put(sign_item(KEY, SALT, 1, b"d2:ih3:abce")))
    assert follower.find(roots=ROOTS, address=ADDRESS) == []
    assert follower.do(lambda dht: read_pointer(dht, ADDRESS)) is None


def test_sequence_numbers_only_grow(tmp_path):
    store = PointerStore(Home(tmp_path / "one"))
    items = [sign_pointer(store, PUBLISHER, KEY, SALT, pointer(version)) for version in (1, 2, 2, 3)]
    numbers = [item.sequence for item in items]
    assert numbers[0] < numbers[1] == numbers[2] < numbers[3]
    assert store.get(PUBLISHER, ADDRESS) == items[-1]
    assert PointerStore(Home(tmp_path / "one")).get(PUBLISHER, ADDRESS) == items[-1]
    forgetful = PointerStore(Home(tmp_path / "other"))  # lost its memory, and the DHT knows
    assert sign_pointer(forgetful, PUBLISHER, KEY, SALT, pointer(4), seen=1000).sequence == 1001
    lost = PointerStore(Home(tmp_path / "third"))  # lost its memory, and nobody answers
    assert sign_pointer(lost, PUBLISHER, KEY, SALT, pointer(4)).sequence > numbers[-1]
    later = replace(pointer(1), position=Position(1, 1))  # a new epoch counts from one again
    assert sign_pointer(lost, PUBLISHER, KEY, SALT, later).sequence > 4


def test_the_store_keeps_the_newest_and_survives_damage(tmp_path):
    store = PointerStore(Home(tmp_path))
    old, new = sign_item(KEY, SALT, 1, pointer(1).encode()), sign_item(KEY, SALT, 2, pointer(2).encode())
    assert store.keep(PUBLISHER, new) is True
    assert store.keep(PUBLISHER, old) is False
    assert store.keep(PUBLISHER, new) is False
    assert store.items(PUBLISHER) == [new]
    path = next((tmp_path / "pointers" / str(PUBLISHER)).glob("*.item"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert store.items(PUBLISHER) == []
    assert store.keep(PUBLISHER, old) is True


def test_where_an_index_says_its_pointer_is():
    assert pointer_address(accepted().document.dht, ROOTS) == ADDRESS
    assert pointer_address(None, ROOTS) is None
    assert pointer_address(DhtPointer(keyid("stranger"), "p2pqwen"), ROOTS) is None


def test_nodes_that_answered_are_remembered(publisher, follower, nodes):
    publisher.put(1)
    follower.find()
    assert {address[1] for _, address in follower.known.dht_nodes()} == {node.endpoint.port for node in nodes}
    alone = replace(follower.access, bootstrap=())  # every bootstrap host is gone

    async def run():
        async with alone.open() as dht:
            return await all_pointers(dht, PUBLISHER, follower.store)

    assert asyncio.run(run())[0].pointer == pointer(1)


def test_a_dht_that_does_not_answer_says_nothing_of_a_link(tmp_path):
    home = Home(tmp_path)
    known, pointers = KnownPeers(tmp_path / "peers.json"), PointerStore(home)
    route = BundleRoute(BundleStore(home), pointers, known, None, DhtAccess((), known))
    with pytest.raises(NetworkError, match="no DHT node answered"):
        asyncio.run(route.index_of(ADDRESS))


def test_boards_are_found_by_nobody_who_does_not_know_the_id():
    assert board_address(PUBLISHER, 0) != board_address(Sha256.of(b"another"), 0)
