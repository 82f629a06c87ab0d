import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.lfs_pointer import MAX_POINTER_SIZE, Pointer, parse_pointer, pointer_bytes, pointer_oid
from p2pqwen.values.digest import Sha256
from tests.strategies import sha256s

# The example of git-lfs docs/spec.md.
SPEC_SHA256 = Sha256.parse("4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393")
SPEC_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 12345\n"
)
SPEC_VERSION = b"https://git-lfs.github.com/spec/v1"


def test_the_example_of_the_specification():
    assert pointer_bytes(SPEC_SHA256, 12345) == SPEC_POINTER
    assert pointer_oid(SPEC_SHA256, 12345) == blob_oid(SPEC_POINTER)
    assert parse_pointer(SPEC_POINTER) == Pointer(str(SPEC_SHA256), 12345)


@given(sha256s, st.integers(0, 2**60))
def test_pointers_are_read_back(sha256, size):
    assert parse_pointer(pointer_bytes(sha256, size)) == Pointer(str(sha256), size)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(SPEC_POINTER.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(SPEC_POINTER[:-1], id="no last newline"),
        pytest.param(SPEC_POINTER + b"\n", id="a blank last line"),
        pytest.param(SPEC_POINTER + b" \t\r\n\n", id="blanks behind"),
        pytest.param(b"\n \n" + SPEC_POINTER, id="blanks before"),
        pytest.param(SPEC_POINTER.replace(b"\n", b"\n\n"), id="blank lines between"),
        pytest.param(SPEC_POINTER.replace(SPEC_VERSION, b"https://hawser.github.com/spec/v1"), id="hawser"),
        pytest.param(SPEC_POINTER.replace(SPEC_VERSION, b"http://git-media.io/v/2"), id="git-media"),
        pytest.param(SPEC_POINTER.replace(b"oid", b"ext-0-foo sha256:" + b"0" * 64 + b"\noid"), id="an extension"),
        pytest.param(b"ext-0-foo x\n" + SPEC_POINTER, id="an extension first"),
        pytest.param(SPEC_POINTER.replace(b"4d7a", b"4D7A"), id="upper case"),
        pytest.param(SPEC_POINTER.replace(b"393\n", b"393 and more\n"), id="more behind the hash"),
        pytest.param(SPEC_POINTER.replace(b"12345", b"012345"), id="a leading zero"),
        pytest.param(SPEC_POINTER.replace(b"12345", b"+12345"), id="a sign"),
        pytest.param(SPEC_POINTER.ljust(MAX_POINTER_SIZE), id="padded to the limit"),
    ],
)
def test_pointers_that_are_not_canonical_are_recognised(data):
    """As git-lfs reads them: such a file is never smudged content."""
    assert parse_pointer(data) == Pointer(str(SPEC_SHA256), 12345)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"version https://git-lfs.github.com/spec/v1\n",
        SPEC_POINTER + b"more\n",
        SPEC_POINTER + b"ext-0-foo x\n",
        SPEC_POINTER.replace(b"12345", b"-1"),
        SPEC_POINTER.replace(b"12345", b"12 345"),
        SPEC_POINTER.replace(b"12345", b"9" * 25),
        SPEC_POINTER.replace(b"spec/v1", b"spec/v2"),
        SPEC_POINTER.replace(b"oid", b"other x\noid"),
        SPEC_POINTER.replace(b"sha256:4", b"sha256:"),
        SPEC_POINTER.replace(b"sha256", b"sha1"),
        b"".join(sorted(SPEC_POINTER.splitlines(keepends=True))),
        SPEC_POINTER.replace(b"oid", b"ext-0-" + b"x" * MAX_POINTER_SIZE + b"\noid"),
        SPEC_POINTER.ljust(MAX_POINTER_SIZE + 1),
    ],
)
def test_what_is_no_pointer(data):
    assert parse_pointer(data) is None
