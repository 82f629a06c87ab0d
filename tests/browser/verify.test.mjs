// The verifier of the catalogue's pages against the golden vectors, run by `node --test`; with P2PQWEN_NOBLE=1 without
// WebCrypto, as on a page that came over plain http.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const here = (path) => new URL(path, import.meta.url);
const vector = (path) => new Uint8Array(readFileSync(here(`../vectors/${path}`)));
const json = (path) => JSON.parse(new TextDecoder().decode(vector(path)));
const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

const withoutWebCrypto = Boolean(process.env.P2PQWEN_NOBLE);
if (withoutWebCrypto) Object.defineProperty(globalThis, "crypto", { value: undefined });
const verify = await import(here("../../p2pqwen/catalogue/files/verify.js"));

// 1 and 5. The common rules that an index needs; those of a snapshot's paths and contents are not the page's to check.
const RULES = {
  json: (value) => verify.readJson(unhex(value)),
  base64: verify.readBase64,
  time: verify.readTime,
  repository: verify.repository,
  "web address": verify.webAddress,
  "public key": (value) => verify.publicKey(unhex(value)),
};
const OTHERS = ["content of a plain file", "path", "paths of one snapshot"];

test("every common rule is checked here or named as not the page's", () => {
  assert.deepEqual(Object.keys(json("common.json")).sort(), [...Object.keys(RULES), ...OTHERS].sort());
});

for (const [rule, read] of Object.entries(RULES)) {
  const { accepted, refused } = json("common.json")[rule];
  test(`${rule}: takes ${accepted.length}, refuses ${refused.length}`, () => {
    for (const value of accepted) assert.doesNotThrow(() => read(value), JSON.stringify(value));
    for (const value of refused) assert.throws(() => read(value), verify.Refused, JSON.stringify(value));
  });
}

test("the RFC 8785 form, the signed bytes and the signatures", async () => {
  const key = verify.readBase64(json("keys.json").index.public);
  for (const row of json("canonical.json")) {
    const value = verify.readJson(new TextEncoder().encode(JSON.stringify(row.value)));
    const text = verify.canonical(value);
    assert.equal(Buffer.from(text).toString("hex"), row.canonical);
    const message = verify.pae("index", text);
    assert.equal(Buffer.from(message).toString("hex"), row.pae);
    const signature = verify.readBase64(row["sig by index"]);
    assert.equal(await verify.verifySignature(key, signature, message), true);
    signature[40] ^= 1;
    assert.equal(await verify.verifySignature(key, signature, message), false);
  }
});

test("RFC 8032: S is below the order, R is not of small order", async () => {
  const key = verify.readBase64(json("keys.json").index.public);
  const row = json("canonical.json")[0];
  const message = unhex(row.pae);
  const high = verify.readBase64(row["sig by index"]);
  let sum = BigInt(`0x${Buffer.from(high.slice(32)).reverse().toString("hex")}`);
  sum += 2n ** 252n + 27742317777372353535851937790883648493n; // the same scalar, spelled otherwise
  high.set(unhex(sum.toString(16).padStart(64, "0")).reverse(), 32);
  assert.equal(await verify.verifySignature(key, high, message), false);
  const small = new Uint8Array(64);
  small[0] = 1;
  assert.equal(await verify.verifySignature(key, small, message), false);
});

for (const row of json("index/expected.json")) {
  test(`index/${row.file}: ${row.why}`, async () => {
    let reader = verify.newReader(row.publisher);
    for (const name of row["accepted before"]) reader = (await verify.accept(vector(`index/${name}`), reader)).reader;
    const judged = verify.accept(vector(`index/${row.file}`), reader);
    if (row.refused === undefined) {
      const accepted = await judged;
      assert.equal(accepted.position.join("."), row.accepted);
      assert.deepEqual(accepted.signers, row.signers);
    } else {
      await assert.rejects(judged, (error) => error instanceof verify.Refused && error.step === row.refused);
    }
  });
}

for (const row of json("sums.json")) {
  test(`sums.json: ${row.why}`, async () => {
    const accepted = await verify.accept(vector(`index/${row.index}`), verify.newReader());
    const encode = (text) => new TextEncoder().encode(text);
    const judged = verify.readSums(encode(row.sums), encode(JSON.stringify(row.envelope)), accepted, row.type);
    if (row.counts) assert.ok((await judged).get("index.json"));
    else await assert.rejects(judged, verify.Refused);
  });
}

const COMMIT = "bd701f94d5b95bc2a9e6fd056e79bfd8e77dec6c";

// What `accept` returns of an index that lists the torrent of the vectors.
function listing() {
  const expected = json("torrent/expected.json");
  const entry = {
    repo: expected.snapshot.split("@")[0],
    repo_type: "model",
    commit: COMMIT,
    infohash_v1: expected.infohash_v1,
    infohash_v2: expected.infohash_v2,
    manifest_sha256: expected.manifest_sha256,
    files: Object.keys(expected.files).length,
    size: Number(/&xl=(\d+)/.exec(expected.magnet)[1]),
  };
  const keys = json("keys.json");
  const index = new Map([[keys.index.keyid, verify.readBase64(keys.index.public)]]);
  return { entries: new Map([["x", entry]]), roots: [{ roles: { index: { keys: index } } }] };
}

test("a torrent is held against its entry", async () => {
  const bytes = vector(`torrent/${COMMIT}.torrent`);
  const found = await verify.checkTorrent(bytes, listing());
  assert.ok(found.files.length > 0 && found.signers.length > 0);
});

test("a torrent with any byte of its info, manifest or signatures changed is refused", async () => {
  const bytes = vector(`torrent/${COMMIT}.torrent`);
  const text = Buffer.from(bytes).toString("latin1");
  for (const mark of ["4:info", "8:manifest", "9:signature64:"]) {
    const changed = bytes.slice();
    changed[text.indexOf(mark) + mark.length + 20] ^= 1;
    await assert.rejects(verify.checkTorrent(changed, listing()), verify.Refused, mark);
  }
});

test("broken torrents are refused, not crashed on", async () => {
  const bytes = vector(`torrent/${COMMIT}.torrent`);
  for (const broken of [[], [100], [...Array(300)].map(() => 108), [...bytes.slice(0, -1)], [...bytes, 101], [0x69, 0x2d, 0x30, 0x65]]) {
    await assert.rejects(verify.checkTorrent(Uint8Array.from(broken), listing()), verify.Refused);
  }
});
