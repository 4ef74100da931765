"use strict";
// Every text comes from a document that may hold any name: it only ever becomes textContent, never markup.
const EVERY_MS = 1000, LATE_MS = 4000, QUIET_S = 5;
const at = (id) => document.getElementById(id);
let last = null, lastAt = 0, goneSince = null, asking = false;
const open = new Set();

function el(tag, className, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  for (const c of children) if (c !== null && c !== undefined) e.append(c instanceof Node ? c : String(c));
  return e;
}
const whole = (n) => n === null || n === undefined ? "–" : Math.round(n).toLocaleString("en-US");
function short(x) {
  if (x === null || x === undefined) return "NaN";
  const a = Math.abs(x);
  if (a !== 0 && (a >= 1e6 || a < 1e-4)) return x.toExponential(2);
  return Number(x.toPrecision(5)).toLocaleString("en-US", { maximumSignificantDigits: 5 });
}
function span(ns) {
  if (ns === null || ns === undefined) return "–";
  for (const [unit, size] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) if (ns >= size) return Number((ns / size).toPrecision(3)) + " " + unit;
  return Math.round(ns) + " ns";
}
function ago(s) {
  if (s < 90) return Math.round(s) + " s";
  if (s < 5400) return Math.round(s / 60) + " min";
  return s < 172800 ? (s / 3600).toFixed(1) + " h" : Math.round(s / 86400) + " days";
}
function clock(ns) {
  const d = new Date(ns / 1e6);
  return isNaN(d) ? "–" : d.toISOString().slice(11, 23);
}
function moment(ns) {
  const text = clock(ns);
  return el("span", "", text.slice(0, 8), el("span", "wide", text.slice(8)));
}
function day(ns) {
  const d = new Date(ns / 1e6);
  return isNaN(d) ? "" : d.toISOString().slice(0, 10);
}
const share = (part, all) => all > 0 ? (100 * part / all).toFixed(part / all < 0.1 ? 2 : 1) + " %" : "–";
function bar(part) {
  const i = el("i");
  i.style.width = Math.max(0, Math.min(1, part)) * 100 + "%";
  return el("span", "bar wide", i);
}
function table(names, rows, right) {
  const head = el("tr");
  names.forEach((n, k) => head.append(el("th", right.includes(k) ? "right" : "", n)));
  const body = el("tbody");
  for (const row of rows) {
    const tr = el("tr");
    row.forEach((c, k) => tr.append(el("td", right.includes(k) ? "right" : "", c)));
    body.append(tr);
  }
  return el("div", "scroll", el("table", "", el("thead", "", head), body));
}
function put(id, ...children) {
  const e = at(id);
  const boxes = [...e.querySelectorAll(".scroll")].map((b) => b.scrollTop);
  e.replaceChildren(...children);
  e.querySelectorAll(".scroll").forEach((b, k) => { if (boxes[k]) b.scrollTop = boxes[k]; });
}
function folded(key, title, ...children) {
  const d = el("details", "", el("summary", "", title), ...children);
  d.open = open.has(key);
  d.addEventListener("toggle", () => d.open ? open.add(key) : open.delete(key));
  return d;
}
const chip = (kind, text) => el("span", "chip " + kind, text);

function notices(d) {
  const out = [], say = (kind, text) => out.push(el("div", "notice " + kind, text));
  if (goneSince !== null)
    say("bad", "The runtime does not answer since " + new Date(goneSince).toLocaleTimeString() + ". What is shown is " + ago((Date.now() - lastAt) / 1000) + " old.");
  if (d === null) return out;
  if (d.kill.killed) say("bad", "All is killed: every decision is HOLD, KILLED." + (d.kill.why ? " Why: " + d.kill.why : "") + (d.kill.latch.length ? " Latch: " + d.kill.latch.join(", ") : ""));
  else if (d.kill.latch.length) say("bad", "The latch silences: " + d.kill.latch.join(", "));
  if (!d.kill.killed && d.kill.models.length) say("bad", "Killed: " + d.kill.models.join(", "));
  if (d.kill.halted.length) say("bad", "Halted: " + d.kill.halted.join(", "));
  for (const m of d.models) {
    if (m.breaker.tripped) say("bad", m.seat + " is not listened to: the breaker tripped (" + m.breaker.tripped + ").");
    if (m.why) say("bad", m.seat + " cannot decide: " + m.why);
    if (m.inactive) say("bad", m.seat + " may not decide: " + m.inactive);
    if (m.production && m.production !== m.name) say("", m.seat + ": the registry's production version is " + m.production + ", " + m.name + " serves.");
    if (m.simulated) say("", m.seat + " was trained on simulated data (" + m.trained_on.join(", ") + ").");
  }
  if (d.audit && !d.audit.healthy) say("bad", "The audit log is not well: " + (d.audit.failed || (d.audit.blocked ? "it blocks decisions" : whole(d.audit.dropped) + " records were dropped")));
  if (d.counters.lost) say("bad", whole(d.counters.lost) + " events or signals were lost between threads.");
  if (d.reload.failed) say("", "The last reload failed: " + d.reload.failed);
  if (d.reload.pending) say("tell", d.reload.pending + " is warming up and takes over when it is warm.");
  if (d.note) say("tell", d.note);
  return out;
}

function state(d) {
  const e = at("state");
  e.className = "";
  if (goneSince !== null || d === null) { e.className = "gone"; e.replaceChildren(el("b", "", d === null ? "no answer yet" : "gone")); return; }
  let word = "live";
  if (d.mode === "closed") { word = "closed"; e.className = "gone"; }
  else if (d.quiet_s > QUIET_S) { word = "no new event for " + ago(d.quiet_s); e.className = "old"; }
  const mode = d.mode === "worker" ? "worker thread" : d.mode;
  e.replaceChildren(el("b", "", "● " + word), " · " + mode + " · " + (d.governed ? "governed" : "ungoverned") + " · watched for " + ago(d.up_s) + " · alpha " + d.build.version + " (" + d.build.isa + ")");
}

function figures(d) {
  const c = d.counters, l = d.latency;
  const rows = [["events", whole(c.events)], ["signals", whole(c.decisions)], ["BUY", whole(c.actions.BUY), "BUY"], ["SELL", whole(c.actions.SELL), "SELL"],
    ["HOLD", share(c.actions.HOLD, c.decisions)], ["rejected events", whole(c.rejected)]];
  if (l.measured) rows.push(["latency p50", span(l.p50)], ["latency p99", span(l.p99)]);
  put("figures", ...rows.map(([k, v, c]) => el("div", "figure", el("b", c || "", v), el("span", "", k))));
}

function signals(d) {
  const only = at("acted").checked, list = only ? d.acted : d.signals, many = d.models.length > 1;
  if (!list.length) { put("signals", el("p", "soft", only ? "No BUY or SELL was seen yet." : "No signal was seen yet.")); return; }
  const names = ["time (UTC)", "action", "confidence", "reason", "price"];
  const rows = list.map((s) => {
    const row = [moment(s.ts_event_ns), el("span", s.action, s.action), el("span", "", bar(s.confidence), s.confidence === null ? "–" : s.confidence.toFixed(3)), s.reason, short(s.ref_px)];
    if (many) row.push((d.models.find((m) => m.slot === s.slot) || { seat: "?" }).seat + (s.shadow ? " (shadow)" : ""));
    return row;
  });
  if (many) names.push("model");
  const how = d.signals_complete ? "The last of every signal" : "As each look found them; the audit log has every one";
  put("signals", table(names, rows, [4]), el("p", "soft", how + ". " + day(list[0].ts_event_ns)));
}

const limited = (x, limit) => limit === null || limit === undefined ? short(x) : short(x) + (x > limit ? " > " : " of ") + short(limit);
function feature(f) {
  const e = el("div", "feature" + (f.outside ? " out" : "") + (f.ready ? "" : " cold"), el("div", "", f.name));
  const cell = el("div", "track-cell"), track = el("div", "track", el("div", "all"));
  if (f.low !== null && f.high !== null) {
    track.append(el("div", "range"));
    const width = f.high - f.low, dot = el("div", "dot");
    // the training range takes the middle three fifths
    if (f.raw !== null) {
      const place = width > 0 ? (f.raw - f.low) / width : f.raw === f.low ? 0.5 : f.raw > f.low ? 9 : -9;
      dot.style.left = Math.max(1, Math.min(99, 20 + 60 * place)) + "%";
      track.append(dot);
    }
    cell.append(track, el("div", "ends", el("span", "", short(f.low)), el("span", "", short(f.high))));
  }
  const value = el("div", "value", short(f.raw));
  if (!f.ready) value.append(" ", chip("", "not warm"));
  else if (f.outside) value.append(" ", chip("bad", f.raw === null ? "not finite" : f.low !== null && f.raw < f.low ? "below" : "above"));
  e.append(cell, value);
  return e;
}
function features(d) {
  const seats = Object.entries(d.features);
  if (!seats.length) { put("features", el("p", "soft", d.features_why || "These models read no features.")); return; }
  const box = el("div", "scroll");
  for (const [seat, list] of seats) {
    const out = list.filter((f) => f.outside && f.ready).length;
    const seen = (d.instruments.find((i) => i.symbol === d.chosen) || { checks: {} }).checks[seat] || {};
    const model = d.models.find((m) => m.seat === seat) || {};
    const line = [seat, out ? out + " of " + list.length + " outside" : "all " + list.length + " inside"];
    if (!list.some((f) => f.low !== null)) line[1] = "no training ranges in its metadata";
    if (seen.psi !== null && seen.psi !== undefined) line.push("PSI " + limited(seen.psi, model.psi_limit) + " (" + seen.psi_feature + ")");
    if (seen.distance !== null && seen.distance !== undefined) line.push("distance " + limited(seen.distance, model.distance_limit));
    box.append(el("p", "seat", line.join(" · ")), ...list.map(feature));
  }
  put("features", box);
}

function reasons(d) {
  if (!d.reasons.length) { put("reasons", el("p", "soft", "No signal yet.")); return; }
  const all = d.counters.decisions, list = [...d.reasons].sort((a, b) => b.count - a.count);
  const rows = list.map((r) => [el("div", "", el("b", "", r.name), el("div", "soft", r.meaning), folded("reason " + r.name, "what to do", r.remedy)), whole(r.count), share(r.count, all)]);
  put("reasons", table(["reason", "count", "share"], rows, [1, 2]));
}

function latency(d) {
  const l = d.latency;
  if (!l.measured) { put("latency", el("p", "soft", "Not measured: rt.measure_latency() starts it, at about 40 ns an event.")); return; }
  if (!l.count) { put("latency", el("p", "soft", "No signal was measured yet.")); return; }
  const parts = el("div", "percentiles");
  for (const k of ["p50", "p99", "p999", "max"]) parts.append(el("span", "", el("span", "soft", (k === "p999" ? "p99.9" : k) + " "), el("b", "", span(l[k]))));
  const counts = l.buckets.map((n, k) => n - (k ? l.buckets[k - 1] : 0));
  const first = counts.findIndex((n) => n > 0);
  let to = counts.length - 1;
  while (to > first && counts[to] === 0) to--;
  const from = Math.max(0, first - 1), most = Math.max(1, ...counts), drawn = el("div", "histogram");
  const edge = (k) => Math.pow(2, 6 + k) - 1;
  for (let k = from; k <= to; k++) {
    const i = el("i");
    i.style.height = counts[k] ? Math.max(2, 100 * counts[k] / most) + "%" : "0";
    i.title = "up to " + span(edge(k)) + ": " + whole(counts[k]);
    drawn.append(i);
  }
  put("latency", parts, drawn, el("div", "axis", el("span", "", k0(from) + span(edge(from))), el("span", "", span(edge(to)))), el("p", "soft", whole(l.count) + " events that made a signal; each bar is twice as long as the one before"));
}
const k0 = (k) => k === 0 ? "≤ " : "";

function instruments(d) {
  at("instruments-part").hidden = d.instruments.length < 2;
  const rows = d.instruments.map((i) => {
    const name = el("button", "link", i.symbol), s = i.latest, marks = el("span");
    name.addEventListener("click", () => { at("instrument").value = i.symbol; ask(); });
    if (i.halted) marks.append(chip("bad", "halted"));
    if (i.killed) marks.append(chip("bad", "killed"));
    if (i.gap) marks.append(chip("warn", "gap"));
    for (const [seat, c] of Object.entries(i.checks)) {
      if (c.outside) marks.append(chip("warn", seat + ": out of range"));
      const limit = (d.models.find((m) => m.seat === seat) || {}).psi_limit;
      if (c.psi !== null) marks.append(chip(c.psi > limit ? "warn" : "", seat + ": PSI " + limited(c.psi, limit)));
    }
    return [name, s ? el("span", s.action, s.action) : "–", s && s.confidence !== null ? s.confidence.toFixed(3) : "–", s ? s.reason : "–", s ? moment(s.ts_event_ns) : "–", marks];
  });
  const more = d.instruments_not_shown ? el("p", "soft", whole(d.instruments_not_shown) + " more are not shown.") : null;
  put("instruments", table(["instrument", "last action", "confidence", "reason", "time (UTC)", ""], rows, []), ...(more ? [more] : []));
}

function models(d) {
  put("models", ...d.models.map((m) => {
    const e = el("div", "model"), title = el("h3", "", m.seat + (m.name && m.name !== m.seat ? " · " + m.name : "") + " "), chips = el("div");
    if (m.status) chips.append(chip(m.status === "production" ? "good" : "warn", m.status));
    if (m.ensemble) chips.append(chip("", "ensemble, " + m.ensemble));
    else chips.append(chip(m.governed ? "good" : "warn", m.governed ? "governed" : "ungoverned"));
    if (d.models.length > 1) chips.append(chip("", m.mode));
    chips.append(chip(m.loaded ? "good" : "bad", m.loaded ? "loaded" : "not loaded"));
    chips.append(chip(m.breaker.tripped ? "bad" : "good", m.breaker.tripped ? "breaker: " + m.breaker.tripped : "breaker closed"));
    if (m.killed) chips.append(chip("bad", "killed"));
    const t = m.threshold, list = el("dl");
    const add = (k, v) => list.append(el("dt", "", k), el("dd", "", v));
    add("threshold", short(t.in_force) + (t.in_force !== t.declared ? " (declared " + short(t.declared) + ")" : ""));
    add("decisions", whole(m.decisions) + ": BUY " + whole(m.actions.BUY) + ", SELL " + whole(m.actions.SELL) + (m.emitted !== m.decisions ? "; emitted " + whole(m.emitted) : ""));
    if (!m.ensemble) {
      add("engine", m.engine + (m.precision && m.precision !== "float32" ? ", " + m.precision : "") + (m.engine_reason ? ": " + m.engine_reason : ""));
      add("model sha256", el("code", "", m.sha256 || "–"));
      add("features sha256", el("code", "", m.definition || "–"));
    }
    if (m.valid_until_ns !== null) add("valid until", day(m.valid_until_ns) + " " + clock(m.valid_until_ns));
    e.append(title, chips, list);
    return e;
  }));
}

function rest(d) {
  const list = el("dl"), add = (k, v) => list.append(el("dt", "", k), el("dd", "", v));
  add("kill", d.kill.killed ? "set" : "not set");
  add("halted", d.kill.halted.length ? d.kill.halted.join(", ") : "none");
  if (d.worker) {
    add("worker", (d.worker.running ? "runs" : "stopped") + (d.worker.pinned ? ", pinned" : "") + "; " + whole(d.worker.processed) + " events");
    add("ring", whole(d.worker.backlog) + " of " + whole(d.worker.capacity) + " waiting, " + whole(d.worker.dropped) + " dropped; signals lost " + whole(d.worker.lost_signals));
  }
  add("audit log", d.audit ? d.audit.file + ", " + (d.audit.healthy ? "well" : "not well") + "; " + whole(d.audit.synced) + " of " + whole(d.audit.acknowledged) + " records on the disk" : "none");
  add("reload", whole(d.reload.swaps) + " takeovers" + (d.reload.pending ? ", " + d.reload.pending + " is warming up" : ""));
  if (d.registry) add("registry", d.registry.file + (d.registry.why ? ": " + d.registry.why : ", revision " + d.registry.revision));
  const bad = Object.entries({ ...d.counters.rejected_by, ...d.counters.bad_rows });
  add("refused", bad.length ? bad.map(([k, n]) => k + " " + whole(n)).join(", ") : "nothing");
  const unlike = Object.entries(d.counters.unlike);
  if (unlike.length) add("unlike training", unlike.map(([k, n]) => k + " " + whole(n)).join(", "));
  add("this look", span(d.took_s * 1e9));
  put("rest", list);
}

function choices(d) {
  const e = at("instrument"), want = d.instruments.map((i) => i.symbol);
  if (want.length === e.options.length && want.every((w, k) => e.options[k].value === w)) return;
  const chosen = e.value || d.chosen;
  e.replaceChildren(...want.map((w) => { const o = el("option", "", w); o.value = w; return o; }));
  if (want.includes(chosen)) e.value = chosen;
}

function draw() {
  document.body.classList.toggle("gone", goneSince !== null);
  at("notices").replaceChildren(...notices(last));
  state(last);
  if (last === null) return;
  at("name").textContent = last.models.length > 1 ? last.models.map((m) => m.seat).join(", ") : last.name;
  document.title = last.name + " · alpha";
  for (const part of [choices, figures, signals, features, reasons, latency, instruments, models, rest]) part(last);
}

async function ask() {
  if (asking) return;
  asking = true;
  const stop = new AbortController(), timer = setTimeout(() => stop.abort(), LATE_MS);
  try {
    const chosen = at("instrument").value;
    const answer = await fetch("status.json" + (chosen ? "?instrument=" + encodeURIComponent(chosen) : ""), { signal: stop.signal });
    if (!answer.ok) throw new Error(await answer.text());
    last = await answer.json();
    lastAt = Date.now();
    goneSince = null;
  } catch (error) {
    if (goneSince === null) goneSince = Date.now();
  } finally {
    clearTimeout(timer);
    asking = false;
    draw();
  }
}

at("instrument").addEventListener("change", ask);
at("acted").addEventListener("change", draw);
setInterval(() => { if (!document.hidden) ask(); }, EVERY_MS);
document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
ask();
