import { accept, checkTorrent, fullName, newReader, readSums, Refused, sha256, sitePath } from "./verify.js";

// What the catalogue's pages do beyond being read: the check of what they show, searching, and the check of a file that
// somebody drops. The root element says what the page claims; this script writes the verdict there and into #verdict.

const html = document.documentElement;
const claims = { ...html.dataset };
const $ = (id) => document.getElementById(id);
const FOLDER = "p2pqwen--site/";
const onDisk = location.protocol === "file:";
const at = (place) => new URL(claims.root + place, location.href).href;

const state = { accepted: null, sums: null, rows: [] };

async function bytesOf(place, options = { cache: "no-cache", credentials: "omit" }) {
  const answer = await fetch(at(place), options);
  if (!answer.ok) throw new Refused(`${place} cannot be read here (HTTP ${answer.status})`);
  return new Uint8Array(await answer.arrayBuffer());
}

// What this browser remembers of a publisher; nothing where it may not remember.
const memory = {
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(`p2pqwen ${name}`));
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      if (value === null) localStorage.removeItem(`p2pqwen ${name}`);
      else localStorage.setItem(`p2pqwen ${name}`, JSON.stringify(value));
    } catch {
      // a browser that remembers nothing still checks
    }
  },
};

// The verdict

function verdict(word, text, more = []) {
  html.dataset.verified = word;
  $("verdict-text").textContent = text;
  $("verdict-details").hidden = more.length === 0;
  $("verdict-details").open = word === "no";
  $("verdict-details").firstElementChild.textContent = word === "no" ? "What to do" : "What was checked";
  $("verdict-more").replaceChildren(...more.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
}

function red(reason) {
  delete html.dataset.unchecked;
  html.dataset.reason = reason;
  verdict("no", `This page is not what the publisher signed: ${reason}.`, [
    "Do not use the links of this page. Fetch by name from a trusted index instead, or ask another mirror.",
  ]);
}

function green(accepted, more) {
  delete html.dataset.unchecked;
  delete html.dataset.reason;
  const { document: signed } = accepted;
  const days = Math.max(0, Math.floor((Date.now() - Date.parse(signed.issued)) / 86_400_000));
  const age = days === 0 ? "today" : days === 1 ? "1 day ago" : `${days} days ago`;
  verdict("yes", `Checked in this browser: ${visible(accepted.name)} signed index ${accepted.position.join(".")} on ${signed.issued.slice(0, 10)} (${age}), with the ${accepted.signers.length === 1 ? "key" : "keys"} ${accepted.signers.map((name) => `“${visible(name)}”`).join(", ")}.`, [
    `Publisher id ${accepted.publisher}`,
    ...more,
  ]);
}

const visible = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (one) => `\\u${one.codePointAt(0).toString(16).padStart(4, "0")}`);

// The words that a row says of an entry, as p2pqwen/catalogue/view.py makes them

function sizeWords(size) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = size;
  let unit = 0;
  while (value >= 999.5 && unit < 4) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  // Halves are rounded up here and to even there: either is right.
  return [value, value * (1 - 1e-12)].map((one) => `${one.toFixed(digits)} ${units[unit]}`);
}

function upstreamWords(name, upstream) {
  const atModelScope = name.startsWith("modelscope:");
  if (upstream === "unknown") return `${atModelScope ? "ModelScope" : "Hub"} not asked`;
  return `${upstream === "gone" ? "gone from" : "on"} ${atModelScope ? "ModelScope" : "the Hub"}`;
}

function licenseWords(license) {
  if (license === null || license === undefined) return "no license named";
  return /^[ -~]+$/.test(license) ? license : "a license without a plain name";
}

function expectedWords(entry) {
  return {
    repo: [fullName(entry)],
    commit: [entry.commit.slice(0, 8)],
    size: sizeWords(entry.size),
    files: [entry.files === 1 ? "1 file" : `${entry.files} files`],
    license: [licenseWords(entry.license)],
    provenance: [entry.provenance],
    upstream: [upstreamWords(fullName(entry), entry.upstream)],
    added: [entry.added.slice(0, 10)],
    magnet: ["magnet"],
    torrent: [".torrent"],
  };
}

const squeezed = (text) => text.replace(/\s+/g, "");

// Compares one row of the page with the index, whose entries are given by torrent; returns the torrent's place.
function checkRow(row, entries) {
  const parts = new Map([...row.querySelectorAll("[data-f]")].map((one) => [one.dataset.f, one]));
  const torrent = parts.get("torrent")?.getAttribute("href") ?? "";
  const path = torrent.startsWith(claims.root) ? torrent.slice(claims.root.length) : torrent;
  const wrong = (what) => {
    row.classList.add("wrong");
    throw new Refused(`the row of ${parts.get("repo")?.textContent || path} ${what}`);
  };
  const entry = entries.get(path);
  if (!entry) wrong("is not in the index");
  const expected = expectedWords(entry);
  for (const [field, words] of Object.entries(expected)) {
    const got = parts.get(field)?.textContent ?? "";
    if (!words.some((word) => squeezed(word) === squeezed(got))) wrong(`says another ${field}: ${got}`);
  }
  const rest = row.cloneNode(true);
  rest.querySelectorAll(".also").forEach((one) => one.remove());
  const said = squeezed(rest.textContent);
  if (said !== squeezed(Object.keys(expected).map((field) => parts.get(field).textContent).join(""))) wrong("says more than the index");
  if (parts.get("magnet").getAttribute("href") !== entry.magnet) wrong("has another magnet");
  const links = new Set([entry.magnet, claims.root + entry.torrent, `${claims.root}${sitePath(fullName(entry))}/index.html`]);
  for (const link of row.querySelectorAll("a")) if (!links.has(link.getAttribute("href"))) wrong("leads elsewhere");
  return path;
}

function checkRows(accepted) {
  const entries = new Map([...accepted.entries.values()].map((entry) => [entry.torrent, entry]));
  const names = [...document.querySelectorAll("[data-row]")].filter((row) => !$("results")?.contains(row)).map((row) => checkRow(row, entries));
  if (claims.position === undefined) return;
  if (claims.position !== accepted.position.join(".")) {
    throw new Refused(`this page was made of index ${claims.position}, and index.json is ${accepted.position.join(".")}`);
  }
  const start = Number(claims.start);
  const expected = [...entries.keys()];
  if (Number(claims.entries) !== expected.length) throw new Refused("the page shows another number of entries than the index");
  if (names.join() !== expected.slice(start, start + names.length).join()) throw new Refused("the page leaves out or moves rows of the index");
  if (names.length === 0 && expected.length > 0) throw new Refused("the page shows none of the index's rows");
}

// Other links and hashes of a model's page: every magnet and torrent on it must be of its entries.
function checkLinks(accepted) {
  const torrents = new Set([...accepted.entries.values()].map((entry) => claims.root + entry.torrent));
  const hashes = new Set([...accepted.entries.values()].map((entry) => entry.infohash_v1));
  for (const link of document.querySelectorAll("main a:not(.card a)")) {
    const href = link.getAttribute("href") ?? "";
    if (href.startsWith("magnet:")) {  // may end in .torrent: with a mirror, its last part says where that is
      const named = /xt=urn:btih:([0-9a-f]{40})/.exec(href);
      if (!named || !hashes.has(named[1])) throw new Refused("a magnet of this page belongs to no entry of the index");
    } else if (href.endsWith(".torrent") && !torrents.has(href)) {
      throw new Refused(`a link leads to ${href}, which the index does not list`);
    }
  }
}

async function checkFiles(accepted) {
  const table = $("files");
  if (!table) return [];
  const { entry, files } = await checkTorrent(await bytesOf(table.dataset.torrent), accepted);
  if (entry.torrent !== table.dataset.torrent) throw new Refused(`${table.dataset.torrent} is the torrent of another snapshot`);
  const rows = [...table.tBodies[0].rows];
  if (rows.length !== files.length) throw new Refused("the page lists other files than the manifest");
  rows.forEach((row, place) => {
    const [path, size, hash] = [...row.cells].map((cell) => cell.textContent);
    const file = files[place];
    const right = path === file.path && hash === file.sha256 && sizeWords(file.size).includes(size);
    if (!right) throw new Refused(`the page and the manifest disagree about the file ${file.path}`);
  });
  return ["The files below are those of the manifest that the index names."];
}

async function checkSums(accepted) {
  if (claims.sums !== "signed") return ["The pages’ own bytes are not signed: what is not in the index, such as the model card, is not checked."];
  state.sums = await readSums(await bytesOf("SHA256SUMS"), await bytesOf("SHA256SUMS.sig"), accepted);
  await Promise.all([claims.place, `${FOLDER}page.js`, `${FOLDER}style.css`].map(checkedAsLoaded));
  return ["This page, its script and its style are the bytes that were signed (SHA256SUMS)."];
}

// The bytes of a file of the site, once they are the signed ones.
async function checked(place) {
  const bytes = await bytesOf(place);
  if (state.sums && state.sums.get(place) !== (await sha256(bytes))) throw new Refused(`${place} is not the file that was signed`);
  return bytes;
}

// Checks a file that this page was loaded with: the bytes that the browser got then, where it kept them. They may be
// older than the sums; then, as where it kept none, the server is asked.
async function checkedAsLoaded(place) {
  const kept = await bytesOf(place, { cache: "force-cache" });
  if (state.sums.get(place) !== (await sha256(kept))) await checked(place);
}

function readerOf(pinned) {
  const publisher = pinned ?? claims.publisher;
  const seen = memory.get(publisher);
  return { ...newReader(publisher), ...(seen ? { position: seen.position, digest: seen.digest } : {}) };
}

async function check(given = null) {
  try {
    const pinned = memory.get("pinned");
    if (pinned !== null && pinned !== claims.publisher) throw new Refused(`this page is of publisher ${claims.publisher}, and you compare it with ${pinned}`);
    const accepted = await accept(given ?? (await bytesOf("index.json")), readerOf(pinned));
    html.dataset.publisher = accepted.publisher;
    checkRows(accepted);
    checkLinks(accepted);
    const more = given ? ["The files beside the page were not read."] : [...(await checkFiles(accepted)), ...(await checkSums(accepted))];
    if (pinned !== null) more.unshift("It is the publisher id that you compare with.");
    state.accepted = accepted;
    memory.set(accepted.publisher, { position: accepted.position, digest: accepted.digest });
    for (const part of state.rows) checkData(part, accepted);
    green(accepted, more);
    if (wanted()) show();
  } catch (error) {
    red(error instanceof Refused ? error.message : `the check failed: ${error.message}`);
  }
}

// Searching

const FIELDS = ["repo", "commit", "size", "files", "license", "proven", "upstream", "added", "formats", "quants", "copies", "seen"];
const SHOWN = 60;
let loading = null;
let shown = SHOWN;

function checkData(row, accepted) {
  const entry = accepted.entries.get(`${row.repo}@${row.commit}`);
  const same =
    entry && entry.size === row.size && entry.files === row.files && (entry.license ?? null) === row.license &&
    (entry.provenance === "proven") === row.proven && entry.upstream === row.upstream && entry.added === row.added;
  if (!same) throw new Refused(`the search data and the index disagree about ${row.repo}`);
}

function load() {
  loading ??= (async () => {
    const parts = await Promise.all(Array.from({ length: Number(claims.parts) }, (_, number) => checked(`${FOLDER}data-${number}.json`)));
    const rows = parts.flatMap((bytes) => JSON.parse(new TextDecoder().decode(bytes)));
    state.rows = rows.map((values) => Object.fromEntries(FIELDS.map((field, place) => [field, values[place]])));
    for (const row of state.rows) {
      row.words = [row.repo, row.license ?? "", row.formats, row.quants, row.commit].join(" ").toLowerCase();
      if (state.accepted) checkData(row, state.accepted);
    }
    fill("org", state.rows.map((row) => row.repo.split("/")[0]));
    fill("license", state.rows.map((row) => row.license ?? ""));
    fill("format", state.rows.flatMap((row) => row.formats.split(" ")));
    fill("quant", state.rows.flatMap((row) => row.quants.split(" ")));
  })().catch((error) => red(error.message));
  return loading;
}

function fill(id, values) {
  const names = [...new Set(values)].filter(Boolean).sort((one, other) => one.localeCompare(other));
  $(id).append(...names.map((name) => Object.assign(document.createElement("option"), { value: name, textContent: visible(name) })));
}

const chosen = (id) => $(id).value;
const FILTERS = ["org", "class", "license", "format", "quant", "provenance", "health"];
const wanted = () => $("search") && (chosen("q").trim() || chosen("sort") !== "name" || FILTERS.some(chosen));

const HEALTH = {
  few: (row) => row.copies !== null && row.copies < 3,
  some: (row) => row.copies !== null && row.copies >= 3,
  unseen: (row) => row.copies === null,
  gone: (row) => row.upstream === "gone",
};
const ORDER = {
  name: () => 0,
  new: (one, other) => (one.added < other.added ? 1 : one.added > other.added ? -1 : 0),
  large: (one, other) => other.size - one.size,
  small: (one, other) => one.size - other.size,
  copies: (one, other) => (one.copies ?? Infinity) - (other.copies ?? Infinity) || 0,
};

function matching() {
  const words = chosen("q").toLowerCase().split(/\s+/).filter(Boolean);
  const limits = [...$("class").options].map((option) => Number(option.dataset.most || Infinity));
  const size = $("class").selectedIndex;
  const over = size > 1 ? limits[size - 1] : -1;
  const tests = [
    (row) => words.every((word) => row.words.includes(word)),
    chosen("org") && ((row) => row.repo.startsWith(`${chosen("org")}/`)),
    size > 0 && ((row) => row.size > over && row.size <= limits[size]),
    chosen("license") && ((row) => row.license === chosen("license")),
    chosen("format") && ((row) => row.formats.split(" ").includes(chosen("format"))),
    chosen("quant") && ((row) => row.quants.split(" ").includes(chosen("quant"))),
    chosen("provenance") && ((row) => row.proven === (chosen("provenance") === "proven")),
    chosen("health") && HEALTH[chosen("health")],
  ].filter(Boolean);
  return state.rows.filter((row) => tests.every((test) => test(row))).sort(ORDER[chosen("sort")]);
}

function element(tag, values, ...children) {
  const { field, ...rest } = values;
  const found = Object.assign(document.createElement(tag), rest);
  if (field) found.dataset.f = field;
  found.append(...children);
  return found;
}

function drawn(row) {
  const entry = state.accepted?.entries.get(`${row.repo}@${row.commit}`);
  const short = row.commit.slice(0, 8);
  const page = `${claims.root}${sitePath(row.repo)}/index.html`;
  const provenance = row.proven ? "proven" : "unproven";
  const span = (field, text, className = "") => element("span", { field, className, textContent: text });
  const copies = row.seen === null ? "" : `${row.copies === null ? "copies unknown" : row.copies === 1 ? "1 copy" : `${row.copies} copies`}, seen ${row.seen}`;
  const also = [row.formats, row.quants].filter(Boolean).join(" ");
  const get = entry
    ? [element("a", { field: "magnet", href: entry.magnet, textContent: "magnet", ariaLabel: `magnet of ${row.repo} ${short}` }), " ",
       element("a", { field: "torrent", href: claims.root + entry.torrent, textContent: ".torrent", ariaLabel: `torrent of ${row.repo} ${short}` })]
    : [element("a", { href: page, textContent: "open", ariaLabel: `open ${row.repo}` })];
  return element("li", { className: "row" },
    element("a", { className: "name", field: "repo", href: page, textContent: row.repo }),
    element("span", { className: "facts" }, element("code", { field: "commit", textContent: short }), " ",
      span("size", sizeWords(row.size)[1]), " ", span("files", row.files === 1 ? "1 file" : `${row.files} files`), " ", span("license", licenseWords(row.license)), " ",
      span("provenance", provenance, `tag ${provenance}`), " ", span("upstream", upstreamWords(row.repo, row.upstream), `tag ${row.upstream}`), " ", span("added", row.added.slice(0, 10))),
    element("span", { className: "also" }, also, also && copies ? " · " : "", element("span", { textContent: copies })),
    element("span", { className: "get" }, ...get));
}

function foundWords(count, set) {
  if (count) return count === 1 ? "1 snapshot found" : `${count.toLocaleString("en")} snapshots found`;
  return `Nothing found. ${set ? "A filter may leave it out" : "Each word has to stand in the name, license, format or commit"}.`;
}

function show() {
  const found = wanted() ? matching() : null;
  $("all").hidden = found !== null;
  $("results").hidden = found === null;
  $("found").hidden = found === null;
  $("more").hidden = found === null || found.length <= shown;
  $("results").replaceChildren(...(found ?? []).slice(0, shown).map(drawn));
  $("clear").hidden = found === null || found.length > 0;
  const set = FILTERS.filter(chosen).length;
  $("set").textContent = set ? `(${set} set)` : "";
  if (found !== null) $("found").textContent = foundWords(found.length, set);
}

async function search() {
  shown = SHOWN;
  await load();
  show();
}

// A file of the reader's own

async function dropped(file) {
  const answer = $("drop-answer");
  answer.className = "";
  answer.textContent = `Checking ${visible(file.name)} …`;
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (file.name.endsWith(".json")) {
      await check(bytes);
      answer.textContent = html.dataset.verified === "yes" ? "That index is signed; the verdict is above." : "";
      return;
    }
    if (!state.accepted) throw new Refused("the index must pass first: drop index.json here, or see the verdict above");
    const { entry, signers } = await checkTorrent(bytes, state.accepted);
    answer.className = "good";
    answer.textContent = `It is ${entry.repo} at commit ${entry.commit}, as the index lists it, signed by ${signers.map(visible).join(", ")}.`;
  } catch (error) {
    answer.className = "bad";
    answer.textContent = `Not what this publisher lists: ${error.message}.`;
  }
}

// The page begins

function begin() {
  const pinned = memory.get("pinned");
  $("pin").hidden = false;
  $("drop").hidden = false;
  $("pin-forget").hidden = pinned === null;
  if (pinned !== null) $("pin-id").value = pinned;
  $("pin").addEventListener("submit", (event) => {
    event.preventDefault();
    memory.set("pinned", $("pin-id").value.trim().toLowerCase());
    $("pin-forget").hidden = false;
    check();
  });
  $("pin-forget").addEventListener("click", () => {
    memory.set("pinned", null);
    $("pin-id").value = "";
    $("pin-forget").hidden = true;
    check();
  });
  $("drop-file").addEventListener("change", () => $("drop-file").files[0] && dropped($("drop-file").files[0]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files[0]) dropped(event.dataTransfer.files[0]);
  });
  if (onDisk) {
    // It was not verified, which is what programs ask; nothing is known to be wrong either, so that it is not shown in red.
    html.dataset.unchecked = "";
    html.dataset.reason = "not checked: opened from a disk";
    verdict("no", "Not checked, and nothing is known to be wrong: a browser does not let a page opened from a disk read the files beside it.", [
      "Drop index.json on this page: it is checked, and this page is compared with it.",
      "Or serve the folder and open it from there: python3 -m http.server --bind 127.0.0.1 --directory FOLDER",
      `Or ask the program: p2pqwen index verify index.json --publisher ${claims.publisher}`,
    ]);
    return;
  }
  const form = $("search");
  if (form) {
    form.hidden = false;
    $("filters").open = matchMedia("(min-width: 36rem)").matches; // on a phone they would stand between search and results
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("focusin", () => load(), { once: true });
    form.addEventListener("input", search);
    $("clear").addEventListener("click", () => {
      form.reset();
      show();
      $("q").focus();
    });
    $("more").addEventListener("click", () => {
      shown += SHOWN;
      show();
    });
  }
  check();
}

begin();
