// Panels that show one list of a message: checks, pressure, cleaning tasks, refused tokens.

import { byID, clock, count, duration, element, write } from './draw.js';

// --- checks ---

export function showChecks(moment) {
  const checks = moment.checks ?? [];
  const list = byID('checks-list');
  const key = JSON.stringify(checks);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const fine = checks.filter((c) => c.level === 'ok');
  const others = checks.filter((c) => c.level !== 'ok');
  byID('checks-fine').replaceChildren(...fine.map((c) => element('li', { class: 'pill', 'data-tone': 'ok' }, c.name)));
  list.hidden = others.length === 0;
  list.replaceChildren(...others.map((c) => element(
    'li', { 'data-check': c.name }, element('span', { class: 'pill', 'data-tone': c.level }, c.level), element('strong', {}, c.name), element('span', {}, c.message),
  )));
}

// --- pressure and the janitor ---

const pressureTexts = {
  calm: 'No trouble with the disk lately.',
  warned: 'The disk had trouble. More trouble soon takes this instance out of the load balancer.',
  out: 'The load balancer is told to send uploads elsewhere. The instance comes back by itself.',
};

export function showPressure(moment) {
  const events = moment.pressure.events ?? [];
  byID('trouble').dataset.state = moment.pressure.state;
  write(byID('pressure-text'), pressureTexts[moment.pressure.state] ?? '');
  byID('no-events').hidden = events.length > 0;
  const list = byID('events');
  list.hidden = events.length === 0;
  const key = events.length ? `${events.length} ${events.at(-1).at}` : '';
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...events.toReversed().map((e) => element(
    'li', { 'data-what': e.what },
    element('time', { datetime: e.at }, clock(new Date(e.at), moment.now.at)), element('strong', {}, e.what), element('span', {}, e.text),
  )));
}

export function showTasks(moment) {
  const tasks = moment.janitor ?? [];
  byID('no-tasks').hidden = tasks.length > 0;
  const table = byID('tasks');
  table.hidden = tasks.length === 0;
  table.tBodies[0].replaceChildren(...tasks.map((t) => {
    const success = new Date(t.success);
    const ago = success.getUTCFullYear() < 1971 ? 'never' : `${duration(Math.max(moment.now.at - success, 0) / 1000)} ago`;
    return element(
      'tr', t.failures > 0 ? { 'data-tone': 'bad' } : {}, element('th', { scope: 'row' }, t.name), element('td', {}, ago),
      element('td', { class: 'number' }, count(t.failures)), element('td', { class: 'number' }, count(t.removed)),
    );
  }));
}

// --- refused tokens ---

// showRefusals shows the uploads whose token was refused, by client and message. Anybody can
// cause them, so they are not among the recent uploads.
export function showRefusals(moment) {
  const refusals = moment.refusals ?? [];
  byID('no-refusals').hidden = refusals.length > 0;
  const table = byID('refusals');
  table.hidden = refusals.length === 0;
  const key = JSON.stringify(refusals.map((r) => [r.id, r.count]));
  if (table.dataset.key === key) return;
  table.dataset.key = key;
  table.tBodies[0].replaceChildren(...refusals.map((r) => element(
    'tr', { title: `The last one: upload ${r.id}, request ${r.sender.request_id}` },
    element('th', { scope: 'row' }, r.message),
    element('td', {}, element('span', { class: 'address' }, r.sender.address), ' ', element('span', { class: 'quiet' }, r.sender.user_agent)),
    element('td', { class: 'digests' }, (r.digests ?? []).join(' ')),
    element('td', { class: 'number' }, count(r.count)),
    element('td', { class: 'number' }, element('time', { datetime: r.last }, clock(new Date(r.last), moment.now.at))),
  )));
}
