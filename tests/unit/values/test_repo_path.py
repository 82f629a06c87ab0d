import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.values.repo_path import RepoPath, refuse_clashes
from tests.strategies import path_lists


@pytest.mark.parametrize(
    "text",
    [
        "README.md",
        ".gitattributes",
        "a/b/c",
        "model-00001-of-00002.safetensors",
        "模型/é.txt",
        "a b",
        "console.txt",
        "..a",
        "a..b",
        "x" * 255,
    ],
)
def test_accepted(text):
    assert RepoPath(text).text == str(RepoPath(text)) == text
    assert "/".join(RepoPath(text).parts) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("..", "component '..'"),
        ("a/../b", "component '..'"),
        ("./a", r"component '\.'"),
        ("a//b", "component ''"),
        ("a/", "component ''"),
        ("a\\b", "holds the character"),
        ("C:/x", "holds the character ':'"),
        ("a\0b", r"holds the character '\\x00'"),
        ("a\nb", "holds the character"),
        ("a\x7fb", "holds the character"),
        ("\u202etxt.exe", "holds the character"),
        ("a\u200bb", "holds the character"),
        ("a\u2028b", "holds the character"),
        ("a\ud800", "holds the character"),
        ("a*", "holds the character"),
        ("e\u0301", "normal form C"),
        ("CON", "device name"),
        ("a/nul.txt", "device name"),
        ("com1 .x", "device name"),
        ("LPT9", "device name"),
        ("a.", "ends in a dot or blank"),
        ("a /b", "ends in a dot or blank"),
        (".git", "special meaning"),
        ("a/.GIT/config", "special meaning"),
        (".pad/100", "special meaning"),
        ("x" * 256, "longer than 255"),
        ("é" * 128, "longer than 255"),
        ("/".join(["x" * 200] * 6), "longer than 1024"),
        ("/".join("x" * 65), "more than 64 folders"),
    ],
)
def test_refused(text, problem):
    with pytest.raises(FormatError, match=problem):
        RepoPath(text)


@given(st.text(max_size=20))
def test_what_is_accepted_stays_in_its_folder(text):
    try:
        path = RepoPath(text)
    except FormatError:
        return
    assert all(part not in {"", ".", ".."} and "\\" not in part and "\0" not in part for part in path.parts)


def test_order_is_by_component_as_bytes():
    texts = ["a/b", "a!b", "a-b", "a.b", "a0", "model/x", "model.safetensors", "é", "文", "🜁"]
    assert [path.text for path in sorted(map(RepoPath, reversed(texts)))] == texts


@pytest.mark.parametrize(
    "texts",
    [
        ["a", "a"],
        ["A", "a"],
        ["Straße", "STRASSE"],
        ["ﬁle", "file"],
        ["a", "a/b"],
        ["a/b", "a"],
        ["A/x", "a/y"],
        ["a", "A/b"],
        ["x/A/1", "x/a/2"],
    ],
)
def test_clashes(texts):
    with pytest.raises(FormatError, match=r"clash|is a file and"):
        refuse_clashes(map(RepoPath, texts))


def test_the_same_path_twice():
    path = RepoPath("a/b")
    with pytest.raises(FormatError, match="clash"):
        refuse_clashes([path, path])


@given(path_lists())
def test_subsets_of_what_fits_fit(paths):
    refuse_clashes(paths[1:])
