import pytest
from hypothesis import given

from p2pqwen.errors import FormatError
from p2pqwen.torrent.layout import MAX_PIECES, Layout, PayloadFile
from p2pqwen.torrent.recipe import GIB, KIB, MIB, RECIPE_1
from p2pqwen.values.repo_path import MAX_FILES, RepoPath
from tests.strategies import lay_out, payloads

PIECE = 32 * KIB


def layout(*files: tuple[str, int], piece_length: int = PIECE) -> Layout:
    return Layout(tuple(PayloadFile(RepoPath(path), size) for path, size in files), piece_length)


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (0, 256 * KIB),
        (64 * MIB, 256 * KIB),
        (64 * MIB + 1, MIB),
        (GIB, MIB),
        (GIB + 1, 2 * MIB),
        (4 * GIB, 2 * MIB),
        (4 * GIB + 1, 4 * MIB),
        (32 * GIB, 4 * MIB),
        (32 * GIB + 1, 8 * MIB),
        (256 * GIB, 8 * MIB),
        (256 * GIB + 1, 16 * MIB),
        (4096 * GIB, 16 * MIB),
    ],
)
def test_piece_length(total, expected):
    assert RECIPE_1.piece_length(total) == expected


def test_of_sorts_by_component_and_takes_the_recipes_piece_length():
    made = Layout.of((RepoPath(text), 70 * MIB) for text in ("model.safetensors", "model/x", "a-b", "a/b"))
    assert [file.path.text for file in made.files] == ["a/b", "a-b", "model/x", "model.safetensors"]
    assert made.piece_length == MIB


@pytest.mark.parametrize(
    ("files", "pads"),
    [
        ([("a", 1)], [0]),
        ([("a", 1), ("b", 1)], [PIECE - 1, 0]),
        ([("a", PIECE), ("b", 1)], [0, 0]),
        ([("a", PIECE + 1), ("b", PIECE - 1), ("c", 1)], [PIECE - 1, 1, 0]),
        ([("a", 0), ("b", 1)], [0, 0]),
        ([("a", 1), ("b", 0)], [PIECE - 1, 0]),
        ([("a", 1), ("b", 0), ("c", 1), ("d", 0), ("e", 0)], [PIECE - 1, 0, PIECE - 1, 0, 0]),
    ],
)
def test_pads_follow_every_file_but_the_last(files, pads):
    made = layout(*files)
    assert [made.pad_after(index) for index in range(len(files))] == pads
    assert made.padded_size == sum(size for _, size in files) + sum(pads)


@given(payloads())
def test_files_start_on_pieces_and_pieces_cover_them(payload):
    made = lay_out(payload, PIECE)
    covered: list[int] = []
    for index, file in enumerate(made.files):
        assert made.offset(index) % PIECE == 0
        pieces = made.pieces(index)
        assert len(pieces) * PIECE - file.size in range(PIECE)
        covered += pieces
    assert covered == list(range(made.piece_count))
    assert made.total_size == sum(map(len, payload.values()))


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ([], "at least one file"),
        ([("a", 0), ("b", 0)], "at least one file that is not empty"),
        ([("b", 1), ("a", 1)], "file a is out of order"),
        ([("model.safetensors", 1), ("model/x", 1)], "file model/x is out of order"),
        ([("a", 1), ("a", 1)], "file a is out of order"),
        ([("A", 1), ("a", 1)], "clash"),
        ([("a", 1), ("a/b", 1)], "is a file and"),
        ([("a", PIECE * (MAX_PIECES + 1))], "too many pieces"),
        ([(f"{n:06}", 1) for n in range(MAX_FILES + 1)], "too many files"),
    ],
)
def test_refused(files, problem):
    with pytest.raises(FormatError, match=problem):
        layout(*files)


def test_a_negative_size_is_refused():
    with pytest.raises(FormatError, match="negative size"):
        PayloadFile(RepoPath("a"), -1)
