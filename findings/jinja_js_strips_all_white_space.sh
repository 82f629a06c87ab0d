#!/usr/bin/env bash
# @huggingface/jinja@0.5.11 (npm, what transformers.js and other JavaScript render chat templates with): strip, lstrip
# and rstrip ignore their argument and remove all white space. Qwen3's template removes only newlines from a past
# answer (`lstrip('\n')` after `</think>`), so an answer that begins with indented code loses its indent in
# JavaScript, and the model reads a different conversation, with different tokens. There is no error and no warning.
# Other things that real templates do also differ silently: no content at all (null, as with a tool call), an unset
# variable compared with none, sorted keys, and `%`.
# Expected: what jinja2 3.1.6 renders, with the tojson that transformers gives it, or an error.
# Seen (tojson as transformers has it: json.dumps without ensure_ascii):
#   expression                           jinja2                               @huggingface/jinja
#   answer.lstrip('\n')                  '    return 1'                       'return 1'
#   'a.'.rstrip('.')                     'a'                                  'a.'
#   nothing                              'None'                               ''
#   [nothing, 'a'] | join(',')           'None,a'                             ',a'
#   'unset' if never == none else 'set'  'set'                                'unset'
#   keys | tojson(sort_keys=true)        '{"B": 1, "a": 2}'                   '{"a": 2, "B": 1}'
#   -7 % 4                               '1'                                  '-3'
#   'HELLO' | capitalize                 'Hello'                              'HELLO'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check jinja2==3.1.6
cd "$work"
mkdir npm
(cd npm && npm init --yes >/dev/null && npm install --silent --no-audit --no-fund --ignore-scripts @huggingface/jinja@0.5.11)
cat >asked.json <<'JSON'
{
  "values": {"answer": "\n\n    return 1", "nothing": null, "keys": {"a": 2, "B": 1}},
  "expressions": [
    "answer.lstrip('\\n')",
    "'a.'.rstrip('.')",
    "nothing",
    "[nothing, 'a'] | join(',')",
    "'unset' if never == none else 'set'",
    "keys | tojson(sort_keys=true)",
    "-7 % 4",
    "'HELLO' | capitalize"
  ]
}
JSON
cat >npm/render.mjs <<'JS'
import { readFileSync } from "node:fs";
import { Template } from "@huggingface/jinja";

const { values, expressions } = JSON.parse(readFileSync("asked.json", "utf8"));
console.log(JSON.stringify(expressions.map((expression) => new Template(`{{ ${expression} }}`).render(values))));
JS
node npm/render.mjs >by-javascript.json
venv/bin/python - <<'PYTHON' | tee seen
import json
from pathlib import Path

from jinja2.sandbox import ImmutableSandboxedEnvironment

environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
asked = json.loads(Path("asked.json").read_text())
by_javascript = json.loads(Path("by-javascript.json").read_text())
for expression, other in zip(asked["expressions"], by_javascript, strict=True):
    rendered = environment.from_string("{{ " + expression + " }}").render(asked["values"])
    print(f"{expression:35}  {rendered!r:35}  {other!r}")
PYTHON
diff seen - <<'WANTED'
answer.lstrip('\n')                  '    return 1'                       'return 1'
'a.'.rstrip('.')                     'a'                                  'a.'
nothing                              'None'                               ''
[nothing, 'a'] | join(',')           'None,a'                             ',a'
'unset' if never == none else 'set'  'set'                                'unset'
keys | tojson(sort_keys=true)        '{"B": 1, "a": 2}'                   '{"a": 2, "B": 1}'
-7 % 4                               '1'                                  '-3'
'HELLO' | capitalize                 'Hello'                              'HELLO'
WANTED
