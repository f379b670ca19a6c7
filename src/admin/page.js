// The page: it polls the state every two seconds while it is visible, and shows it. Payloads are hostile: they only ever
// become text (textContent), with their invisible characters made visible, never HTML or a link.

const EVERY_MS = 2000;
const PAGE = 50; // events at first, and with each "Show older ones"
const MOST = 200; // the most that the server lists at once
const SCREENS = 1000; // events in all: each poll asks for them again
const STALE_MS = 15 * 60 * 1000; // an event that waits longer is reported
const CHILDREN = 200; // of a node of the payload, before there is a button for more
const REJECTS = 5; // shown unfolded: the events are below them
const REASONS = 6; // of what is not well, before there is a button for more
const NAMES = 8; // the same of sources, of actions, and of actions that an event is not for

const id = (name) => document.getElementById(name);
const SERIES = [['received', 'received'], ['duplicates', 'duplicates'], ['rejected', 'rejected'], ['failed', 'failed']];
const REQUESTS = SERIES.slice(0, 3); // what failed was received before, perhaps in another hour
const MARKS = { good: ['good', '✓'], warn: ['warn', '!'], bad: ['bad', '✕'] };
const FILTERS = ['status', 'source', 'event', 'since', 'grep'];
const OUTCOMES = { cancelled: 'warn', processed: 'good', succeeded: 'good', error: 'bad', dead: 'bad' };

let shown = PAGE; // how many events are listed
let known = null; // ids that were listed before; null when the filter has just changed
let opened = null; // the id of the open event
let chosen = null; // the address that was just made of the filter's fields
let found = null; // the last list, by its filter
let offline = null; // since when there is no answer
const whole = new Set(); // the long lists that are shown to their end

// ---- what is shown

// Direction overrides and other characters that a reader does not see could make a payload look like another one.
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
// Within an emoji, a joiner makes one picture of several.
const JOINER = /(?<=[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f])\u200d(?=\p{Extended_Pictographic})/gu;
const escaped = (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0');
const visible = (text) => String(text).split(JOINER).map((part) => part.replace(INVISIBLE, escaped)).join('\u200d');

function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name.includes('-') || name === 'class' || name === 'role') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== ''));
  return element;
}

const foreign = (text) => make('bdi', { textContent: visible(text) });

// JSON is written from left to right, whatever is in it.
const literal = (text) => make('bdi', { dir: 'ltr', textContent: visible(text) });

function draw(tag, attributes, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Only what has changed is replaced, so that the focus and a selection stay where they are.
function fill(element, key, children) {
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  element.replaceChildren(...children().filter((child) => child !== ''));
}

// A long list is cut, so that what stands below it is reached, until a person asks for all of it.
function cut(name, items, most, lineOf) {
  const isCut = items.length > most + 1 && !whole.has(name);
  const lines = (isCut ? items.slice(0, most) : items).map(lineOf);
  if (!isCut) return lines;
  const button = make('button', { type: 'button', textContent: `Show ${(items.length - most).toLocaleString()} more` });
  button.onclick = () => {
    whole.add(name);
    delete id(name).dataset.key;
    Object.assign(id(name), { tabIndex: -1 }).focus();
    refresh();
  };
  return [...lines, make('li', {}, button)];
}

// Where a list is long, what needs a person comes first.
const worstFirst = (items, stateOf) => {
  const rank = (item) => ['bad', 'warn', 'good', 'none'].indexOf(stateOf(item)[1]);
  return items.length > NAMES ? items.sort((a, b) => rank(a) - rank(b)) : items;
};

const firstLine = (text) => text.split('\n')[0].slice(0, 200);

const count = (number, one, many) => `${number.toLocaleString()} ${number === 1 ? one : many || one + 's'}`;

function when(text) {
  const at = new Date(text);
  if (isNaN(at)) return foreign(text);
  const today = at.toDateString() === new Date().toDateString();
  const short = today ? at.toLocaleTimeString() : at.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
  return make('time', { dateTime: text, title: at.toString(), textContent: short });
}

function span(ms) {
  const units = [['day', 86400000], ['hour', 3600000], ['minute', 60000], ['second', 1000]];
  const [name, size] = units.find(([, size]) => ms >= size) || ['second', 1000];
  return count(Math.max(0, Math.floor(ms / size)), name);
}

function bytes(number) {
  const power = number < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(number) / 10));
  return `${(number / 1024 ** power).toFixed(power ? 1 : 0)} ${['bytes', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`;
}

// A state in words, and in a color and a sign for those who look only briefly.
function mark(word, state) {
  const [color, sign] = MARKS[state || OUTCOMES[word]] || ['', '○'];
  return make('span', { class: color }, make('span', { 'aria-hidden': 'true', textContent: sign + '\u00a0' }), visible(word));
}

// ---- what the server is asked

const answers = new Map();

async function ask(path, method) {
  const before = method ? null : answers.get(path);
  const headers = { 'X-Hookbox': '1' };
  const token = localStorage.getItem('token');
  if (token) headers.Authorization = 'Bearer ' + token;
  if (before) headers['If-None-Match'] = before.tag;
  const answer = await fetch(path, { method: method || 'GET', headers, cache: 'no-store', signal: AbortSignal.timeout(15000) });
  if (answer.status === 304) return before.value;
  if (answer.status === 401) {
    // Another answer may have asked already, or another tab may have the right one.
    if (token === localStorage.getItem('token')) askToken(token ? 'That is not the token.' : '');
    throw new Error('the token is missing or wrong');
  }
  if (!answer.ok) throw Object.assign(new Error((await answer.text()).trim()), { status: answer.status });
  const value = await answer.json();
  if (!method) {
    if (answers.size > 20) answers.clear();
    answers.set(path, { tag: answer.headers.get('ETag'), value });
  }
  return value;
}

function askToken(why) {
  localStorage.removeItem('token');
  id('refused').textContent = why;
  if (!id('ask').open) id('ask').showModal();
}

// The address that `hookbox page` prints brings the token. It is taken out of the address, which is shown and stored.
function takeToken() {
  const to = view();
  const token = to.get('token');
  if (token === null) return;
  localStorage.setItem('token', token);
  to.delete('token');
  history.replaceState(null, '', '#' + to);
  id('ask').close();
}

async function change(button, path, done) {
  button.disabled = true;
  found = null;
  try {
    const answer = await ask(path, 'POST');
    id('told').textContent = answer.text ? visible(answer.text) + '.' : done;
  } catch (error) {
    id('told').textContent = `That did not work: ${visible(error.message)}`;
  }
  button.disabled = false;
  refresh();
}

// The server works for a moment at a time: it is asked until nothing is left. `tell` has the words for what was done.
async function changeAll(button, path, query, tell) {
  button.disabled = true;
  found = null;
  let sum = 0;
  try {
    const asked = new URLSearchParams(query);
    for (let before = null; ; ) {
      if (before) asked.set('before', before);
      const answer = await ask(`/api/events/${path}?${asked}`, 'POST');
      sum += tell.counted(answer);
      id('told').textContent = answer.before ? `${count(sum, 'job')} ${tell.done} so far …` : `${count(sum, 'job')} ${tell.done}. ${tell.more(answer)}`;
      if (!(before = answer.before)) break;
    }
  } catch (error) {
    id('told').textContent = `That did not work: ${visible(error.message)}`;
  }
  button.disabled = false;
  refresh();
}

const QUEUED = { done: 'queued', counted: (answer) => answer.queued, more: (answer) => visible(answer.lines.join('; ')) };
const CANCELLED = { done: 'cancelled', counted: (answer) => answer.cancelled, more: () => '' };

const act = (text, label, path, done) => {
  const button = make('button', { type: 'button', textContent: text, 'aria-label': label });
  button.onclick = () => change(button, path, done);
  return button;
};

// ---- the state of it all

// One sentence says whether all is well. Each problem has a weight: 2 is bad, 1 is a warning.
function problems({ health, stats, sources, rejects, disk_reserve_bytes }) {
  const found = [];
  const say = (weight, text, link, why) => found.push({ weight, text, link, why });
  if (!health.is_well) say(2, `Deliveries are refused: ${visible(health.line)}.`);
  if (stats.events.error) say(2, `${count(stats.events.error, 'event')} could not be processed.`, ['status=error', stats.events.error]);
  for (const { action, pending, failing } of stats.actions.filter((action) => action.failing && !action.paused && !isHeld(action))) {
    say(1, `The action ${visible(action)} has failed since ${new Date(failing.since).toLocaleString()}, ${count(pending, 'job')} pending${nextAttempt(failing, pending)}.`,
      pending ? ['status=unprocessed', pending] : null, visible(firstLine(failing.error)));
  }
  for (const action of stats.actions.filter((action) => action.paused)) {
    say(1, `The action ${visible(action.action)} is paused, ${count(action.pending, 'job')} pending.`);
  }
  for (const action of stats.actions.filter((action) => isHeld(action) && !action.paused)) {
    const until = new Date(action.held_until_ms).toLocaleString();
    say(1, `The destination of ${visible(action.action)} asks to wait until ${until}, ${count(action.pending, 'job')} pending.`, null, action.held_because ? visible(firstLine(action.held_because)) : '');
  }
  for (const { source, silent_since } of stats.sources.filter((source) => source.silent_since)) {
    say(1, `${visible(source)} has received nothing since ${new Date(silent_since).toLocaleString()}.`);
  }
  for (const { source, missing, offline, failing_since, failing_because } of stats.recoveries) {
    if (failing_since) say(1, `What ${visible(source)} missed cannot be recovered since ${new Date(failing_since).toLocaleString()}.`, null, visible((failing_because || '').slice(0, 300)));
    if (offline) say(1, `${visible(source)}: ${visible(offline)}.`);
    if (missing) say(1, `${visible(source)} has missed ${count(missing, 'delivery', 'deliveries')} that ${missing === 1 ? 'is' : 'are'} not there yet.`);
  }
  const waits = Date.now() - Date.parse(stats.oldest_unprocessed);
  if (waits > STALE_MS) say(1, `An event has been waiting for ${span(waits)}.`, ['status=unprocessed', 1]);
  for (const { name } of sources.filter((source) => isRejecting(source.name, stats, rejects))) {
    const { text } = rejects.find((reject) => reject.source === name);
    say(1, `What was last sent to ${name} was rejected.`, null, visible(text));
  }
  if (stats.disk_free_bytes !== null && stats.disk_free_bytes < 2 * disk_reserve_bytes) {
    say(1, `The disk is nearly full: ${bytes(stats.disk_free_bytes)} left.`);
  }
  for (const source of sources.filter((source) => source.verification !== 'signature')) {
    say(0, source.verification === 'awaited' ? `${source.name} waits for its secret.` : `${source.name} is not verified.`);
  }
  return found.sort((a, b) => b.weight - a.weight);
}

function nextAttempt({ next_attempt_at }, pending) {
  if (!pending) return '';
  const at = new Date(next_attempt_at || 0);
  return at > Date.now() ? `, tried again at ${at.toLocaleString()}` : ', tried again now';
}

// A reject of more than an hour ago, or one followed by a delivery, is no problem any more.
function isRejecting(name, stats, rejects) {
  const last = Math.max(0, ...rejects.filter((reject) => reject.source === name).map((reject) => Date.parse(reject.last_at)));
  const counts = stats.sources.find((counts) => counts.source === name);
  return Date.now() - last < 3600000 && !(counts && Date.parse(counts.last_received) > last);
}

function showProblems(found, pending = 0) {
  const weight = found.length ? found[0].weight : 0;
  const well = `All is well${pending ? `, ${count(pending, 'event')} pending` : ''}.`;
  const [headline, rest] = weight ? [found[0], found.slice(1)] : [{ text: well }, found];
  id('state').className = 'state ' + ['is-good', 'is-warn', 'is-bad'][weight];
  if (id('headline').textContent !== headline.text) id('headline').textContent = headline.text;
  const details = rest.map((problem) => problem.why ? { ...problem, text: `${problem.text.replace(/\.$/, '')}: ${problem.why}` } : problem);
  const lines = headline.link || headline.why ? [{ ...headline, text: headline.why || '' }, ...details] : details;
  fill(id('reasons'), JSON.stringify(lines), () => cut('reasons', lines, REASONS, ({ text, link }) =>
    make('li', {}, text, text && link ? ' ' : '', link ? make('a', { href: '#' + link[0], textContent: link[1] === 1 ? 'Show it' : 'Show them' }) : '')));
  document.title = `${['✓', '!', '✕'][weight]} ${headline.text} – hookbox`;
}

function sourceState(source, counts, rejects, stats) {
  if (source.name === 'hookbox') return ['news of its own', 'none'];
  if (!source.provider) return ['not configured', 'none'];
  if (counts.silent_since) return ['silent', 'warn'];
  if (isRejecting(source.name, stats, rejects)) return ['rejecting', 'warn'];
  if (source.verification === 'awaited') return ['waits for its secret', 'warn'];
  if (source.verification !== 'signature') return ['not verified', 'warn'];
  return counts.received ? ['receiving', 'good'] : ['nothing yet', 'none'];
}

function showSources({ sources, stats, rejected, rejects }) {
  const all = new Map(sources.map((source) => [source.name, source]));
  for (const { source } of stats.sources) if (!all.has(source)) all.set(source, { name: source });
  const counts = new Map(stats.sources.map((counts) => [counts.source, counts]));
  const countsOf = ({ name }) => counts.get(name) || { received: 0, duplicates: 0 };
  const stateOf = (source) => sourceState(source, countsOf(source), rejects, stats);
  fill(id('sources'), JSON.stringify([sources, stats.sources, stats.recoveries, rejected, rejects]), () => cut('sources', worstFirst([...all.values()], stateOf), NAMES, (source) => {
    const now = countsOf(source);
    const words = [`${now.received.toLocaleString()} received`];
    if (now.duplicates) words.push(count(now.duplicates, 'duplicate'));
    if (now.repeated) words.push(`${now.repeated.toLocaleString()} repeated`);
    const recovery = stats.recoveries.find((recovery) => recovery.source === source.name);
    if (recovery && recovery.recovered) words.push(`${recovery.recovered.toLocaleString()} recovered`);
    if (recovery && recovery.lost) words.push(`${recovery.lost.toLocaleString()} lost`);
    if (rejected[source.name]) words.push(`${rejected[source.name].toLocaleString()} rejected`);
    const last = now.last_received ? [', last ', when(now.last_received)] : [];
    return make('li', {},
      make('p', { class: 'item' }, named(source.name, source.provider), mark(...stateOf(source))),
      make('p', { class: 'hint' }, words.join(', '), ...last));
  }));
  fill(id('source-names'), JSON.stringify([...all.keys()]), () => [...all.keys()].map((value) => make('option', { value })));
}

const named = (name, kind) => make('span', {}, make('b', {}, foreign(name)), ' ', make('span', { class: 'hint', textContent: kind || '' }));

const isHeld = ({ held_until_ms }) => held_until_ms > Date.now();

function actionState(kind, counts) {
  if (counts.paused) return ['paused', 'warn'];
  if (isHeld(counts)) return ['waits for its destination', 'warn'];
  if (counts.failing) return ['failing', 'warn'];
  if (counts.dead) return [`${counts.dead.toLocaleString()} dead`, 'bad'];
  if (!kind) return ['not configured', 'none'];
  if (counts.pending) return ['at work', 'none'];
  return counts.succeeded ? ['up to date', 'good'] : ['nothing yet', 'none'];
}

function showActions({ actions, stats }) {
  const all = new Map(actions.map((action) => [action.name, action]));
  for (const { action, pending, dead } of stats.actions) if (!all.has(action) && (pending || dead)) all.set(action, { name: action });
  const counts = new Map(stats.actions.map((counts) => [counts.action, counts]));
  const countsOf = ({ name }) => counts.get(name) || { pending: 0, succeeded: 0, dead: 0 };
  const stateOf = (action) => actionState(action.kind, countsOf(action));
  fill(id('actions'), JSON.stringify([actions, stats.actions]), () => all.size ? cut('actions', worstFirst([...all.values()], stateOf), NAMES, (action) => {
    const { name, kind } = action;
    const now = countsOf(action);
    const words = [`${now.succeeded.toLocaleString()} done`, `${now.pending.toLocaleString()} pending`];
    if (now.superseded) words.push(`${now.superseded.toLocaleString()} superseded`);
    const pause = now.paused
      ? act('Resume', `Resume the action ${name}`, `/api/actions/${name}/resume`, `${name} goes on.`)
      : act('Pause', `Pause the action ${name}`, `/api/actions/${name}/pause`, `${name} is paused.`);
    const since = now.oldest_pending ? [' since ', when(now.oldest_pending)] : [];
    const fails = now.failing ? make('p', { class: 'hint' }, 'has failed since ', when(now.failing.since), ': ', foreign(firstLine(now.failing.error))) : '';
    return make('li', {},
      make('p', { class: 'item' }, named(name, kind), mark(...stateOf(action))),
      make('div', { class: 'item' }, make('span', { class: 'hint' }, words.join(', '), ...since), kind || now.paused ? pause : ''), fails);
  }) : [make('li', { class: 'hint', textContent: 'None: events are stored, and another program processes them.' })]);
}

const clock = ({ hour }) => new Date(hour).toLocaleTimeString([], { timeStyle: 'short' });

function showHours({ hours }) {
  const total = (name) => hours.reduce((sum, hour) => sum + hour[name], 0);
  const isQuiet = SERIES.every(([name]) => !total(name));
  id('quiet').hidden = !isQuiet;
  id('chart-box').hidden = isQuiet;
  fill(id('chart'), JSON.stringify(hours), () => {
    const most = Math.max(1, ...hours.map((hour) => Math.max(hour.failed, REQUESTS.reduce((sum, [name]) => sum + hour[name], 0))));
    const heightOf = (number) => number ? Math.max(2, (number / most) * 112) : 0;
    const label = `Deliveries of the last 24 hours: ${SERIES.map(([name, word]) => `${total(name)} ${word}`).join(', ')}.`;
    const chart = draw('svg', { viewBox: '0 0 720 120', preserveAspectRatio: 'none', role: 'img', 'aria-label': label });
    chart.append(draw('line', { x1: 0, x2: 720, y1: 119.5, y2: 119.5 }));
    hours.forEach((hour, at) => {
      let y = 119;
      const title = `${clock(hour)}: ${SERIES.map(([name, word]) => `${hour[name]} ${word}`).join(', ')}`;
      const bar = draw('g', {}, draw('title', {}, title));
      for (const [name] of REQUESTS) {
        const height = heightOf(hour[name]);
        y -= height;
        bar.append(draw('rect', { class: name, x: at * 30 + 4, y, width: 22, height }));
      }
      const failed = heightOf(hour.failed);
      if (failed) bar.append(draw('rect', { class: 'failed', x: at * 30 + 10, y: 119 - failed, width: 10, height: failed }));
      chart.append(bar);
    });
    return [chart, most > 1 ? make('span', { class: 'most hint', textContent: most.toLocaleString() }) : ''];
  });
  fill(id('legend'), JSON.stringify(SERIES.map(([name]) => total(name))), () => SERIES.map(([name, word]) => make('li', {},
    draw('svg', { viewBox: '0 0 10 10', 'aria-hidden': 'true' }, draw('rect', { class: name, width: 10, height: 10, rx: 2 })),
    `${total(name).toLocaleString()} ${word}`)));
  fill(id('hours'), JSON.stringify(hours), () => [
    make('caption', { class: 'hint', textContent: 'What failed was received before, and is not counted again in the bars.' }),
    make('tr', {}, ...['hour', ...SERIES.map(([, word]) => word)].map((textContent) => make('th', { scope: 'col', textContent }))),
    ...hours.toReversed().map((hour) => make('tr', {}, make('td', { textContent: clock(hour) }), ...SERIES.map(([name]) => make('td', { textContent: hour[name] }))))]);
}

// Rejects of a source come before those of scanners that guess addresses.
function showRejects({ rejects }) {
  id('rejects-section').hidden = !rejects.length;
  const sorted = [...rejects.filter((reject) => reject.source), ...rejects.filter((reject) => !reject.source)];
  const further = sorted.slice(REJECTS);
  fill(id('rejects'), JSON.stringify(sorted.slice(0, REJECTS)), () => sorted.slice(0, REJECTS).map(rejectItem));
  id('further-box').hidden = !further.length;
  id('further-count').textContent = `${further.length.toLocaleString()} more`;
  fill(id('further'), JSON.stringify(further), () => further.map(rejectItem));
}

const rejectItem = (reject) => make('li', {},
  make('p', {}, make('b', {}, foreign(reject.source || reject.path || 'a request')), ' ', foreign(reject.text)),
  make('p', { class: 'hint' }, ...(reject.count > 1 ? [`${count(reject.count, 'time')} since `, when(reject.first_at), ', last '] : []), when(reject.last_at), ' from ', foreign(reject.peer)));

function showFirst({ sources, stats, rejects }) {
  id('first').hidden = stats.received > 0 || rejects.some((reject) => reject.source);
  fill(id('first-commands'), JSON.stringify(sources), () => sources.map(({ send }) => make('code', { textContent: send + '\n' })));
  const variables = [...new Set(sources.map((source) => source.variable).filter(Boolean))].join(', ');
  id('first-secret').hidden = !variables;
  id('first-secret').textContent = `That shell needs ${variables} too, to sign with.`;
}

// ---- the list

const view = () => new URLSearchParams(location.hash.slice(1));

function eventLink(event) {
  const to = view();
  to.set('id', event);
  return '#' + to;
}

function showEvents({ events, more, searched_to, wrong }) {
  const rows = new Map([...id('rows').children].map((row) => [row.dataset.id, row]));
  const wanted = events.map((event) => {
    const state = JSON.stringify([event, location.hash]);
    const before = rows.get(String(event.id));
    if (before && before.dataset.key === state) return before;
    const link = make('a', { href: eventLink(event.id) }, make('span', { class: 'number', textContent: event.id + ' ' }), foreign(event.event));
    const again = event.duplicates ? make('span', { class: 'hint', textContent: ` +${count(event.duplicates, 'duplicate')}` }) : '';
    const note = event.note ? make('span', { class: 'hint', textContent: ' ' + visible(event.note) }) : '';
    const taken = event.taken ? make('span', { class: 'hint', textContent: ' taken from the API' }) : '';
    const cells = [[link, again, taken], [foreign(event.source)], [mark(event.status), note], [when(event.received_at)], [make('span', { class: 'mono' }, foreign(event.delivery_id))]];
    const row = before || make('tr', { class: known && !known.has(event.id) ? 'fresh' : '' });
    const hadFocus = before && before.contains(document.activeElement);
    row.dataset.id = event.id;
    row.dataset.key = state;
    row.replaceChildren(...cells.map((cell) => make('td', {}, ...cell)));
    if (hadFocus) row.querySelector('a').focus();
    return row;
  });
  place(id('rows'), wanted);
  const all = !FILTERS.some((name) => view().get(name)) && !view().get('before');
  id('events').hidden = !events.length;
  const full = more && shown >= SCREENS;
  id('none').hidden = events.length > 0 && !full;
  id('searched').hidden = !searched_to;
  id('searched').textContent = searched_to ? `Searched only back to event ${searched_to}. ` : '';
  if (searched_to) id('searched').append(make('a', { href: '#' + withFilter('before', searched_to), textContent: 'Search older ones' }));
  id('none').textContent = wrong ? `No such filter: ${visible(wrong)}.` : full ? 'To see older ones, narrow the filter.' : all ? 'None yet.' : 'No event passes this filter.';
  id('filter').hidden = all && !events.length;
  id('older').hidden = !more || full;
  known = new Set(events.map((event) => event.id));
}

function withFilter(name, value) {
  const to = view();
  to.set(name, value);
  return to;
}

// What a person can do with all that is listed. The address of a filter can be kept and sent: it has no token.
function showBulk({ stats }) {
  const filter = view();
  filter.delete('id');
  const isFiltered = String(filter) !== '';
  const hasFailed = stats.events.error > 0 || stats.actions.some((action) => action.pending || action.dead);
  fill(id('bulk'), JSON.stringify([String(filter), isFiltered, hasFailed]), () => {
    const failed = make('button', { type: 'button', textContent: isFiltered ? 'Try these now' : 'Try all that failed now' });
    failed.onclick = () => changeAll(failed, 'replay', (isFiltered ? filter + '&' : '') + 'scope=failed', QUEUED);
    const cancel = make('button', { type: 'button', textContent: 'Cancel these' });
    cancel.onclick = () => changeAll(cancel, 'cancel', filter, CANCELLED);
    const link = make('a', { href: '#' + filter, textContent: 'Link to this list' });
    return [isFiltered || hasFailed ? failed : '', isFiltered ? cancel : '', isFiltered ? link : ''];
  });
}

// Moving a row would take the focus from it: rows that are in their place stay there.
function place(body, rows) {
  const keep = new Set(rows);
  [...body.children].filter((row) => !keep.has(row)).forEach((row) => row.remove());
  rows.forEach((row, at) => {
    if (body.children[at] !== row) body.insertBefore(row, body.children[at] || null);
  });
}

// The server lists so many at once; further ones are asked for page by page.
async function list() {
  const filter = view();
  filter.delete('id');
  // A search costs the server up to a second: it is repeated only when it is asked for.
  const key = `${filter} ${shown}`;
  if (filter.get('grep') && found && found.key === key) return found.list;
  const events = [];
  let more = true, searched_to = null;
  while (more && events.length < shown) {
    filter.set('limit', Math.min(MOST, shown - events.length));
    if (events.length) filter.set('before', events.at(-1).id);
    const page = await ask('/api/events?' + filter);
    events.push(...page.events);
    more = page.more;
    searched_to = page.searched_to;
  }
  found = { key, list: { events, more, searched_to } };
  return found.list;
}

// An address may have a filter that the server does not know. The rest of the page is still shown.
async function listOrWrong() {
  try {
    return await list();
  } catch (error) {
    if (error.status !== 400) throw error;
    return { events: [], more: false, searched_to: null, wrong: error.message };
  }
}

// ---- one event

function showEvent(event) {
  id('event').classList.remove('is-empty');
  const title = make('span', {}, foreign(event.event), ' from ', foreign(event.source));
  fill(id('event-title'), JSON.stringify([event.id, event.event]), () => [title]);
  const facts = [['Status', mark(event.status)], ['Event', String(event.id)], ['Received', when(event.received_at)]];
  if (event.processed_at) facts.push([event.status === 'cancelled' ? 'Cancelled' : 'Processed', when(event.processed_at)]);
  facts.push(['Delivery', make('span', { class: 'mono' }, foreign(event.delivery_id))]);
  if (event.duplicates) facts.push(['Came again', count(event.duplicates, 'time')]);
  if (event.taken) facts.push(['Taken', 'from the provider\u2019s API, not verified by a signature']);
  if (event.secret) facts.push(['Verified with', `secret ${event.secret}`]);
  facts.push(['Size', bytes(event.payload_bytes)]);
  fill(id('facts'), JSON.stringify(event), () => list_of(facts));
  const open = event.jobs.some((job) => ['queued', 'running'].includes(job.state));
  const tries = event.jobs.some(isTriable) || !event.jobs.length;
  const path = `/api/events/${event.id}`;
  fill(id('buttons'), JSON.stringify([event.id, open, tries]), () => [
    tries ? act('Try now', `Try event ${event.id} now`, path + '/replay', 'Queued.') : '',
    open ? act('Cancel', `Cancel what is open of event ${event.id}`, path + '/cancel', 'Cancelled.') : '',
    !open && event.jobs.length ? act('Do all of it again', `Do all of event ${event.id} again`, path + '/replay?scope=again', 'Queued again.') : '']);
  fill(id('jobs'), JSON.stringify([event.jobs, event.not_for, event.status]), () => [
    ...event.jobs.map((job) => jobItem(event, job)),
    event.jobs.length ? '' : make('li', { class: 'hint', textContent: withoutJobs(event) }),
    ...cut('jobs', event.not_for, NAMES, exclusionItem)]);
  fill(id('headers'), event.headers_json, () => list_of(headersOf(event).map(([name, value]) => [foreign(name), foreign(value)])));
  showPayload(event);
}

// The server's words, with its times as times of this browser.
function stateOf(job) {
  const parts = job.text.split(/(\d{4}-\d\d-\d\dT[\d:]{8}\+00:00)/);
  const [first, ...rest] = parts.map((part, at) => at % 2 ? when(part) : visible(part));
  return make('span', {}, mark(first, OUTCOMES[job.state]), ...rest);
}

// A job that is not done, and would not be tried by itself in this moment.
const isTriable = (job) => ['dead', 'cancelled'].includes(job.state) || job.state === 'queued' && job.due_at_ms > Date.now();

const list_of = (pairs) => pairs.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, value)]);

function jobItem(event, job) {
  const again = isTriable(job) && event.jobs.length > 1
    ? act('Try now', `Try ${job.action} of event ${event.id} now`, `/api/events/${event.id}/replay?action=${encodeURIComponent(job.action)}`, 'Queued again.') : '';
  return make('li', {},
    make('div', { class: 'item' }, make('span', {}, make('b', {}, foreign(job.action)), ' ', stateOf(job)), again),
    make('ol', { class: 'attempts' }, ...job.attempts.map((attempt) => make('li', { value: attempt.number },
      when(attempt.started_at), attempt.duration_ms === null ? ': ' : `, ${attempt.duration_ms} ms: `,
        { success: 'succeeded', retry: 'failed', give_up: 'gave up', interrupted: 'was interrupted' }[attempt.outcome],
      attempt.detail ? make('pre', {}, foreign(attempt.detail.replaceAll('\r\n', '\n'))) : ''))));
}

const withoutJobs = ({ status, not_for }) => status === 'unprocessed' && not_for.length ? 'Its jobs are not made yet.' : 'No action was for this event.';

// Why an action has no job for the event.
const exclusionItem = ({ action, unmet, condition }) => make('li', { class: 'hint' }, make('b', {}, foreign(action)),
  unmet === 'nothing' ? ' has no job, but is for this event by today’s config.' : ' is not for it, by ',
  unmet === 'nothing' ? '' : make('code', {}, foreign(condition)));

function headersOf(event) {
  try {
    return Object.entries(JSON.parse(event.headers_json)).map(([name, value]) => [name, [].concat(value).join(', ')]);
  } catch {
    return [['headers', event.headers_json]];
  }
}

function showPayload(event) {
  const raw = event.body ?? event.payload_json;
  fill(id('raw'), `${event.id} ${raw}`, () => [raw === null ? 'too large to be shown here' : visible(raw)]);
  fill(id('tree'), `${event.id} ${event.payload_json}`, () => {
    if (event.payload_json === null) {
      return [make('p', { textContent: `${bytes(event.payload_bytes)} are too much to show here. In a shell: hookbox show --body ${event.id}` })];
    }
    try {
      return [node(null, JSON.parse(event.payload_json, exact), true)];
    } catch {
      return [make('pre', {}, visible(event.payload_json))];
    }
  });
}

// A number that JavaScript would round is kept as it was written.
class Exact {
  constructor(text) { this.text = text; }
}

function exact(key, value, context) {
  const rounds = typeof value === 'number' && context && context.source && String(value) !== context.source;
  return rounds ? new Exact(context.source) : value;
}

function node(key, value, open) {
  const name = key === null ? '' : make('span', { class: 'key' }, foreign(key), ': ');
  if (value === null || typeof value !== 'object' || value instanceof Exact) {
    const text = value instanceof Exact ? value.text : JSON.stringify(value);
    return make('div', {}, name, make('span', { class: typeof value === 'string' ? 'string' : 'other' }, literal(text)));
  }
  const entries = Object.entries(value);
  const size = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
  const box = make('details', { open }, make('summary', {}, name, make('span', { class: 'key', textContent: size })));
  // Made when it is opened: a payload may have a hundred thousand nodes.
  const unfold = () => {
    if (box.open && box.children.length === 1) addChildren(box, entries, 0);
  };
  box.addEventListener('toggle', unfold);
  unfold();
  return box;
}

function addChildren(box, entries, from) {
  for (const [key, value] of entries.slice(from, from + CHILDREN)) box.append(node(key, value, false));
  const left = entries.length - from - CHILDREN;
  if (left <= 0) return;
  const button = make('button', { type: 'button', textContent: `${left} more` });
  button.onclick = () => {
    button.remove();
    addChildren(box, entries, from + CHILDREN);
  };
  box.append(button);
}

// ---- what happens

let turn = 0;

async function refresh() {
  const mine = ++turn;
  clearTimeout(refresh.timer);
  if (!document.hidden && !id('ask').open) await poll(mine);
  if (mine === turn) refresh.timer = setTimeout(refresh, EVERY_MS);
}

async function poll(mine) {
  try {
    const wanted = view().get('id');
    const [overview, events, event] = await Promise.all([ask('/api/stats'), wanted ? null : listOrWrong(), wanted ? one(wanted) : null]);
    if (mine !== turn) return; // a later poll has overtaken this one
    offline = null;
    showProblems(problems(overview), overview.stats.events.unprocessed);
    showSources(overview);
    showActions(overview);
    showHours(overview);
    showRejects(overview);
    showFirst(overview);
    showBulk(overview);
    if (events) showEvents(events);
    if (event) showEvent(event);
    id('foot').textContent = `hookbox ${overview.version}, since ${new Date(overview.started_at).toLocaleString()}. Database ${bytes(overview.stats.database_bytes)}.`;
  } catch (error) {
    if (id('ask').open || mine !== turn) return;
    offline = offline || Date.now();
    if (error.status === 429) showProblems([{ weight: 2, text: `The page waits: ${visible(error.message)}.` }]);
    else if (error.status && error.status !== 503) id('told').textContent = visible(error.message);
    else showProblems([{ weight: 2, text: `No answer from hookbox since ${new Date(offline).toLocaleTimeString()}.` }]);
  }
}

async function one(wanted) {
  try {
    return await ask('/api/events/' + encodeURIComponent(wanted));
  } catch (error) {
    if (error.status !== 404) throw error;
    id('event-title').textContent = `There is no event ${visible(wanted)}.`;
    return null;
  }
}

// An address may have a value that is not offered, such as since=3h. What the list is filtered by is shown.
function enter(field, value) {
  if (field.options && ![...field.options].some((option) => option.value === value)) field.add(new Option(value));
  field.value = value;
}

// The address names the view, so that it can be bookmarked, sent and returned to.
function follow() {
  takeToken();
  const to = view();
  const was = opened;
  opened = to.get('id');
  id('overview').hidden = opened !== null;
  id('event').hidden = opened === null;
  id('told').textContent = '';
  to.delete('id');
  id('back').href = '#' + to;
  for (const name of FILTERS) {
    // A field that is being edited keeps its text.
    if (location.hash.slice(1) !== chosen) enter(id('filter').elements[name], to.get(name) || '');
  }
  chosen = null;
  if (opened !== was) {
    if (opened !== null) {
      id('event').classList.add('is-empty');
      id('event-title').replaceChildren('…');
      delete id('event-title').dataset.key;
      scrollTo(0, 0);
      id('event-title').focus();
    } else {
      (document.querySelector(`tr[data-id="${CSS.escape(was)}"] a`) || id('events-title')).focus();
    }
  } else {
    shown = PAGE;
    known = null;
  }
  refresh();
}

function choose() {
  if (opened !== null) return; // the field was left for an event
  found = null;
  const to = new URLSearchParams();
  for (const name of FILTERS) {
    const value = id('filter').elements[name].value.trim();
    if (value) to.set(name, value);
  }
  chosen = to.toString();
  location.hash = chosen;
}

id('filter').onsubmit = (submit) => submit.preventDefault();
id('filter').oninput = id('filter').onchange = () => {
  clearTimeout(choose.timer);
  choose.timer = setTimeout(choose, 300);
};
id('filter').onreset = () => { location.hash = ''; };
id('older').onclick = () => {
  shown += PAGE;
  refresh();
};
id('skip').onclick = (click) => {
  click.preventDefault();
  (opened === null ? id('events-title') : id('event-title')).focus();
};
id('token-form').onsubmit = () => {
  localStorage.setItem('token', id('token').value);
  id('token').value = '';
  setTimeout(refresh);
};
addEventListener('keydown', (key) => {
  if (key.key === 'Escape' && opened !== null && !id('ask').open) location.hash = id('back').hash;
});
addEventListener('hashchange', follow);
document.addEventListener('visibilitychange', () => document.hidden || refresh());
follow();
