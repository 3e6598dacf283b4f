// The live page: shows the messages of the service. Names in archives come from
// strangers, so they are only ever set as text.

import {
  account, byID, byteRate, bytes, clock, count, duration, element, longest, outOf, percent, plot, sampleAt, shortByteRate, sum, write,
} from './draw.js';
import { showChecks, showPressure, showRefusals, showTasks } from './panels.js';

const mostSamples = 300;
const mostRecent = 200;
const retryAfter = 5000; // milliseconds, if the browser does not reconnect by itself
const silentFor = 5000; // milliseconds without a message after which the page is stale

// state
let labels = [];
let history = [];
let moment;
let started;
let heard = 0; // when the last message came, by the browser's clock
let only = ''; // the only outcome that is shown; empty: all
const recent = new Map(); // rows of ended uploads, by number
const active = new Map(); // rows of uploads under way, by id
const before = new Map(); // bytes received of uploads under way, as of the last message, by id

// --- messages ---

function listen() {
  const source = new EventSource('events');
  source.addEventListener('beginning', (event) => begin(JSON.parse(event.data)));
  source.addEventListener('moment', (event) => go(JSON.parse(event.data)));
  source.addEventListener('error', () => {
    lose();
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, retryAfter);
  });
}

// begin starts anew: the service may have been restarted.
function begin(told) {
  labels = told.labels;
  history = told.history;
  started = Date.parse(told.started);
  byID('version').textContent = told.version.version;
  byID('commit').textContent = told.version.commit.slice(0, 12);
  for (const row of recent.values()) row.element.remove();
  recent.clear();
  before.clear();
  for (const legend of document.querySelectorAll('.legend')) {
    legend.replaceChildren(...labels.map((label) => element('li', { 'data-label': label }, label)));
  }
  show(told);
}

function go(told) {
  history.push(told.now);
  history.splice(0, history.length - mostSamples);
  show(told);
}

function show(told) {
  moment = told;
  heard = Date.now();
  showState();
  showPlots();
  showChecks(moment);
  showUploads();
  showPressure(moment);
  showTasks(moment);
  showRefusals(moment);
  for (const ended of told.ended) addRecent(ended);
  showRecent();
}

function lose() {
  const badge = byID('connection');
  badge.dataset.state = 'lost';
  badge.textContent = 'reconnecting';
  const stale = byID('stale');
  stale.hidden = !moment;
  if (moment) stale.textContent = `No message since ${clock(new Date(heard), Date.now())}. This page shows the state at that time.`;
}

// --- header ---

function setBadge(badge, state, text) {
  badge.dataset.state = state;
  badge.textContent = text;
}

function showState() {
  setBadge(byID('connection'), 'live', 'live');
  byID('stale').hidden = true;
  byID('draining').hidden = !moment.draining;
  setBadge(byID('pressure'), moment.pressure.state, moment.pressure.state === 'out' ? 'out of the load balancer' : moment.pressure.state);
  byID('uptime').textContent = `up ${duration((moment.now.at - started) / 1000)}`;
}

// --- plots ---

const plots = [
  {
    title: 'Memory', write: bytes, binary: true,
    series: [{ name: 'memory', filled: true, of: (s) => s.memory }],
    limits: () => [{ name: 'budget', value: moment.memory_total }],
    now: (s) => bytes(s.memory), aside: (s) => outOf(s.memory, moment.memory_total),
  },
  {
    title: 'Spill', write: bytes, binary: true,
    series: [{ name: 'spill', filled: true, of: (s) => s.spill }, { name: 'free', loose: true, of: (s) => (s.free < 0 ? undefined : s.free) }],
    limits: () => (moment.spill_quota > 0 ? [{ name: 'quota', value: moment.spill_quota }] : []),
    now: (s) => bytes(s.spill), aside: (s) => (moment.spill_quota > 0 ? `${outOf(s.spill, moment.spill_quota)}${s.free >= 0 ? `; ${bytes(s.free)} free` : ''}` : 'no disk in use'),
  },
  {
    title: 'Throughput', write: shortByteRate, binary: true,
    series: [{ name: 'received', filled: true, of: (s) => s.received }, { name: 'sent', of: (s) => s.sent }],
    limits: () => [],
    now: (s) => byteRate(s.received), aside: (s) => `received; ${byteRate(s.sent)} sent to S3`,
  },
  {
    title: 'In flight', write: count,
    series: [{ name: 'uploads', filled: true, of: (s) => s.in_flight }, { name: 'waiting', of: (s) => s.memory_wait }],
    limits: () => [],
    now: (s) => count(s.in_flight), aside: (s) => `uploads; ${count(s.memory_wait)} calls wait for memory`,
  },
];

function makePlots() {
  for (const p of plots) {
    p.value = element('strong');
    p.note = element('span', { class: 'quiet' });
    p.svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    p.svg.setAttribute('role', 'img');
    byID('plots').append(element('figure', {}, element('figcaption', {}, element('span', { class: 'plot-title' }, p.title), p.value, p.note), p.svg));
    p.svg.addEventListener('pointermove', (event) => {
      const box = p.svg.getBoundingClientRect();
      p.pointed = (event.clientX - box.left) / box.width;
      if (moment) showPlot(p);
    });
    p.svg.addEventListener('pointerleave', () => {
      p.pointed = undefined;
      if (moment) showPlot(p);
    });
  }
  addEventListener('resize', () => moment && showPlots());
}

function showPlot(p) {
  const { width, height } = p.svg.getBoundingClientRect();
  const now = moment.now.at;
  const pointed = p.pointed === undefined ? undefined : sampleAt(history, now, p.pointed);
  const at = pointed ?? moment.now;
  p.value.textContent = p.now(at);
  p.note.textContent = pointed ? `${p.aside(at)}, at ${clock(new Date(at.at), now)}` : p.aside(at);
  p.svg.setAttribute('aria-label', `${p.title}: ${p.now(at)} ${p.aside(at)}`);
  plot(p.svg, { samples: history, now, width, height, series: p.series, limits: p.limits(), write: p.write, binary: p.binary, pointed });
}

function showPlots() {
  for (const p of plots) showPlot(p);
}

// --- rows ---

// row copies a template. fields are the elements to fill in, by name.
function row(template) {
  const e = byID(template).content.firstElementChild.cloneNode(true);
  const fields = {};
  for (const field of e.querySelectorAll('[data-field]')) fields[field.dataset.field] = field;
  return { element: e, fields };
}

const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

// --- uploads under way ---

function showUploads() {
  const uploads = moment.uploads ?? [];
  const there = new Set(uploads.map((u) => u.id));
  for (const [id, r] of active) {
    if (there.has(id)) continue;
    r.element.remove();
    active.delete(id);
    before.delete(id);
  }
  for (const u of uploads) {
    if (!active.has(u.id)) {
      const r = row('upload-row');
      r.element.dataset.upload = u.id;
      active.set(u.id, r);
      byID('uploads-list').append(r.element);
    }
    showUpload(active.get(u.id).fields, u);
  }
  byID('no-uploads').hidden = uploads.length > 0;
  const more = moment.now.in_flight - uploads.length;
  const stages = ['waiting', 'receiving', 'publishing'].map((stage) => [stage, uploads.filter((u) => u.stage === stage).length]);
  const told = stages.filter(([, n]) => n > 0).map(([stage, n]) => `${n} ${stage}`);
  if (more > 0) told.push(`${more} more`);
  write(byID('stages'), told.join(', '));
}

function showUpload(fields, u) {
  const { shape } = u;
  const wall = sum(u.spent);
  write(fields.stage, u.stage);
  fields.stage.dataset.tone = u.stage;
  write(fields.name, shape.filename || 'no name yet');
  const origin = [u.sender.address && `from\u00a0${u.sender.address}`, shape.host && `${bytes(shape.fetched_bytes)} fetched from ${shape.host}`, shape.try && 'try', `#${u.id}`];
  write(fields.id, origin.filter(Boolean).join(', '));
  fields.id.title = [u.sender.user_agent, `request ${u.sender.request_id}`].filter(Boolean).join(', ');
  write(fields.at, shape.at);
  fields.at.title = shape.at;
  const done = u.stage === 'publishing' ? u.expected : shape.archive_bytes;
  fields.progress.setAttribute('aria-label', `Received of ${shape.filename}`);
  if (u.expected > 0) fields.progress.value = Math.min((100 * done) / u.expected, 100);
  else fields.progress.removeAttribute('value');
  write(fields.bytes, u.expected > 0 ? `${bytes(shape.archive_bytes)} of ${bytes(u.expected)}, ${percent(shape.archive_bytes, u.expected)}` : bytes(shape.archive_bytes));
  write(fields.rate, before.has(u.id) ? byteRate(Math.max(shape.archive_bytes - before.get(u.id), 0)) : '');
  before.set(u.id, shape.archive_bytes);
  write(fields.entries, plural(shape.entries, 'entry', 'entries'));
  account(fields.account, labels, u.spent);
  write(fields.elapsed, duration(wall));
  write(fields.longest, longest(labels, u.spent));
}

// --- recent uploads ---

// addRecent adds an ended upload above the others.
function addRecent(ended) {
  if (recent.has(ended.number)) return;
  const r = row('recent-row');
  const { fields } = r;
  const { sender, shape } = ended;
  r.element.dataset.number = ended.number;
  r.element.dataset.outcome = ended.outcome;
  r.outcome = ended.outcome;
  r.text = [
    shape.filename, shape.host, ended.outcome, ended.reason, ended.message, ended.id, ended.status, shape.biggest, shape.at,
    sender.address, sender.user_agent, sender.request_id, sender.token_digest, ...(shape.kinds ?? []).map((k) => k.name),
  ].join(' ').toLowerCase();
  write(fields.outcome, ended.outcome);
  fields.outcome.dataset.tone = ended.outcome;
  write(fields.reason, `${ended.reason ? `${ended.reason}, ` : ''}${ended.status}`);
  write(fields.name, shape.filename || 'no name');
  write(fields.message, ended.message);
  fields.message.title = ended.message;
  write(fields.address, sender.address);
  fields.address.title = sender.address;
  write(fields.agent, sender.user_agent);
  fields.agent.title = sender.user_agent;
  account(fields.account, labels, ended.spent);
  write(fields.took, duration(sum(ended.spent)));
  write(fields.size, bytes(shape.archive_bytes));
  write(fields.entries, count(shape.entries));
  write(fields.uploaded, count(shape.uploaded));
  write(fields.skipped, count(shape.skipped));
  write(fields.ended, clock(new Date(ended.ended), moment.now.at));
  fields.ended.dateTime = ended.ended;
  // The details are made when they are first shown.
  r.element.firstElementChild.addEventListener('toggle', () => fields.whole.childElementCount || fields.whole.append(...details(ended)), { once: true });
  recent.set(ended.number, r);
  byID('recent-list').prepend(r.element);
  for (const [number, old] of recent) {
    if (recent.size <= mostRecent) break;
    old.element.remove();
    recent.delete(number);
  }
}

// details returns everything about an ended upload.
function details(ended) {
  const { sender, shape } = ended;
  const facts = [
    ['Id', `${ended.id}`],
    ['Request', sender.request_id],
    ['From', [sender.address, sender.user_agent].filter(Boolean).join(', ')],
    ['Token', sender.token_digest],
    ['Symbols', shape.try ? 'try' : 'regular'],
    ...(shape.host ? [['Fetched', `${bytes(shape.fetched_bytes)} from ${shape.host}${shape.unread > 0 ? `, without ${count(shape.unread)} entries that were not needed` : ''}`]] : []),
    ['Archive', `${bytes(shape.archive_bytes)}, expanded ${bytes(shape.expanded_bytes)}`],
    ['Biggest entry', shape.biggest ? `${shape.biggest} (${bytes(shape.biggest_bytes)})` : ''],
    ['Last entry begun', shape.at],
    ['Entries', `${count(shape.entries)}: ${count(shape.uploaded)} uploaded, ${count(shape.skipped)} skipped, ${count(shape.ignored)} ignored`],
    ['Stored in S3', bytes(shape.sent_bytes)],
    ['Peak use', `${bytes(shape.peak_memory_bytes)} of memory, ${bytes(shape.spilled_bytes)} on disk`],
    ['Workers', `${duration(ended.workers)} beside the upload's own time`],
    ['Time', labels.map((label, i) => `${label} ${duration(ended.spent[i])}`).join(', ')],
    ['Answer', `${ended.status} ${ended.message}`],
  ].filter(([, text]) => text);
  const list = element('dl', {}, ...facts.flatMap(([name, text]) => [element('dt', {}, name), element('dd', {}, text)]));
  const kinds = shape.kinds ?? [];
  if (kinds.length === 0) return [list];
  const table = element(
    'table', {}, element('thead', {}, element(
      'tr', {}, element('th', { scope: 'col' }, 'Kind'), element('th', { scope: 'col', class: 'number' }, 'Files'), element('th', { scope: 'col', class: 'number' }, 'Expanded'),
    )),
    element('tbody', {}, ...kinds.map((k) => element(
      'tr', {}, element('th', { scope: 'row' }, k.name), element('td', { class: 'number' }, count(k.files)), element('td', { class: 'number' }, bytes(k.bytes)),
    ))),
  );
  return [list, table];
}

// showRecent applies the filter and updates the counts.
function showRecent() {
  const words = byID('search').value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const r of recent.values()) {
    const hidden = (only && r.outcome !== only) || !words.every((w) => r.text.includes(w));
    if (r.element.hidden !== hidden) r.element.hidden = hidden;
    if (!hidden) found++;
  }
  byID('columns').hidden = found === 0;
  const none = byID('no-recent');
  none.hidden = found > 0;
  write(none, recent.size === 0 ? 'No upload has ended yet.' : 'No upload matches the filter.');
  write(byID('found'), words.length || only ? `${count(found)} of ${count(recent.size)}` : '');
  showTotals();
}

function showTotals() {
  const totals = byID('totals');
  for (const [outcome, n] of Object.entries(moment.outcomes ?? {}).sort()) {
    let button = totals.querySelector(`[data-outcome="${CSS.escape(outcome)}"]`);
    if (!button) {
      button = element('button', { type: 'button', 'data-outcome': outcome }, element('span', { class: 'pill', 'data-tone': outcome }, outcome), element('strong'));
      button.addEventListener('click', () => {
        only = only === outcome ? '' : outcome;
        showRecent();
      });
      totals.append(button);
    }
    button.setAttribute('aria-pressed', only === outcome);
    write(button.lastElementChild, count(n));
  }
}

makePlots();
byID('search').addEventListener('input', () => moment && showRecent());
setInterval(() => heard && Date.now() - heard > silentFor && lose(), 1000);
listen();
