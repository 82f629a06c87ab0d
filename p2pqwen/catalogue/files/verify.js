// Checks a p2pqwen index, its torrents and its checksums, from torrents/SPEC.md. Nothing else is imported, and nothing is
// fetched: bytes come in, an answer or a `Refused` goes out. Numbers in comments are sections of that text.
//
// What this cannot show: a host that changes the pages can change this file too. From outside, check index.json with
// `p2pqwen index verify index.json --publisher ID`, or run this file from a copy of your own.

export class Refused extends Error {
  // `step` is that of section 8 where an index was asked for.
  constructor(why, step = 0) {
    super(why);
    this.step = step;
  }
}

function need(condition, why) {
  if (!condition) throw new Refused(why);
}

// 1. Common rules

const UTF8 = new TextEncoder();
const LONE_SURROGATE = /[\ud800-\udfff]/u;
const MAX_INTEGER = Number.MAX_SAFE_INTEGER; // 2^53 - 1

export function readJson(bytes, limit = 256 * 2 ** 20) {
  need(bytes.length <= limit, "the document is over its byte limit");
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused("not UTF-8");
  }
  let at = 0;
  const plain = /[^"\\\u0000-\u001f]*/y;
  const number = /-?(?:0|[1-9][0-9]*)/y;
  const escapes = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

  function blanks() {
    while (" \t\n\r".includes(text[at] || "x")) at += 1;
  }
  function take(word) {
    need(text.startsWith(word, at), "not JSON");
    at += word.length;
  }
  function string() {
    take('"');
    let found = "";
    for (;;) {
      plain.lastIndex = at;
      found += plain.exec(text)[0];
      at = plain.lastIndex;
      const mark = text[at];
      at += 1;
      if (mark === '"') break;
      need(mark === "\\", "a control character or an open end in a text");
      const escape = text[at];
      at += 1;
      if (escape === "u") {
        const digits = text.slice(at, at + 4);
        need(/^[0-9a-fA-F]{4}$/.test(digits), "a broken escape");
        found += String.fromCharCode(parseInt(digits, 16));
        at += 4;
      } else {
        need(Object.hasOwn(escapes, escape), "a broken escape");
        found += escapes[escape];
      }
    }
    need(!LONE_SURROGATE.test(found), "a lone surrogate");
    return found;
  }
  function integer() {
    number.lastIndex = at;
    const match = number.exec(text);
    need(match, "not JSON");
    at = number.lastIndex;
    need(!".eE".includes(text[at] || "x"), "a number that is not an integer");
    need(match[0] !== "-0" && Math.abs(Number(match[0])) <= MAX_INTEGER, "an integer out of range");
    return Number(match[0]);
  }
  function value(depth) {
    blanks();
    const mark = text[at];
    if (mark === '"') return string();
    if (mark === "t") return take("true"), true;
    if (mark === "f") return take("false"), false;
    if (mark === "n") return take("null"), null;
    if (mark !== "{" && mark !== "[") return integer();
    need(depth <= 16, "nested too deep");
    at += 1;
    const close = mark === "{" ? "}" : "]";
    const found = mark === "{" ? Object.create(null) : []; // without a prototype, no key is special
    blanks();
    for (let first = true; text[at] !== close; first = false) {
      if (!first) take(",");
      blanks();
      if (mark === "{") {
        const key = string();
        need(!(key in found), "a key is repeated");
        blanks();
        take(":");
        found[key] = value(depth + 1);
      } else {
        found.push(value(depth + 1));
      }
      blanks();
    }
    at += 1;
    return found;
  }

  const found = value(1);
  blanks();
  need(at === text.length, "more than one document");
  return found;
}

// RFC 8785. Without floats, `JSON.stringify` of texts and integers and the default order of keys, by UTF-16 code units,
// are what it asks for.
export function canonical(value) {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
}

export function readBase64(text) {
  need(typeof text === "string" && /^[A-Za-z0-9+/]*={0,2}$/.test(text) && text.length % 4 === 0, "not base64");
  let binary;
  try {
    binary = atob(text);
  } catch {
    throw new Refused("not base64");
  }
  need(btoa(binary) === text, "another spelling of base64");
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

export function readTime(value) {
  const match = typeof value === "string" && /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z$/.exec(value);
  need(match && match[1] !== "0000", "not a time");
  const found = new Date(value);
  need(!Number.isNaN(found.getTime()) && found.toISOString() === value.replace("Z", ".000Z"), "no such time");
  return found;
}

export function repository(value) {
  need(typeof value === "string" && value.length <= 96, "not org/model");
  const parts = value.split("/");
  need(parts.length === 2, "not org/model");
  for (const part of parts) {
    need(/^[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?$/.test(part), "not the name of a repository");
    need(!part.includes("--") && !part.includes(".."), "-- or .. in the name of a repository");
  }
  need(!value.endsWith(".git"), "the name of a repository ends in .git");
  return value;
}

const ADDRESS = /^https?:\/\/(?:([A-Za-z0-9.-]+)|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?((?:\/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?)$/;

export function webAddress(value) {
  const match = typeof value === "string" && value.length <= 2048 && ADDRESS.exec(value);
  need(match, "not a web address");
  const [, host, address, port, tail] = match;
  need(port === undefined || (Number(port) >= 1 && Number(port) <= 65535), "no port");
  if (host !== undefined) {
    need(!/^[.-]|[.-]$/.test(host) && host.length <= 254 && !host.toLowerCase().includes("xn--"), "not a host");
  } else {
    need(URL.canParse(`http://[${address}]/`), "not an IPv6 address");
  }
  need(!tail.split("/").includes(".."), "a .. in a web address");
  return value;
}

const hexDigest = (value, digits) => {
  need(typeof value === "string" && value.length === digits && /^[0-9a-f]+$/.test(value), "not a digest");
  return value;
};

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

function constants(value, expected) {
  for (const [name, wanted] of Object.entries(expected)) need(value[name] === wanted, `${name} is not ${wanted}`);
}

function number(value, name, least = 0, most = MAX_INTEGER) {
  const found = value[name];
  need(Number.isInteger(found) && found >= least && found <= most, `${name} is not a number in its range`);
  return found;
}

function text(value, name, most, least = 0) {
  const found = value[name];
  const length = typeof found === "string" ? [...found].length : -1; // characters, not UTF-16 units
  need(length >= least && length <= most, `${name} is not a text of ${least} to ${most} characters`);
  return found;
}

function items(value, name, most) {
  const found = value[name];
  need(Array.isArray(found) && found.length <= most, `${name} is not a list of at most ${most}`);
  return found;
}

export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

// 5. Keys and signatures

let noble; // where the browser has no WebCrypto (plain http away from this machine) or no Ed25519 in it
const fallback = () => (noble ??= import("./noble/fallback.js"));

async function hash(algorithm, bytes) {
  if (globalThis.crypto?.subtle) return new Uint8Array(await crypto.subtle.digest(algorithm, bytes));
  const { sha256 } = await fallback();
  need(algorithm === "SHA-256", `this browser has no ${algorithm} here`);
  return sha256(bytes);
}

export const sha256 = async (bytes) => toHex(await hash("SHA-256", typeof bytes === "string" ? UTF8.encode(bytes) : bytes));

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const SMALL_ORDER = new Set([
  0n,
  1n,
  P - 1n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
]);

const littleEndian = (bytes) => BigInt(`0x${toHex(Uint8Array.from(bytes).reverse())}`);
const yOf = (bytes) => littleEndian(bytes) & (2n ** 255n - 1n);

function power(base, exponent) {
  let result = 1n;
  for (let left = exponent, square = base % P; left > 0n; left >>= 1n, square = (square * square) % P) {
    if (left & 1n) result = (result * square) % P;
  }
  return result;
}

export function publicKey(bytes) {
  need(bytes.length === 32, "a public key has 32 bytes");
  const y = yOf(bytes);
  need(y < P, "a public key is not canonical");
  const d = (P - 121665n) * power(121666n, P - 2n);
  const square = ((y * y + P - 1n) * power(d * y * y + 1n, P - 2n)) % P; // RFC 8032, 5.1.3
  need(square === 0n || power(square, (P - 1n) / 2n) === 1n, "a public key is not on the curve");
  need(!SMALL_ORDER.has(y), "a public key is of small order");
  return bytes;
}

export async function verifySignature(key, signature, message) {
  if (signature.length !== 64) return false;
  if (littleEndian(signature.slice(32)) >= L || SMALL_ORDER.has(yOf(signature.slice(0, 32)))) return false;
  try {
    const imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, imported, signature, message);
  } catch {
    return (await fallback()).verify(signature, message, key); // WebCrypto throws where it does not know Ed25519
  }
}

export function pae(kind, payload) {
  const body = UTF8.encode(payload);
  const name = `application/vnd.p2pqwen.${kind}+json`;
  const head = UTF8.encode(`DSSEv1 ${name.length} ${name} ${body.length} `);
  const found = new Uint8Array(head.length + body.length);
  found.set(head);
  found.set(body, head.length);
  return found;
}

// Returns the keyids, among `keys`, of the valid signatures over a document.
async function signers(kind, document, signatures, keys) {
  need(Array.isArray(signatures) && signatures.length <= 256, "signatures are a list of at most 256");
  const message = pae(kind, canonical(document));
  const valid = new Set();
  for (const row of signatures) {
    if (!isObject(row) || typeof row.keyid !== "string" || !keys.has(row.keyid) || valid.has(row.keyid)) continue;
    try {
      if (await verifySignature(keys.get(row.keyid), readBase64(row.sig), message)) valid.add(row.keyid);
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // a malformed row counts for nothing
    }
  }
  return valid;
}

// 6. Root

function named(value, name) {
  need(text(value, name, 200, 1).trim(), `${name} is blank`);
}

async function readRoot(row) {
  need(isObject(row) && isObject(row.signed), "a root is an object");
  const document = row.signed;
  constants(document, { type: "root", spec: 1 });
  const version = number(document, "version", 1);
  const previous = document.previous ?? null;
  need((previous === null) === (version === 1), "only root 1 has no previous root");
  if (previous !== null) hexDigest(previous, 64);
  named(document, "name");
  need(isObject(document.keys) && Object.keys(document.keys).length <= 64, "keys are an object of at most 64");
  const known = new Map();
  for (const [keyid, key] of Object.entries(document.keys)) {
    need(isObject(key), "a key is an object");
    named(key, "label");
    const bytes = publicKey(readBase64(key.public));
    need((await sha256(bytes)) === keyid, "a keyid is not its key's");
    known.set(keyid, bytes);
  }
  need(isObject(document.roles), "roles are an object");
  const roles = {};
  for (const role of ["root", "index"]) {
    const rule = document.roles[role];
    need(isObject(rule), `role ${role} is missing`);
    const keyids = items(rule, "keyids", 64);
    need(keyids.every((keyid) => known.has(keyid)), "a role names a key that the root does not hold");
    need(new Set(keyids).size === keyids.length, "a role names a key twice");
    const threshold = number(rule, "threshold", 1, keyids.length);
    roles[role] = { keys: new Map(keyids.map((keyid) => [keyid, known.get(keyid)])), threshold };
  }
  const epoch = number(document, "index_epoch");
  return { document, signatures: row.signatures, version, previous, roles, epoch, digest: await sha256(canonical(document)) };
}

async function meets(root, role, kind, document, signatures) {
  const { keys, threshold } = root.roles[role];
  return (await signers(kind, document, signatures, keys)).size >= threshold;
}

// 7. Index

export function pieceLength(size) {
  const table = [[64 * 2 ** 20, 2 ** 18], [2 ** 30, 2 ** 20], [2 ** 32, 2 ** 21], [2 ** 35, 2 ** 22], [2 ** 38, 2 ** 23]];
  return (table.find(([limit]) => size <= limit) || [0, 2 ** 24])[1];
}

// What stands before `org/name` where a text names a repository of a kind without saying the kind (section 1).
const KINDS = { model: "", dataset: "datasets/", "modelscope-model": "modelscope:", "modelscope-dataset": "modelscope:datasets/" };
const ENTRY = [
  "repo", "repo_type", "commit", "size", "files", "piece_length", "recipe", "infohash_v1", "infohash_v2", "magnet",
  "manifest_sha256", "provenance", "torrent", "web_seeds", "license", "added", "upstream",
];
const isKnown = (row) =>
  Object.hasOwn(KINDS, row.repo_type) && row.recipe === 1 &&
  (row.repo_type === "model" || ENTRY.every((name) => Object.hasOwn(row, name)));
export const fullName = (row) => (Object.hasOwn(KINDS, row.repo_type) ? KINDS[row.repo_type] : "") + repository(row.repo);
export const sitePath = (name) => name.replace(/^modelscope:/, "@modelscope/");
const printable = (value) => /^[ -~]+$/.test(value);

function checkEntry(row) {
  const repo = fullName(row);
  const commit = hexDigest(row.commit, 40);
  const size = number(row, "size");
  constants(row, { piece_length: pieceLength(size), torrent: `${sitePath(repo)}/${commit}.torrent` });
  number(row, "files", 1, 1_000_000);
  for (const [name, digits] of [["infohash_v1", 40], ["infohash_v2", 64], ["manifest_sha256", 64]]) hexDigest(row[name], digits);
  need(["proven", "unproven"].includes(row.provenance), "provenance");
  need(["present", "gone", "unknown"].includes(row.upstream), "upstream");
  if ((row.license ?? null) !== null) text(row, "license", 200);
  readTime(row.added);
  const seeds = items(row, "web_seeds", 32).map(webAddress);
  if (Object.hasOwn(row, "path_seeds")) {
    const paths = items(row, "path_seeds", 32).map(webAddress);
    need(new Set(paths).size === paths.length && paths.every((url) => url.endsWith("/")), "path seeds");
  }
  need(new Set(seeds).size === seeds.length, "a web seed is repeated");
  checkMagnet(text(row, "magnet", 16384), row, `${repo}@${commit}`, seeds);
}

function checkMagnet(magnet, row, name, seeds) {
  need(magnet.startsWith("magnet:?"), "not a magnet link");
  const found = { xt: [], dn: [], xl: [], ws: [], xs: [], tr: [], "x.pe": [] };
  for (const pair of magnet.slice(8).split("&")) {
    const cut = pair.indexOf("=");
    const key = cut < 0 ? pair : pair.slice(0, cut);
    const value = cut < 0 ? "" : pair.slice(cut + 1);
    const plain = key.toLowerCase().replace(/\.[0-9]+$/, "");
    if (Object.hasOwn(found, plain)) need(key === plain && value, "its magnet spells a parameter in another way");
    try {
      const decoded = decodeURIComponent(value);
      if (Object.hasOwn(found, key)) found[key].push(decoded);
    } catch {
      throw new Refused("its magnet holds a broken escape");
    }
  }
  const same = (got, wanted) => got.length > 0 && got.every((one) => one === wanted);
  const topics = [`urn:btih:${row.infohash_v1}`, `urn:btmh:1220${row.infohash_v2}`];
  need(topics.every((one) => found.xt.includes(one)) && found.xt.every((one) => topics.includes(one)), "its magnet names another infohash");
  need(/[^0]/.test(row.infohash_v1) && /[^0]/.test(row.infohash_v2), "its infohash is all zeros");
  need(same(found.dn, name), "its magnet names another snapshot");
  need(same(found.xl, String(row.size)), "its magnet names another size");
  need(canonical(found.ws) === canonical(seeds), "its magnet names other web seeds");
  need(found["x.pe"].length === 0, "its magnet names a peer");
  for (const url of found.xs) need(isUrl(url, /^https?$/), "its magnet holds no address in xs");
  for (const url of found.tr) need(isUrl(url, /^(?:https?|udp|wss?)$/), "its magnet holds no address in tr");
}

function isUrl(url, schemes) {
  const match = /^([a-z]+):\/\/(\[[0-9A-Fa-f:.]+\]|[^:@/?#[\]]+)(?::([0-9]*))?(?:[/?#].*)?$/i.exec(url);
  if (!match || url.length > 2048 || !/^[!#-;=?-[\]_a-z~]+$/i.test(url) || !schemes.test(match[1].toLowerCase())) return false;
  return !match[3] || (Number(match[3]) >= 1 && Number(match[3]) <= 65535);
}

function checkDocument(signed) {
  readTime(signed.issued);
  items(signed, "mirrors", 32).forEach(webAddress);
  const dht = signed.dht ?? null;
  if (dht !== null) {
    need(isObject(dht), "dht is an object");
    hexDigest(dht.key, 64);
    need(UTF8.encode(text(dht, "salt", 64)).length <= 64, "a salt of more than 64 bytes");
  }
  let before = null;
  const listed = new Set();
  for (const row of items(signed, "entries", 200_000)) {
    need(isObject(row), "an entry is an object");
    const order = ["repo", "commit", "repo_type"].map((name) => text(row, name, 300, 1));
    need(order.every(printable), "a name is not printable ASCII");
    order.push(number(row, "recipe", 1));
    const at = before === null ? 0 : order.findIndex((part, place) => part !== before[place]);
    need(before === null || (at >= 0 && order[at] > before[at]), `entry ${row.repo}@${row.commit} is repeated or out of order`);
    before = order;
    if (!isKnown(row)) continue;
    try {
      checkEntry(row);
    } catch (error) {
      throw error instanceof Refused ? new Refused(`entry ${row.repo}@${row.commit}: ${error.message}`) : error;
    }
    listed.add(`${fullName(row)}@${row.commit}`);
  }
  const gone = new Set();
  for (const row of items(signed, "withdrawn", 200_000)) {
    need(isObject(row), "a withdrawal is an object");
    const name = `${fullName(row)}@${hexDigest(row.commit, 40)}`;
    text(row, "reason", 1000);
    need(!gone.has(name) && !listed.has(name), "a snapshot is withdrawn twice, or listed and withdrawn");
    gone.add(name);
  }
}

// 8. Acceptance

// What a reader believes who has accepted nothing yet; `publisher` is the pinned id, or null.
export const newReader = (publisher = null) => ({ publisher, roots: [], position: null, digest: null });

const olderThan = (one, other) => one[0] < other[0] || (one[0] === other[0] && one[1] < other[1]);

// Takes the bytes of an index or throws a `Refused` with the number of the step. Returns what was accepted, and the
// reader to go on with.
export async function accept(bytes, reader) {
  let step = 1;
  try {
    const outer = readJson(bytes);
    need(isObject(outer), "an index is an object");
    const rows = items(outer, "roots", 256);
    need(rows.length > 0, "it holds no root");
    const offered = [];
    for (const row of rows) offered.push(await readRoot(row));
    const { signed } = outer;
    need(isObject(signed), "it holds no index");
    checkHeader(signed);
    step = 2;
    const first = offered[0];
    const trusted = new Map(reader.roots.map((root) => [root.version, root]));
    if (first.version === 1) {
      need([null, first.digest].includes(reader.publisher), `it is of another publisher, ${first.digest}`);
      need(await meets(first, "root", "root", first.document, first.signatures), "root 1 is not signed by its own keys");
    } else {
      need(trusted.get(first.version)?.digest === first.digest, "the chain starts at a root that is not trusted");
    }
    step = 3;
    for (let at = 1; at < offered.length; at += 1) await follow(offered[at - 1], offered[at]);
    const chain = [...reader.roots.filter((root) => root.version < first.version), ...offered];
    need(chain.every((root) => (trusted.get(root.version) ?? root).digest === root.digest), "another root is trusted already");
    step = 4;
    const last = chain.at(-1);
    need(last.version >= Math.max(0, ...trusted.keys()), "its newest root is older than the trusted one");
    const by = await signers("index", signed, outer.signatures, last.roles.index.keys);
    need(by.size >= last.roles.index.threshold, `not enough index keys of the publisher signed it: ${by.size} of ${last.roles.index.threshold}`);
    step = 5;
    need(signed.publisher === chain[0].digest, "it names another publisher");
    need(signed.root_version === last.version && signed.epoch === last.epoch, "it was made under another root");
    step = 6;
    const position = [signed.epoch, signed.version];
    const digest = await sha256(canonical(signed));
    checkPlace(reader, position, digest, signed.previous ?? null);
    step = 7;
    checkDocument(signed);
    const kept = chain.map((root) => trusted.get(root.version) ?? root);
    const labels = [...last.roles.index.keys.keys()].filter((keyid) => by.has(keyid)).map((keyid) => last.document.keys[keyid].label);
    return {
      publisher: chain[0].digest,
      name: last.document.name,
      root: last,
      roots: kept,
      position,
      digest,
      document: signed,
      signers: labels,
      entries: new Map(signed.entries.filter(isKnown).map((row) => [`${fullName(row)}@${row.commit}`, row])),
      reader: { publisher: chain[0].digest, roots: kept, position, digest },
    };
  } catch (error) {
    throw error instanceof Refused ? new Refused(error.message, step) : error;
  }
}

function checkHeader(signed) {
  constants(signed, { type: "index", spec: 1 });
  hexDigest(signed.publisher, 64);
  number(signed, "root_version", 1);
  number(signed, "epoch");
  number(signed, "version", 1);
  if ((signed.previous ?? null) !== null) hexDigest(signed.previous, 64);
}

async function follow(old, root) {
  need(root.version === old.version + 1, "a root is missing");
  need(root.previous === old.digest, `root ${root.version} does not name its predecessor`);
  need(await meets(old, "root", "root", root.document, root.signatures), `too few keys of root ${old.version} signed root ${root.version}`);
  need(await meets(root, "root", "root", root.document, root.signatures), `too few of its own keys signed root ${root.version}`);
  need(root.epoch >= old.epoch, `root ${root.version} lowers the epoch`);
}

function checkPlace(reader, position, digest, previous) {
  if (reader.position === null) return;
  const [epoch, version] = reader.position;
  need(!olderThan(position, reader.position), `index ${position.join(".")} is older than ${reader.position.join(".")}, accepted before`);
  const same = position[0] === epoch && position[1] === version;
  need(!same || digest === reader.digest, `the publisher signed two different indexes ${position.join(".")}`);
  const next = position[0] === epoch && position[1] === version + 1;
  need(!next || previous === reader.digest, `index ${position.join(".")} does not continue the one accepted before`);
}

// 4. Signed torrent

const MAX_DEPTH = 100;

// Reads one bencoded value. A dictionary becomes a Map and gets `span`, where it stands in the bytes; its keys are bytes,
// of piece layers even hashes, so they become text of one character a byte.
function bdecode(bytes, start) {
  let at = start;
  const latin1 = (from, to) => String.fromCharCode(...bytes.subarray(from, to));
  function digits(end) {
    const stop = bytes.indexOf(end.charCodeAt(0), at);
    const word = stop < 0 || stop - at > 17 ? "" : latin1(at, stop);
    need(/^(?:0|-?[1-9][0-9]*)$/.test(word), "not bencoding");
    at = stop + 1;
    return Number(word);
  }
  function string() {
    const length = digits(":");
    need(length >= 0 && at + length <= bytes.length, "not bencoding");
    at += length;
    return bytes.subarray(at - length, at);
  }
  function value(depth) {
    need(depth < MAX_DEPTH && at < bytes.length, "not bencoding");
    const from = at;
    const mark = String.fromCharCode(bytes[at]);
    if (mark === "i") return (at += 1), digits("e");
    if (mark !== "l" && mark !== "d") return string();
    at += 1;
    const found = mark === "l" ? [] : new Map();
    while (bytes[at] !== 0x65) {
      if (mark === "l") {
        found.push(value(depth + 1));
      } else {
        const bytesOfKey = string();
        need(bytesOfKey.length <= 1000, "a key is too long");
        const key = String.fromCharCode(...bytesOfKey);
        need(!found.has(key), "a key is repeated");
        found.set(key, value(depth + 1));
      }
    }
    at += 1;
    if (mark === "d") found.span = [from, at];
    return found;
  }
  const found = value(0);
  need(at === bytes.length, "more than one value");
  return found;
}

function toText(bytes, what) {
  need(bytes instanceof Uint8Array, `${what} is not text`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Refused(`${what} is not UTF-8`);
  }
}

// The raw bytes of a dictionary that `bdecode` read.
const spanOf = (bytes, found, what) => {
  need(found instanceof Map, `${what} is not a dictionary`);
  return bytes.subarray(...found.span);
};

// Checks a .torrent against its entry in an accepted index. Returns its manifest and who of the publisher signed it.
export async function checkTorrent(bytes, accepted) {
  need(bytes.length <= 64 * 2 ** 20, "over 64 MiB");
  const outer = bdecode(bytes, 0);
  need(outer instanceof Map, "not a torrent");
  const info = spanOf(bytes, outer.get("info"), "info");
  const v2 = await sha256(info);
  const entry = [...accepted.entries.values()].find((row) => row.infohash_v2 === v2);
  need(entry, `this publisher lists no torrent with the infohash ${v2}`);
  if (globalThis.crypto?.subtle) need(toHex(await hash("SHA-1", info)) === entry.infohash_v1, "another v1 infohash");
  const ours = outer.get("p2pqwen");
  need(ours instanceof Map && ours.get("manifest") instanceof Uint8Array, "it carries no manifest");
  const manifestBytes = ours.get("manifest");
  need((await sha256(manifestBytes)) === entry.manifest_sha256, "it carries another manifest than the index names");
  const manifest = readJson(manifestBytes, 64 * 2 ** 20);
  const same = isObject(manifest) && ["repo", "repo_type", "commit"].every((name) => manifest[name] === entry[name]);
  need(same, "its manifest is of another snapshot");
  const files = items(manifest, "files", 100_000);
  const total = files.reduce((sum, row) => sum + number(row, "size"), 0);
  need(files.length === entry.files && total === entry.size, "other files than the index counts");
  const labels = await torrentSigners(bytes, outer, info, entry, accepted);
  need(labels.length > 0, "no index key of this publisher signed it");
  return { entry, manifest, files, signers: labels };
}

async function torrentSigners(bytes, outer, info, entry, accepted) {
  const known = new Map(accepted.roots.flatMap((root) => [...root.roles.index.keys]));
  const rows = outer.get("signatures");
  const labels = [];
  for (const [label, row] of rows instanceof Map ? rows : []) {
    const said = row instanceof Map ? row.get("info") : null;
    if (!(said instanceof Map) || !(row.get("signature") instanceof Uint8Array)) continue;
    const plain = (name) => (said.get(name) instanceof Uint8Array ? said.get(name).subarray(0, 200) : new Uint8Array());
    const words = (name) => String.fromCharCode(...plain(name));
    const keyid = toHex(plain("keyid"));
    if (words("alg") !== "ed25519" || words("repo") !== fullName(entry) || words("commit") !== entry.commit) continue;
    if (toHex(plain("manifest")) !== entry.manifest_sha256 || !known.has(keyid) || said.size !== 5) continue;
    const tail = spanOf(bytes, said, "a signature");
    const message = new Uint8Array(info.length + tail.length);
    message.set(info);
    message.set(tail, info.length);
    if (await verifySignature(known.get(keyid), row.get("signature"), message)) {
      labels.push(toText(Uint8Array.from(label, (one) => one.charCodeAt(0)), "a label"));
    }
  }
  return labels;
}

// 9. Published site

// Checks SHA256SUMS against the signature beside it: of a site (`sums`) or of the files themselves (`file-sums`).
// Returns the SHA-256 of each file by its path.
export async function readSums(sums, envelopeBytes, accepted, type = "sums") {
  const envelope = readJson(envelopeBytes, 2 ** 20);
  need(isObject(envelope) && isObject(envelope.signed), "SHA256SUMS.sig is an object");
  const { signed } = envelope;
  constants(signed, { type, spec: 1, publisher: accepted.publisher });
  need(await meets(accepted.root, "index", type, signed, envelope.signatures), "not enough index keys signed SHA256SUMS");
  const position = `${number(signed, "epoch")}.${number(signed, "version")}`;
  need(position === accepted.position.join("."), `SHA256SUMS is of index ${position}, index.json is ${accepted.position.join(".")}`);
  need((await sha256(sums)) === hexDigest(signed.sha256, 64), "SHA256SUMS is not the one that was signed");
  const lines = toText(sums, "SHA256SUMS").split("\n").filter(Boolean);
  return new Map(lines.map((line) => [line.slice(66), line.slice(0, 64)]));
}
