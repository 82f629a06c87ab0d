"""READMEs by attackers who want a page to run something, fetch something or look like something else."""

# ruff: noqa: E501 - cards have long lines

from __future__ import annotations

SCRIPT = b"<script>alert(1)</script>"
CARDS: dict[str, bytes] = {
    "script": SCRIPT,
    "script in front matter": b"---\nlicense: apache-2.0\ntitle: '" + SCRIPT + b"'\n---\n" + SCRIPT,
    "broken front matter": b"---\nlicense: [\n# no end\n" + SCRIPT,
    "event handlers": b'<img src=x onerror=alert(1)><body onload=alert(1)><a href="#" onclick="alert(1)">x</a>',
    "details with a handler": b"<details open ontoggle=alert(1)><summary>s</summary>x</details>",
    "svg": b"<svg onload=alert(1)><script>alert(1)</script><use href='data:image/svg+xml,x'></svg>",
    "math": b"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "noscript": b'<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "template": b"<template><script>alert(1)</script></template>",
    "javascript link": b"[x](javascript:alert(1)) <a href='JaVaScRiPt:alert(1)'>y</a> <a href='java&#10;script:alert(1)'>z</a>",
    "data link": b"[x](data:text/html,<script>alert(1)</script>) ![y](data:image/svg+xml;base64,AAAA)",
    "link without a scheme": b"[x](//outside.example/x) <a href='//outside.example/'>y</a>",
    "remote images": b"![x](https://outside.example/x.png) <img src='http://outside.example/y.gif'> <picture><source srcset='//z'>",
    "style": b"<style>@import 'https://outside.example/x.css'; * {display:none}</style><p style='background:url(//x)'>x",
    "link and meta": b"<link rel=stylesheet href=//outside.example/x><meta http-equiv=refresh content='0;url=//outside.example'>",
    "base": b"<base href='https://outside.example/'>",
    "frames": b"<iframe src='//outside.example'></iframe><object data='//o'></object><embed src='//e'><frame src='//f'>",
    "forms": b"<form action='//outside.example'><input name=publisher value=x autofocus onfocus=alert(1)><button>Go</button></form>",
    "names of the page's own": b"<p id=verdict-text data-f=magnet data-row class=row>Checked.</p><a name=getElementById>x</a>",
    "closes the page": b"</div></section></main></body></html><script>alert(1)</script><!-- ",
    "comment": b"<!-- <img src=x onerror=alert(1)> --!><script>alert(1)</script>",
    "entities": b"&lt;script&gt;alert(1)&lt;/script&gt; &#60;img src=x onerror=alert(1)&#62;",
    "reordered": "\u202etxet desrever\u202c \u2066isolated\u2069 \x07\x1b[31mred\x00".encode(),
    "not UTF-8": b"\xff\xfe<script>alert(1)</script>\xc3(",
    "template language": b"{{ 7*7 }} {% for x in y %} ${7*7}",
    "deep quotes": b"> " * 3_000 + b"x",
    "deep lists": b"\n".join(b"  " * level + b"- x" for level in range(400)),
    "deep tags": b"<div><b>" * 20_000 + b"x",
    "open brackets": b"[" * 50_000,
    "open emphasis": b"*a _b " * 20_000,
    "open code": b"`" * 60_000 + b"a",
    "one long line": b"x" * 200_000,
    "10 MB": b"# Title\n" + b"<script>alert(1)</script> word\n" * 350_000,
    "empty": b"",
}
