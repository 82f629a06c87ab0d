import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.lfs_pointer import MAX_POINTER_SIZE, parse_pointer, pointer_bytes, pointer_oid
from p2pqwen.values.digest import Sha256
from tests.strategies import sha256s

# The example of git-lfs docs/spec.md.
SPEC_SHA256 = Sha256.parse("4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393")
SPEC_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 12345\n"
)


def test_the_example_of_the_specification():
    assert pointer_bytes(SPEC_SHA256, 12345) == SPEC_POINTER
    assert pointer_oid(SPEC_SHA256, 12345) == blob_oid(SPEC_POINTER)
    assert parse_pointer(SPEC_POINTER) == (SPEC_SHA256, 12345)


@given(sha256s, st.integers(0, 2**60))
def test_pointers_are_read_back(sha256, size):
    assert parse_pointer(pointer_bytes(sha256, size)) == (sha256, size)


@pytest.mark.parametrize(
    "data",
    [
        SPEC_POINTER.replace(b"\n", b"\r\n"),
        SPEC_POINTER[:-1],
        SPEC_POINTER.replace(b"https://git-lfs.github.com/", b"https://hawser.github.com/"),
        SPEC_POINTER.replace(b"oid", b"ext-0-foo sha256:" + b"0" * 64 + b"\noid"),
    ],
)
def test_pointers_that_are_not_canonical_are_recognised(data):
    assert parse_pointer(data) == (SPEC_SHA256, 12345)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
        b" " + SPEC_POINTER,
        SPEC_POINTER + b"more\n",
        SPEC_POINTER.replace(b"12345", b"-1"),
        SPEC_POINTER.replace(b"12345", b"012345"),
        SPEC_POINTER.replace(b"sha256:4", b"sha256:"),
        SPEC_POINTER.replace(b"sha256", b"sha1"),
        SPEC_POINTER.replace(b"oid", b"ext-0-" + b"x" * MAX_POINTER_SIZE + b"\noid"),
    ],
)
def test_what_is_no_pointer(data):
    assert parse_pointer(data) is None
