import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.manifest.license import MAX_FRONT_MATTER, license_of_readme, reason, redistribution


@pytest.mark.parametrize(
    ("front_matter", "expected"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("library_name: transformers\nlicense: apache-2.0\nlicense_link: https://x/LICENSE", "apache-2.0"),
        ("license:   mit   ", "mit"),
        ("license: mit # the usual", "mit"),
        ('license: "mit"', "mit"),
        ("license: 'cc-by-4.0'", "cc-by-4.0"),
        ('"license": mit', "mit"),
        ("license: openrail++", "openrail++"),
        ("license: other", "other"),
        ("license: other\nlicense_name: qwen-research\nlicense_link: https://x/LICENSE", "qwen-research"),
        ("license_name: 'tongyi-qianwen'\nlicense: other", "tongyi-qianwen"),
        ("license:\n- other\nlicense_name: qwen", "qwen"),
        ("license: other\nlicense_name: [a, b]", "other"),
        ("license: other\nlicense_name: qwen\nlicense_name: mit", "other"),
        ("license: apache-2.0\nlicense_name: qwen", "apache-2.0"),
        ("license:\n  mit", "mit"),
        ("license: # see below\n  mit\ntags: x", "mit"),
        ("license: |\n  mit", "mit"),
        ("license: >-\n\n  mit\n\ntags:\n- x", "mit"),
        ("license: other\nlicense_name: >\n  qwen-research\n", "qwen-research"),
        ("license: [mit,]", "mit"),
        ("license: [\n  'mit'\n  ]", "mit"),
        ("license:\n- apache-2.0\ntags:\n- x\n- y", "apache-2.0"),
        ("license:\n  - apache-2.0\n  # that is all\n", "apache-2.0"),
        ("license: [mit]", "mit"),
        ("tags:\n- license\nlicense: mit", "mit"),
        # nobody can tell
        ("license:", None),
        ("license: null", None),
        ("license: ~", None),
        ("license: 3", None),
        ("license: true", None),
        ("license: ''", None),
        ("license:\n- apache-2.0\n- mit", None),
        ("license: [apache-2.0, mit]", None),
        ("license:\n  name: mit", None),
        ("license: |\n  mit\n  gpl-3.0", None),
        ("license: >\n", None),
        ("license:\n  - mit\n  - gpl-3.0", None),
        ("license:\n  - mit:\n      x: y", None),
        ("license: &a mit", None),
        ("license: *a", None),
        ("license: {name: mit}", None),
        ("license: mit\nlicense: apache-2.0", None),
        ("model:\n  license: mit", None),
        ("license_name: mit", None),
        ("# license: mit", None),
        ("license: \x1b[2Jmit", None),
        ("license: " + "x" * 101, None),
        ("license:mit", None),
    ],
)
def test_the_value_in_the_front_matter(front_matter, expected):
    for ending in ("---\n# Title\n", "---", "...\n"):
        assert license_of_readme(f"---\n{front_matter}\n{ending}".encode()) == expected
    assert license_of_readme(f"---\n{front_matter}\n---\n".replace("\n", "\r\n").encode()) == expected


@pytest.mark.parametrize(
    "readme",
    [
        b"",
        b"# Title\n\nlicense: mit\n",
        b"text\n---\nlicense: mit\n---\n",
        b" ---\nlicense: mit\n---\n",
        b"---\nlicense: mit\n",
        b"--- x\nlicense: mit\n---\n",
        b"---\ntags: x\n---\nlicense: mit\n---\n",
        b"---\n" + b"x: y\n" * MAX_FRONT_MATTER + b"license: mit\n---\n",
    ],
)
def test_readmes_without_one(readme):
    assert license_of_readme(readme) is None


def test_a_byte_order_mark_blank_lines_and_broken_text_do_no_harm():
    assert license_of_readme(b"\n \r\n---\nlicense: mit\n---\n") == "mit"
    assert license_of_readme("\ufeff\n---\nlicense: mit\n---\n".encode()) == "mit"
    assert license_of_readme("\ufeff---\nlicense: mit\n---\n".encode()) == "mit"
    assert license_of_readme(b"---\nlicense: mit\nauthor: \xff\n---\n") == "mit"


@given(st.text(alphabet="license: mt\n-[]'\"#|>", max_size=60))
def test_whatever_is_read_is_short_and_plain(text):
    value = license_of_readme(f"---\n{text}\n---\n".encode())
    assert value is None or (value.isascii() and value.isprintable() and len(value) <= 100)


@pytest.mark.parametrize(
    ("named", "verdict", "why"),
    [
        ("apache-2.0", "clear", "notice"),
        ("Apache-2.0", "clear", "notice"),
        ("mit", "clear", "notice"),
        ("bsd-3-clause", "clear", "notice"),
        ("cc0-1.0", "clear", "waives"),
        ("gpl-3.0", "clear", "same license"),
        ("cc-by-sa-4.0", "clear", "same license"),
        ("cc-by-4.0", "clear", "authors are named"),
        ("openrail", "conditional", "use restrictions"),
        ("creativeml-openrail-m", "conditional", "use restrictions"),
        ("cc-by-nc-4.0", "conditional", "no commercial use"),
        ("cc-by-nd-4.0", "conditional", "unmodified"),
        ("llama3.1", "conditional", "vendor's terms"),
        ("gemma", "conditional", "vendor's terms"),
        ("qwen", "conditional", "vendor's terms"),
        ("tongyi-qianwen", "conditional", "vendor's terms"),
        ("qwen-research", "conditional", "research only"),
        ("Qwen RESEARCH LICENSE AGREEMENT", "conditional", "research only"),
        ("Tongyi Qianwen LICENSE AGREEMENT", "conditional", "vendor's terms"),
        ("qwen_license", "conditional", "vendor's terms"),
        ("license", "unknown", "read them"),
        ("other", "unknown", "read them"),
        ("unknown", "unknown", "read them"),
        ("made-up", "unknown", "read them"),
        ("", "unknown", "read them"),
        (None, "unknown", "names no license"),
    ],
)
def test_redistribution(named, verdict, why):
    assert redistribution(named) == verdict
    assert why in reason(named)
