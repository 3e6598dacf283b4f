// Formatting and drawing: numbers as text, accounts as bars, samples as plots.
// Nothing here has state or knows the rest of the page.

const noBreak = '\u00a0';
const dash = '–';

// --- numbers as text ---

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

// bytes formats a size with three significant digits.
export function bytes(n) {
  let unit = 0;
  while (Math.abs(n) >= 1000 && unit < byteUnits.length - 1) {
    n /= 1024;
    unit++;
  }
  const digits = unit === 0 || n >= 100 ? 0 : n >= 10 ? 1 : 2;
  return `${n.toFixed(digits)}${noBreak}${byteUnits[unit]}`;
}

// shortBytes formats a size for an axis, where most sizes are round.
const shortBytes = (n) => bytes(n).replace(/\.0+(?=\D)/, '').replace(/(\.\d)0(?=\D)/, '$1');

export const byteRate = (n) => `${bytes(n)}/s`;
export const shortByteRate = (n) => `${shortBytes(n)}/s`;
export const count = (n) => n.toLocaleString('en').replaceAll(',', '\u202f');

export function duration(seconds) {
  const two = (n) => String(n).padStart(2, '0');
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)}${noBreak}ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)}${noBreak}s`;
  const s = Math.round(seconds);
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)}${noBreak}min`;
  if (s < 86400) return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}${noBreak}h`;
  return `${Math.floor(s / 86400)}${noBreak}d ${Math.floor(s / 3600) % 24}${noBreak}h`;
}

export function percent(part, whole) {
  if (!(whole > 0)) return `0${noBreak}%`;
  const p = (part / whole) * 100;
  return p > 0 && p < 1 ? `<${noBreak}1${noBreak}%` : `${Math.round(p)}${noBreak}%`;
}

const clockFormat = new Intl.DateTimeFormat('en-GB', { timeStyle: 'medium' });
const dayFormat = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });

// clock formats a time of day, with the date unless it is today's.
export function clock(time, now) {
  const sameDay = time.toDateString() === new Date(now).toDateString();
  return sameDay ? clockFormat.format(time) : `${dayFormat.format(time)} ${clockFormat.format(time)}`;
}

// --- elements ---

export const byID = (id) => document.getElementById(id);

// write sets a text if it has changed, so that a selection is kept.
export function write(field, text) {
  if (field.textContent !== text) field.textContent = text;
}

// element makes an element. Strings in content become text, never markup.
export function element(tag, attributes = {}, ...content) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...content);
  return e;
}

// --- accounts ---

export const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

// longest names the label with the most time.
export function longest(labels, spent) {
  const wall = sum(spent);
  if (!(wall > 0)) return '';
  const most = spent.indexOf(Math.max(...spent));
  return `${labels[most]} ${percent(spent[most], wall)}`;
}

// account shows in a bar where the time went. Elements are kept between updates. A
// label without time has no width.
export function account(bar, labels, spent) {
  if (bar.childElementCount !== labels.length) {
    bar.replaceChildren(...labels.map((label) => element('span', { 'data-label': label })));
  }
  const wall = sum(spent);
  const told = [];
  labels.forEach((label, i) => {
    const part = bar.children[i];
    const seconds = spent[i] ?? 0;
    const share = `${label} ${duration(seconds)}, ${percent(seconds, wall)}`;
    part.dataset.seconds = seconds;
    part.style.flexGrow = wall > 0 ? seconds / wall : 0;
    part.title = share;
    if (seconds > 0) told.push(share);
  });
  bar.setAttribute('aria-label', `Time spent: ${told.join('; ') || 'none yet'}`);
}

// --- plots ---

const svgSpace = 'http://www.w3.org/2000/svg';

function shape(tag, attributes, text) {
  const e = document.createElementNS(svgSpace, tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (text !== undefined) e.textContent = text;
  return e;
}

const span = 300; // seconds that a plot shows
const most = 1.15; // height of the scale, relative to the highest line
const gap = 5000; // milliseconds without a sample after which a line is interrupted
const edge = { top: 4, right: 1, bottom: 17, left: 1 };

// steps between ticks: powers of two for bytes, so that ticks are round in the
// units they are written in, and 1, 2, 5 for what is counted.
function stepFor(top, binary) {
  const wanted = top / 3;
  if (binary) {
    const unit = 1024 ** Math.max(Math.floor(Math.log(Math.max(wanted, 1)) / Math.log(1024)), 0);
    return 2 ** Math.ceil(Math.log2(Math.max(wanted / unit, 1))) * unit;
  }
  const ten = 10 ** Math.floor(Math.log10(Math.max(wanted, 1)));
  return [1, 2, 5, 10].find((n) => n * ten >= wanted) * ten;
}

// line returns the path of a series. Undefined values interrupt it.
function line(points, x, y) {
  let path = '';
  let before;
  for (const { at, value } of points) {
    if (value !== undefined) {
      const joined = before !== undefined && at - before < gap;
      path += `${joined ? 'L' : 'M'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    }
    before = value === undefined ? undefined : at;
  }
  return path;
}

// area returns the path of the area below a series.
function area(points, x, y) {
  let path = '';
  let run = [];
  const close = () => {
    if (run.length > 1) {
      const [first, last] = [x(run[0].at).toFixed(1), x(run.at(-1).at).toFixed(1)];
      path += `${line(run, x, y)}L${last} ${y(0)}L${first} ${y(0)}Z`;
    }
    run = [];
  };
  for (const p of points) {
    if (run.length && p.at - run.at(-1).at >= gap) close();
    run.push(p);
  }
  close();
  return path;
}

// plot draws samples into svg, which has the given width and height:
//
//   series  [{name, of(sample), filled}], styled by the style sheet;
//           `loose` series do not stretch the scale: what is above it is left out
//   limits  [{name, value}], lines that values should stay below
//   write   formats a value on the axis
//   binary  whether ticks are at powers of two
//   pointed is the time to mark, if any
export function plot(svg, { samples, now, width, height, series, limits, write, binary, pointed }) {
  const firm = series.filter((s) => !s.loose);
  const highest = Math.max(...samples.flatMap((p) => firm.map((s) => s.of(p))), ...limits.map((l) => l.value), binary ? 1024 : 3);
  const top = highest * most;
  const x = (at) => edge.left + (1 - (now - at) / (span * 1000)) * (width - edge.left - edge.right);
  const y = (value) => height - edge.bottom - (value / top) * (height - edge.top - edge.bottom);
  const parts = [];

  for (let minute = 0; minute <= 5; minute++) {
    const at = x(now - minute * 60000).toFixed(1);
    parts.push(shape('line', { class: 'grid', x1: at, x2: at, y1: edge.top, y2: y(0) }));
    const anchor = minute === 0 ? 'end' : minute === 5 ? 'start' : 'middle';
    if (minute % 5 === 0 || width > 200) {
      const text = minute === 0 ? 'now' : minute === 5 || width > 280 ? `−${minute} min` : `−${minute}`;
      parts.push(shape('text', { class: 'tick', x: at, y: height - 4, 'text-anchor': anchor }, text));
    }
  }
  const ticks = [];
  const step = stepFor(highest, binary);
  for (let value = 0; value <= top; value += step) {
    parts.push(shape('line', { class: value ? 'grid' : 'axis', x1: edge.left, x2: width - edge.right, y1: y(value), y2: y(value) }));
    // Above the area, and below the top of the plot.
    if (value && y(value) > 14) ticks.push(shape('text', { class: 'tick haloed', x: edge.left + 3, y: y(value) - 3 }, write(value)));
  }
  for (const s of series) {
    const points = samples.map((p) => {
      const value = s.of(p);
      return { at: p.at, value: s.loose && !(value >= 0 && value <= top) ? undefined : value };
    }).filter((p) => x(p.at) >= edge.left);
    if (s.filled) parts.push(shape('path', { class: 'area', 'data-series': s.name, d: area(points, x, y) }));
    parts.push(shape('path', { class: 'line', 'data-series': s.name, d: line(points, x, y) }));
  }
  for (const { name, value } of limits) {
    const at = y(value);
    parts.push(shape('line', { class: 'limit', x1: edge.left, x2: width - edge.right, y1: at, y2: at }));
    parts.push(shape('text', { class: 'limit-name haloed', x: width - edge.right - 3, y: at < 16 ? at + 11 : at - 4, 'text-anchor': 'end' }, name));
  }
  parts.push(...ticks);
  if (pointed) {
    const at = x(pointed.at);
    parts.push(shape('line', { class: 'pointed', x1: at, x2: at, y1: edge.top, y2: y(0) }));
    for (const s of firm) parts.push(shape('circle', { class: 'pointed', 'data-series': s.name, cx: at, cy: y(s.of(pointed)), r: 3 }));
  }
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.replaceChildren(...parts);
}

// sampleAt returns the sample nearest to a point, given as a share of the plot's
// width; undefined if there is none.
export function sampleAt(samples, now, share) {
  const at = now - (1 - share) * span * 1000;
  const near = samples.reduce((a, b) => (a && Math.abs(a.at - at) <= Math.abs(b.at - at) ? a : b), undefined);
  return near && Math.abs(near.at - at) < gap ? near : undefined;
}

// outOf formats how much of a total is used.
export function outOf(used, total) {
  return total > 0 ? `of ${bytes(total)}, ${percent(used, total)}` : dash;
}
