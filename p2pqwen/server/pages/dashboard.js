"use strict";
// The dashboard of a node. The URL has a ticket for the token, or the token itself, after the #, which no browser sends.
// The token stays in this tab. Every text from the node is inserted as text, never as HTML.

const $ = (id) => document.getElementById(id);
const rows = new Map();
const [, ticket] = location.hash.match(/^#ticket=(.*)$/) ?? [];
let token = (ticket ? "" : location.hash.slice(1)) || sessionStorage.getItem("p2pqwen token") || "";
if (location.hash) history.replaceState(null, "", "/");

function words(size) {
  let value = size;
  for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
    if (value < 999.5 || unit === "TB") return unit === "B" ? `${value} B` : `${value.toPrecision(3)} ${unit}`;
    value /= 1000;
  }
}

function element(tag, values = {}, ...children) {
  const found = Object.assign(document.createElement(tag), values);
  found.append(...children);
  return found;
}

async function call(method, path, body) {
  const options = { method, headers: { Authorization: `Bearer ${token}` }, cache: "no-store" };
  if (body !== undefined) options.body = JSON.stringify(body);
  const answer = await fetch(path, options);
  const said = await answer.json();
  if (!answer.ok) throw new Error((said.error ?? said).what ?? `HTTP ${answer.status}`);
  return said;
}

async function act(what, method, path, body) {
  try {
    await call(method, path, body);
    $("answer").textContent = `${what}: done.`;
  } catch (error) {
    $("answer").textContent = `${what}: ${error.message}`;
  }
}

function sure(text, yes = "Remove it", no = "Keep it") {
  $("sure-text").textContent = text;
  $("sure-yes").textContent = yes;
  $("sure-no").textContent = no;
  const dialog = $("sure");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((go) => dialog.addEventListener("close", () => go(dialog.returnValue === "yes"), { once: true }));
}

function plot(id, up, down) {
  const most = Math.max(1, ...up, ...down);
  const width = $(id).viewBox.baseVal.width;
  const line = (values) => values.map((value, place) => `${place ? "L" : "M"}${(width - values.length + place).toFixed(0)} ${(58 - (56 * value) / most).toFixed(1)}`).join("");
  $(id).querySelector(".up").setAttribute("d", line(up));
  $(id).querySelector(".down").setAttribute("d", line(down));
  return most;
}

// What each row adds to the charts over all rows; a picture has only the rows that changed.
const states = new Map();

function drawPeers() {
  const counts = { TCP: 0, uTP: 0, WebRTC: 0 };
  for (const row of states.values()) {
    const utp = Math.min(row.utp_peers, row.peers), webrtc = Math.min(row.webrtc_peers, row.peers - utp);
    counts.uTP += utp;
    counts.WebRTC += webrtc;
    counts.TCP += row.peers - utp - webrtc;
  }
  const all = Math.max(1, counts.TCP + counts.uTP + counts.WebRTC);
  let before = 0;
  Object.values(counts).forEach((count, place) => {
    const bar = $("peers").querySelectorAll("rect")[place], width = (360 * count) / all;
    bar.setAttribute("x", before.toFixed(1));
    bar.setAttribute("width", width.toFixed(1));
    before += width;
  });
  $("peers-now").textContent = `· ${Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ")}`;
}

function drawScrubs(due) {
  const most = Math.max(1, ...due);
  $("scrubs").querySelector("path").setAttribute("d", due.map((count, day) => `M${10 * day + 5} 60v${(-56 * count) / most}`).join(""));
  $("scrubs-now").textContent = `· ${due[0]} today, ${due.reduce((sum, one) => sum + one, 0)} in ${due.length - 1} days`;
}

// The text and class of each cell in a row.
const dangers = new Map();
const HEALTH = { good: "good", damaged: "bad" }, DANGER = { "well kept": "good", thin: "good", "lost?": "bad", critical: "bad", endangered: "wait" };
const CELLS = {
  state: (row) => [row.progress < 1 ? `${row.state} ${Math.floor(row.progress * 100)} %` : row.state, row.health === "good" ? "" : "wait"],
  health: (row) => [row.health, HEALTH[row.health] ?? "wait"],
  danger: (row, name) => [dangers.get(name) ?? "unknown", DANGER[dangers.get(name)] ?? ""],
  size: (row) => [words(row.size), "number"],
  peers: (row) => [`${row.peers} (${row.seeds} seeds)`, "number"],
  up: (row) => [`${words(row.upload_rate)}/s`, "number"],
  down: (row) => [`${words(row.download_rate)}/s`, "number"],
  ratio: (row) => [String(row.ratio), "number"],
  standing: (row) => [row.standing, ""],
  scrub: (row) => [row.last_scrub ? row.last_scrub.slice(0, 10) : "never", "number"],
};
const ACTIONS = [
  (row) => (row.state === "paused" ? ["Resume", "resume"] : ["Pause", "pause"]),
  (row) => (row.pinned ? ["Unpin", "unpin"] : ["Pin", "pin"]),
  () => ["Remove", "remove"],
];

async function carryOut(name, action) {
  const row = states.get(name), [label, path] = action(row);
  if (path === "remove" && !(await sure(`Delete ${name}, ${words(row.size)}, from this node's disks?`))) return;
  await act(`${label} ${name}`, "POST", `/v1/snapshots/${path}`, { target: name });
}

function newRow(name, row) {
  const buttons = ACTIONS.map((action) => element("button", { type: "button", onclick: () => carryOut(name, action) }));
  const line = element("tr", {},
    element("th", { scope: "row" }, element("span", { textContent: row.repo }), " ", element("code", { textContent: row.commit.slice(0, 8) })),
    ...Object.keys(CELLS).map(() => element("td")), element("td", { className: "actions" }, ...buttons));
  line.dataset.name = name.toLowerCase();
  return line;
}

// Only changed cells and buttons are updated, so that a button keeps the focus while the rates beside it move.
function drawRow(line, name, row) {
  Object.values(CELLS).forEach((cell, place) => {
    const [text, className] = cell(row, name), there = line.cells[place + 1];
    if (there.textContent !== text) there.textContent = text;
    if (there.className !== className) there.className = className;
  });
  ACTIONS.forEach((action, place) => {
    const [label] = action(row), button = line.lastElementChild.children[place];
    if (button.textContent === label) return;
    button.textContent = label;
    button.ariaLabel = `${label} ${name}`;
  });
}

const jobs = new Map();

function drawFetches(fetches) {
  const here = new Set(fetches.map((job) => job.id));
  for (const [id, line] of jobs) {
    if (here.has(id)) continue;
    line.remove();
    jobs.delete(id);
  }
  for (const job of fetches) {
    const name = job.repo ? `${job.repo}@${(job.commit ?? "").slice(0, 8)}` : job.target;
    if (!jobs.has(job.id)) {
      const stop = element("button", { type: "button", textContent: "Stop", onclick: () => act(`Stop ${name}`, "DELETE", `/v1/fetches/${job.id}`) });
      jobs.set(job.id, element("li", {}, element("span"), " ", stop));
      $("fetches").append(jobs.get(job.id));
    }
    const [said, stop] = jobs.get(job.id).children;
    stop.ariaLabel = `Stop ${name}`;
    const text = `${name}: ${job.state}, ${words(job.done)}${job.total ? ` of ${words(job.total)}` : ""}${job.error ? `; ${job.error}` : ""}`;
    if (said.textContent !== text) said.textContent = text;
  }
}

function drawAlerts(alerts) {
  const lines = alerts.map((one) => element("li", { className: one.level, textContent: one.about ? `${one.about}: ${one.text}` : one.text }));
  $("alerts").replaceChildren(...(lines.length ? lines : [element("li", { className: "none", textContent: "Nothing needs you." })]));
}

function filter() {
  const word = $("filter").value.toLowerCase();
  for (const line of rows.values()) line.hidden = !line.dataset.name.includes(word);
}

function draw(picture) {
  document.body.dataset.state = "live";
  $("key").hidden = true;
  $("all").hidden = false;
  const network = picture.network;
  const reach = network.incoming ? "reached from outside" : "not reached from outside yet";
  $("node").textContent = `Process ${picture.node.pid} accepts peers on ${picture.node.listen}; ${reach}${network.dht_nodes === null ? "" : `; ${network.dht_nodes} DHT nodes`}.`;
  for (const name of picture.gone) {
    if (rows.get(name)?.contains(document.activeElement)) $("filter").focus();
    rows.get(name)?.remove();
    rows.delete(name);
    states.delete(name);
  }
  for (const row of picture.snapshots) {
    const name = `${row.repo}@${row.commit}`;
    if (!rows.has(name)) {
      rows.set(name, newRow(name, row));
      $("rows").append(rows.get(name));
    }
    states.set(name, row);
    drawRow(rows.get(name), name, row);
  }
  if (picture.dangers) {
    dangers.clear();
    for (const [name, danger] of Object.entries(picture.dangers)) dangers.set(name, danger);
    for (const [name, line] of rows) drawRow(line, name, states.get(name));
  }
  if (picture.snapshots.length || picture.gone.length) {
    filter();
    drawPeers();
  }
  if (picture.scrubs) drawScrubs(picture.scrubs);
  $("count").textContent = `(${rows.size})`;
  if (picture.alerts) drawAlerts(picture.alerts);
  $("folders").replaceChildren(...picture.folders.map((one) => element("li", { textContent: `${one.path}: ${one.room === null ? "not here" : `${words(one.room)} free beyond the reserve`}${one.failing ? `; failing: ${one.failing}` : ""}` })));
  drawFetches(picture.fetches);
  const limits = picture.limits;
  const quota = limits.monthly_upload ? ` of ${words(limits.monthly_upload)}` : "";
  $("limits").textContent = `${words(limits.uploaded_this_month)}${quota} sent this month. Hours: ${limits.hours.length ? limits.hours.join(", ") : "always"}. ${limits.may_upload ? "Uploading is allowed now." : limits.reason}`;
  for (const [id, value, unit] of [["upload", limits.upload, "/s"], ["download", limits.download, "/s"], ["quota", limits.monthly_upload, ""]]) {
    $(id).placeholder = value ? words(value) + unit : "none";
  }
  const watch = picture.watch;
  $("watch").textContent = watch ? `Last round ${watch.started ?? "never"}${watch.running ? ", running" : ""}; next ${watch.next ?? "not planned"}.` : "Nothing is watched.";
  if (picture.rates) {
    const { hour_up, hour_down, day_up, day_down } = picture.rates;
    plot("hour", hour_up, hour_down);
    $("hour-now").textContent = `· now ${words(hour_up.at(-1) ?? 0)}/s up, ${words(hour_down.at(-1) ?? 0)}/s down`;
    const most = plot("day", day_up, day_down);
    $("day-most").textContent = day_up.length ? `· most ${words(most)}/s` : "· the first point comes after five minutes";
  }
}

function locked(reason) {
  document.body.dataset.state = "locked";
  $("node").textContent = reason;
  $("all").hidden = true;
  $("key").hidden = false;
}

async function follow() {
  for (;;) {
    try {
      const answer = await fetch("/v1/pictures", { headers: { Authorization: `Bearer ${token}`, Accept: "text/event-stream" }, cache: "no-store" });
      if (answer.status === 401) return locked("Locked.");
      if (!answer.ok) throw new Error((await answer.json()).error?.what ?? `HTTP ${answer.status}`);
      sessionStorage.setItem("p2pqwen token", token);
      for (const line of rows.values()) line.remove();
      rows.clear();
      states.clear();
      dangers.clear();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let held = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        held += part.value;
        const events = held.split("\n\n");
        held = events.pop();
        for (const event of events) {
          const picture = JSON.parse(event.replace(/^data: /, ""));
          if (picture.error) throw new Error(picture.error.what);
          draw(picture);
        }
      }
    } catch (error) {
      $("node").textContent = `The node does not answer: ${error.message}. Trying again …`;
    }
    document.body.dataset.state = "waiting";
    await new Promise((go) => setTimeout(go, 3000));
  }
}

$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  follow();
});
$("fetch").addEventListener("submit", (event) => {
  event.preventDefault();
  const target = $("target").value.trim();
  act(`Fetch ${target}`, "POST", "/v1/fetches", { target });
});
let planned = null;

function showPlan(plan) {
  planned = plan;
  $("plan").hidden = !plan;
  if (!plan) return;
  $("plan-rows").replaceChildren(...plan.chosen.map((one) => element("tr", {},
    element("th", { scope: "row", textContent: `${one.repo}@${one.commit.slice(0, 8)}` }), element("td", { textContent: words(one.size), className: "number" }),
    element("td", { textContent: one.license ?? "none named" }), element("td", { textContent: one.reason }))));
  $("plan-sum").textContent = `${plan.chosen.length} chosen, ${words(plan.bytes)}; with ${words(plan.used)} held that is ${words(plan.bytes + plan.used)} of ${words(plan.budget)}.`;
  $("plan-go").hidden = !plan.chosen.length;
}
$("adopt").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("answer").textContent = "";
  try {
    showPlan(await call("POST", "/v1/adopt/plan", { budget: $("budget").value.trim() }));
  } catch (error) {
    showPlan(null);
    $("answer").textContent = `Plan: ${error.message}`;
  }
});
$("plan-no").addEventListener("click", () => showPlan(null));
$("plan-go").addEventListener("click", async () => {
  const { chosen, bytes, budget } = planned;
  if (!(await sure(`Fetch ${chosen.length} snapshots, ${words(bytes)}?`, "Fetch them", "Not now"))) return;
  await act("Adopt", "POST", "/v1/adopt", { budget: String(budget), snapshots: chosen.map((one) => `${one.repo}@${one.commit}`) });
  showPlan(null);
});
$("set-limits").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = { upload: $("upload").value.trim(), download: $("download").value.trim(), monthly_upload: $("quota").value.trim(), hours: $("hours").value.trim() };
  await act("Set limits", "PUT", "/v1/limits", Object.fromEntries(Object.entries(given).filter(([, text]) => text)));
  event.target.reset();
});
$("scrub").addEventListener("click", () => act("Look for bit rot", "POST", "/v1/scrub", {}));
$("filter").addEventListener("input", filter);

async function enter() {
  if (ticket) {
    try {
      token = (await call("POST", "/v1/session", { ticket })).token;
    } catch (error) {
      if (!token) return locked(`Locked: ${error.message}.`);
    }
  }
  if (token) follow();
  else locked("Locked.");
}

enter();
