// What pages do by themselves: send forms as JSON, draw charts from their tables, say when something has
// happened, and add the viewer's own time. Nothing here puts a text of anybody into a page as HTML.
'use strict';

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const token = document.querySelector('meta[name=quipu-token]')?.content ?? '';

const signIn = () => {
  const here = location.pathname + location.search;
  location.assign('/dashboard/sign-in?next=' + encodeURIComponent(here));
};

// -- Times: UTC as it stands, and the viewer's zone when the pointer or a reader asks.

const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });

const nameTimes = (root) => {
  for (const time of all('time:not([title])', root)) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) time.title = zoned.format(at);
  }
};

// -- Forms: `<form data-api="POST /meters" data-then="/dashboard/meters/{id}">`

// Lines of `name: value`, as of headers.
const pairsOf = (text) => {
  const lines = text.split('\n').map((line) => line.trim()).filter((line) => line !== '');
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf(':');
    if (at < 1) throw new Error(`“${line}” has no name and colon`);
    return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
  }));
};

// A decimal number times 10^digits, digit for digit; any other text stays as it is.
const moved = (text, digits) => {
  const found = /^\s*(-?)(\d*)(?:\.(\d*))?\s*$/.exec(text);
  if (!found || (!found[2] && !found[3])) return text;
  const fraction = (found[3] ?? '').padEnd(digits, '0');
  const whole = (found[2] + fraction.slice(0, digits)).replace(/^0+(?=\d)/, '');
  const rest = fraction.slice(digits).replace(/0+$/, '');
  return found[1] + whole + (rest && `.${rest}`);
};

// What is no number goes as it is, so that the daemon says what is wrong with it.
const numberOf = (text) => (Number.isSafeInteger(Number(text)) && text.trim() !== '' ? Number(text) : text);

// Amounts of money are typed in the major unit: `49.00`; the currency, or the input, says how many digits.
const minorOf = (input) => {
  const currency = input.form.querySelector('option[data-digits]:checked') ?? input.form;
  return moved(input.value, Number(input.dataset.digits ?? currency.dataset.digits ?? 2));
};

// Names become members: `a.b` nests, `a.0.b` lists, `a[]` gathers. `data-type` says what a value is; `data-null`
// that an empty text is none.
const valueOf = (input) => {
  const text = input.value;
  switch (input.dataset.type) {
    case 'utc': return text === '' ? null : new Date(`${text}Z`).toISOString();
    case 'pairs': return pairsOf(text);
    // What stood there before and does not any more is taken out.
    case 'changes': {
      const gone = Object.keys(pairsOf(input.defaultValue)).map((name) => [name, null]);
      return { ...Object.fromEntries(gone), ...pairsOf(text) };
    }
    case 'number': return text === '' ? null : numberOf(text);
    case 'minor': return text === '' ? null : numberOf(minorOf(input));
    case 'minor-text': return minorOf(input);
    case 'boolean': return input.type === 'checkbox' ? input.checked : text === 'true';
    case 'json': return text === '' ? null : JSON.parse(text);
    case 'nullable': return text === '' ? null : text;
    default: return text === '' && input.hasAttribute('data-null') ? null : text;
  }
};

const put = (target, name, value) => {
  const parts = name.split('.');
  const last = parts.pop();
  parts.forEach((part, at) => { target = target[part] ??= /^\d+$/.test(parts[at + 1] ?? last) ? [] : {}; });
  if (last.endsWith('[]')) (target[last.slice(0, -2)] ??= []).push(value);
  else target[last] = value;
};

// What a form says. `data-local` is for the page alone, `data-example` for what works out an example.
const bodyOf = (form, withExamples = false) => {
  const body = {};
  for (const rows of all('[data-rows]', form)) {
    if (!rows.closest('[hidden]')) put(body, rows.dataset.rows, []);
  }
  for (const input of form.elements) {
    if (!input.name || input.disabled || input.type === 'submit' || 'local' in input.dataset) continue;
    if ('example' in input.dataset && !withExamples) continue;
    if (input.type === 'radio' && !input.checked) continue;
    if (input.type === 'checkbox' && input.dataset.type !== 'boolean' && !input.checked) continue;
    if (input.value === '' && input.hasAttribute('data-optional')) continue;
    put(body, input.name, valueOf(input));
  }
  return body;
};

const unmark = (form) => {
  for (const note of all('.wrong[data-made]', form)) note.remove();
  for (const input of all('[aria-invalid]', form)) {
    input.removeAttribute('aria-invalid');
    input.removeAttribute('aria-describedby');
  }
};

// Shows what the API says beside the field that it names, or above the button.
const mark = (form, field, message) => {
  const named = (name) => all('[name]:enabled', form).find((input) => input.name === name);
  const note = document.createElement('p');
  note.className = 'wrong';
  note.dataset.made = '';
  note.setAttribute('role', 'alert');
  note.textContent = message;
  let input = null;
  for (let name = field; name && !input; name = name.slice(0, Math.max(0, name.lastIndexOf('.')))) {
    input = named(name) ?? form.querySelector(`[data-field="${CSS.escape(name)}"]`);
  }
  if (!input) {
    form.querySelector('[type=submit]').before(note);
    return;
  }
  note.id = `wrong-${all('.wrong').length}`;
  input.setAttribute('aria-invalid', 'true');
  input.setAttribute('aria-describedby', note.id);
  (input.type === 'hidden' ? input.parentElement : input).after(note);
  input.focus();
};

const fill = (path, found) =>
  path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(found?.[name] ?? ''));

const sendApi = async (form) => {
  const [method, path] = form.dataset.api.split(' ');
  const body = bodyOf(form);
  // A path may name inputs of the form: `PATCH /customers/{customer_id}`.
  const target = fill(path, body);
  const init = { method, headers: { 'x-quipu-token': token } };
  if (method !== 'DELETE' && !form.hasAttribute('data-bare')) {
    init.headers['content-type'] = 'application/json';
    init.body = JSON.stringify(body);
  }
  if (method === 'POST') init.headers['idempotency-key'] = form.dataset.once ??= random();
  const response = await fetch('/dashboard/api' + target, init);
  if (response.status === 401) return signIn();
  const text = await response.text();
  const answer = text.startsWith('{') ? JSON.parse(text) : {};
  // What was answered is over: sent again, the form asks for something new.
  delete form.dataset.once;
  if (!response.ok) {
    mark(form, answer.field, answer.message ?? `The daemon answered ${response.status}.`);
    return;
  }
  // `<output data-answer="secret">` shows a member of the answer.
  for (const output of all('[data-answer]', form)) {
    output.textContent = answer[output.dataset.answer] ?? '';
    (output.closest('[data-shown]') ?? output).hidden = false;
  }
  form.dispatchEvent(new CustomEvent('quipu:done', { bubbles: true, detail: answer }));
  if ('reload' in form.dataset) location.reload();
  else if (form.dataset.then) location.assign(fill(form.dataset.then, answer));
};

const random = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16)).join('');

// `<form data-post="/dashboard/sign-out">`: to the dashboard itself; then wherever it leads.
const sendOwn = async (form) => {
  const response = await fetch(form.dataset.post, { method: 'POST', headers: { 'x-quipu-token': token } });
  location.assign(response.url);
};

const sendSignIn = async (form) => {
  const body = new URLSearchParams(new FormData(form));
  const response = await fetch(form.action, { method: 'POST', body });
  if (response.ok) return location.assign(response.url);
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  const problem = page.querySelector('[role=alert]')?.textContent ?? 'That did not work.';
  unmark(form);
  for (const note of all('.wrong', form)) note.remove();
  mark(form, 'key', problem);
};

document.addEventListener('submit', async (event) => {
  const form = event.target;
  const send = 'api' in form.dataset ? sendApi : 'post' in form.dataset ? sendOwn
    : 'signIn' in form.dataset ? sendSignIn : null;
  if (!send) return;
  event.preventDefault();
  if (form.dataset.confirm && !window.confirm(form.dataset.confirm)) return;
  unmark(form);
  const buttons = all('button', form);
  for (const button of buttons) button.disabled = true;
  try {
    await send(form);
  } catch (error) {
    mark(form, '', `That did not work: ${error.message}`);
  }
  for (const button of buttons) button.disabled = false;
});

// Filters of lists: `<select data-submits>` sends its form when it changes.
document.addEventListener('change', (event) => {
  if (event.target.matches('[data-submits]')) event.target.form.requestSubmit();
});

// Shows a part only where a select has one of its values: `data-when="aggregation.type=sum,max,last"`. One
// inside another is shown with that alone.
const showParts = (root) => {
  for (const part of all('[data-when]', root)) {
    const [name, values] = part.dataset.when.split('=');
    const input = part.closest('form').elements[name];
    const shown = values.split(',').includes(input?.value);
    part.hidden = !shown;
    const enabled = shown && !part.closest('[hidden]');
    for (const inner of all('input, select, textarea', part)) inner.disabled = !enabled;
  }
};
document.addEventListener('change', (event) => event.target.form && showParts(event.target.form));

// -- Charts

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The numbers of a chart's table: instants, then each series.
const readTable = (table) => {
  const rows = all('tbody tr', table);
  const count = table.querySelectorAll('thead th').length;
  const columns = Array.from({ length: count }, () => []);
  for (const row of rows) {
    columns[0].push(Date.parse(row.cells[0].querySelector('time').dateTime) / 1000);
    for (let at = 1; at < count; at += 1) {
      const value = row.cells[at].querySelector('[data-value]')?.dataset.value;
      columns[at].push(value === undefined ? null : Number(value));
    }
  }
  return columns;
};

const shortNumber = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 2 });

// Bars reach from their instant to the next one; the last is as wide as the one before.
const widthOfLast = (instants) => (instants.length > 1 ? instants.at(-1) - instants.at(-2) : 3600);

const stack = (columns) => {
  const sums = columns[0].map(() => 0);
  const drawn = [columns[0]];
  for (const column of columns.slice(1)) {
    drawn.push(column.map((value, at) => { sums[at] += value ?? 0; return sums[at]; }));
  }
  return drawn;
};

// Instants along a chart in UTC: hours within days, days within months, months.
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const two = (number) => String(number).padStart(2, '0');
const instants = (_, marks, __, ___, step) => marks.map((mark) => {
  const at = new Date(mark * 1e3);
  const day = `${at.getUTCDate()} ${MONTHS[at.getUTCMonth()]}`;
  if (step >= 28 * 86400) return `${MONTHS[at.getUTCMonth()]} ${at.getUTCFullYear()}`;
  if (step >= 86400 || at.getUTCHours() + at.getUTCMinutes() === 0) return day;
  return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
});

const draw = (figure) => {
  const table = figure.querySelector('.data table');
  const plot = figure.querySelector('.plot');
  if (!table || typeof uPlot === 'undefined') return;
  const kind = figure.dataset.chart;
  const columns = readTable(table);
  // Stacked series are drawn from the tallest to the lowest.
  const order = columns.slice(1).map((_, at) => at);
  if (kind === 'stacked') order.reverse();
  const drawn = kind === 'stacked' ? stack(columns) : columns;
  const data = [columns[0], ...order.map((at) => drawn[at + 1])];
  if (figure.chart && figure.chart.series.length === data.length) return void figure.chart.setData(data);
  figure.chart?.destroy();
  const names = all('thead th', table).map((head) => head.textContent);
  const bars = uPlot.paths.bars({ size: [0.8, 48], align: 1, radius: 0.06 });
  const axis = { stroke: css('--faint'), grid: { stroke: css('--line'), width: 1 }, ticks: { show: false },
    font: '12px system-ui, sans-serif' };
  figure.chart = new uPlot({
    width: plot.clientWidth,
    height: 240,
    tzDate: (at) => uPlot.tzDate(new Date(at * 1e3), 'Etc/UTC'),
    // To the end of the last bar.
    scales: { x: { range: (plot, low, high) => [low, high + widthOfLast(plot.data[0])] }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.05 : 1] } },
    axes: [{ ...axis, values: instants }, { ...axis, size: 58, values: (_, marks) => marks.map((mark) => shortNumber.format(mark)) }],
    legend: { show: true, live: true },
    cursor: { y: false, points: { show: kind === 'lines' } },
    series: [
      { label: 'UTC', value: '{YYYY}-{MM}-{DD} {HH}:{mm}' },
      ...order.map((at) => {
        const colour = css(`--series-${(at % 8) + 1}`);
        return {
          label: names[at + 1],
          stroke: colour,
          width: kind === 'lines' ? 2 : 0,
          fill: kind === 'lines' ? undefined : colour,
          paths: kind === 'lines' ? undefined : bars,
          points: { show: false },
          value: (_, __, ___, row) => {
            const value = row === null || row === undefined ? null : columns[at + 1][row];
            return value === null || value === undefined ? '–' : value.toLocaleString('en');
          },
        };
      }),
    ],
  }, data, plot);
};

const drawAll = (root = document) => {
  for (const figure of all('[data-chart]', root)) draw(figure);
};

addEventListener('resize', () => {
  for (const figure of all('[data-chart]')) {
    figure.chart?.setSize({ width: figure.querySelector('.plot').clientWidth, height: 240 });
  }
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  for (const figure of all('[data-chart]')) {
    figure.chart?.destroy();
    figure.chart = null;
    draw(figure);
  }
});

// -- Live: one stream a page. Parts with `hx-trigger="quipu:tick from:body"` load anew when the log moved: at once
// when a second has passed since they did, else when it has. So what came last is never missed, nor what came
// between the page and its stream.
const TICK_MS = 1000;

const listen = () => {
  const pulse = document.querySelector('[data-pulse]');
  if (!pulse) return;
  const rate = pulse.querySelector('[data-rate]');
  const stream = new EventSource('/dashboard/live');
  let last = null;
  let shown = 0;
  let told = -TICK_MS;
  let waits = false;
  const tell = () => {
    [told, waits] = [performance.now(), false];
    document.body.dispatchEvent(new CustomEvent('quipu:tick', { detail: last }));
  };
  stream.onmessage = (event) => {
    const tick = JSON.parse(event.data);
    pulse.className = 'pulse on';
    // Smoothed, because events come in groups.
    shown = last ? shown * 0.6 + tick.rate * 0.4 : tick.rate;
    rate.textContent = shown < 0.5 ? 'live' : `${shortNumber.format(Math.round(shown))} events/s`;
    for (const figure of all('[data-tick]')) figure.textContent = tick[figure.dataset.tick].toLocaleString('en');
    const moved = !last || last.lsn !== tick.lsn || last.duplicate !== tick.duplicate || last.refused !== tick.refused;
    last = tick;
    if (moved && !waits) {
      waits = true;
      setTimeout(tell, told + TICK_MS - performance.now());
    }
  };
  stream.onerror = () => {
    pulse.className = 'pulse off';
    rate.textContent = 'not connected';
    // A stream that was refused is not tried again by the browser.
    if (stream.readyState === EventSource.CLOSED) setTimeout(check, 2000);
  };
  addEventListener('pagehide', () => stream.close());
};

const check = async () => {
  try {
    const response = await fetch('/dashboard/api/billing/status');
    if (response.status === 401) return signIn();
    listen();
  } catch {
    setTimeout(check, 2000);
  }
};

// -- htmx: the token on what changes nothing too, and to the sign-in page when the session is over.

document.addEventListener('htmx:config:request', (event) => {
  event.detail.ctx.request.headers['x-quipu-token'] = token;
});
document.addEventListener('htmx:response:error', (event) => {
  if (event.detail.ctx.response.status === 401) signIn();
});
document.addEventListener('htmx:after:swap', () => {
  nameTimes(document);
  drawAll();
});

// -- Lists that follow: `data-pause="#rows"` holds one still, `data-marks-new` shows which rows are new.

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-pause]');
  if (!button) return;
  const list = document.querySelector(button.dataset.pause);
  const paused = list.toggleAttribute('data-paused');
  button.setAttribute('aria-pressed', String(paused));
  button.textContent = paused ? 'Go on' : 'Pause';
});

const rowsOf = (list) => all('tbody tr', list).map((row) => [row, row.querySelector('a')?.href]);
const known = new WeakMap();

document.addEventListener('htmx:before:request', (event) => {
  const list = event.target.closest?.('[data-marks-new]');
  if (event.target.closest?.('[data-paused]')) event.preventDefault();
  else if (list) known.set(list, new Set(rowsOf(list).map(([, href]) => href)));
});
document.addEventListener('htmx:after:swap', () => {
  for (const list of all('[data-marks-new]')) {
    const before = known.get(list);
    if (!before) continue;
    for (const [row, href] of rowsOf(list)) if (!before.has(href)) row.className = 'new';
    known.delete(list);
  }
});

document.addEventListener('DOMContentLoaded', () => {
  nameTimes(document);
  for (const form of document.forms) showParts(form);
  // On a small screen the navigation is wider than the page.
  document.querySelector('.side nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  drawAll();
  listen();
});
