// The page: puts the tracks together, moves the view, tells what is pointed at.
const byId = (id) => document.getElementById(id);
function element(tag, text = '', css = '') {
  const made = document.createElement(tag);
  if (text !== '') made.textContent = text;
  if (css) made.className = css;
  return made;
}

const tracks = [];
const holder = byId('tracks');
const cross = element('div', '', 'cross');
const chosen = element('div', '', 'chosen');
const tip = element('div', '', 'tip');
let kept = false;
let lastScroll = -1e9;

function build() {
  const made = [overviewTrack(), axisTrack()];
  if (run.faults.length) made.push(faultTrack());
  if (run.nodes.length) made.push(nodeTrack());
  if (run.claims.length || run.claims_error) made.push(claimTrack());
  made.push(processTrack());
  if (operations) made.push(latencyTrack(), rateTrack());
  for (const track of made) {
    const box = element('div', '', 'track' + (track.sticky ? ' sticky' : ''));
    if (track.title) {
      const head = element('div', '', 'name');
      head.append(element('b', track.title), element('span', track.note));
      track.more = element('button');
      track.more.type = 'button';
      track.more.addEventListener('click', () => { track.open = !track.open; layout(); });
      if (track.foldable) {
        track.fold = element('button');
        track.fold.type = 'button';
        track.fold.addEventListener('click', () => { track.folded = !track.folded; layout(); });
        head.append(track.fold);
      }
      head.append(track.more);
      track.more.hidden = true;
      box.append(head);
    }
    track.canvas = element('canvas');
    track.canvas.setAttribute('role', 'img');
    track.canvas.setAttribute('aria-label', track.title ? `${track.title}: ${track.note}` : track.id);
    box.append(track.canvas);
    holder.append(box);
    tracks.push(track);
  }
  holder.append(cross, chosen);
  document.body.append(tip);
}

// -- drawing --------------------------------------------------------------------------------------------------------

let asked = 0;
const redraw = () => { if (!asked) asked = requestAnimationFrame(paint); };

function paint() {
  asked = 0;
  for (const track of tracks) {
    const place = track.canvas.getBoundingClientRect();
    if (place.bottom < -200 || place.top > innerHeight + 200) { track.stale = true; continue; }
    track.stale = false;
    const height = track.height();
    track.draw(prepare(track.canvas, height), height);
  }
}

function layout() {
  width = holder.clientWidth;
  gutter = width < 700 ? 92 : 148;
  for (const track of tracks) {
    const height = track.height() + 'px';
    if (track.canvas.style.height !== height) track.canvas.style.height = height;
    if (track.fold) track.fold.textContent = track.folded ? 'A row per process' : 'Fold successors';
    if (!track.more || !track.limit) continue;
    const all = track.count();
    track.more.hidden = all <= track.limit + 4;
    track.more.textContent = track.open ? 'Show fewer' : `Show all ${all}`;
  }
  redraw();
}

// -- the view -------------------------------------------------------------------------------------------------------

function show(from, to) {
  let span = Math.min(Math.max(to - from, SHORTEST), full.to - full.from);
  if (!Number.isFinite(span)) return;
  let left = (from + to - span) / 2;
  left = Math.min(Math.max(left, full.from), full.to - span);
  view.from = left; view.to = left + span;
  redraw();
  later();
}

const zoom = (factor, around = (view.from + view.to) / 2) =>
  show(around - (around - view.from) * factor, around + (view.to - around) * factor);
const move = (share) => {
  const shift = (view.to - view.from) * share;
  const kept = Math.min(Math.max(shift, full.from - view.from), full.to - view.to);
  show(view.from + kept, view.to + kept);
};
const isFull = () => view.to - view.from >= (full.to - full.from) * 0.9999;

let waiting = 0;
function later() {
  clearTimeout(waiting);
  waiting = setTimeout(() => { remember(); describeView(); }, 140);
}

function remember() {
  const parts = [];
  if (!isFull()) parts.push(`from=${(view.from / 1e9).toFixed(6)}`, `to=${(view.to / 1e9).toFixed(6)}`);
  const text = byId('find').value.trim();
  if (text) parts.push('find=' + encodeURIComponent(text));
  if (selection.mark !== null) parts.push('entry=' + entriesOf(selection.mark)[0]);
  const address = location.href.split('#')[0] + (parts.length ? '#' + parts.join('&') : '');
  try { history.replaceState(null, '', address); } catch { /* some browsers forbid it for files: the view is not kept then */ }
}

function recall() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const number = (name) => (wanted.get(name) === null ? NaN : Number(wanted.get(name)) * 1e9);
  if (wanted.get('find') !== null) { byId('find').value = wanted.get('find'); search(); }
  const mark = entryMark.get(Number(wanted.get('entry') ?? NaN));
  selection.mark = mark ?? null;
  const from = number('from'), to = number('to');
  const any = !Number.isNaN(from) || !Number.isNaN(to) || mark !== undefined;
  if (Number.isNaN(from) && Number.isNaN(to) && mark !== undefined) {
    const around = Math.max(lasts(mark) - marks.from[mark], 1e6);
    show(marks.from[mark] - 2 * around, marks.from[mark] + 3 * around);
  } else if (any) show(Number.isNaN(from) ? full.from : from, Number.isNaN(to) ? full.to : to);
  layout();
  return any;
}

function describeView() {
  const counts = [0, 0, 0], took = [];
  for (let n = firstFrom(byTime, view.from); n < total; n++) {
    const i = byTime[n];
    if (marks.from[i] > view.to) break;
    if (marks.note[i] || !shown(i) || (found && !found[i])) continue;
    counts[marks.outcome[i]]++;
    if (marks.outcome[i] === OK && marks.until[i] !== null) took.push(marks.until[i] - marks.from[i]);
  }
  took.sort((a, b) => a - b);
  const at = (share) => duration(took[Math.min(Math.floor(took.length * share), took.length - 1)]);
  const digits = digitsFor((view.to - view.from) / 1000);
  byId('visible').textContent =
    `In view: ${seconds(view.from, digits)} to ${seconds(view.to, digits)}, ${plural(counts[0] + counts[1] + counts[2], 'operation')} begun`
    + ` (${counts.map((n, k) => `${n.toLocaleString('en')} ${OUTCOMES[k]}`).join(', ')})`
    + (took.length ? `; ok took ${at(0.5)} (p50), ${at(0.99)} (p99), ${at(1)} at most.` : '.');
}

// -- pointing -------------------------------------------------------------------------------------------------------

function rowsOf(item) {
  const times = (from, to, ended) => [['from', seconds(from)], ['until', ended ? seconds(to) : 'the end'], ['lasted', duration(to - from)]];
  if (item.kind === 'mark') return markRows(item.i);
  if (item.kind === 'fault') {
    const { kind, nodes, evidence, detail, until } = item.fault;
    const proof = evidence ? `${evidence.toLocaleString('en')} ${detail}` : `none: nothing shows that it bit ${detail}`;
    return [`${kind} ${nodes.join(', ')}`, [...times(item.from, item.to, until !== null), ['evidence', proof, !evidence]]];
  }
  if (item.kind === 'claim') {
    const { key, fence, owner, until } = item.claim;
    const rows = [['owner', owner], ['fence', String(fence)], ...times(item.from, item.to, until !== null)];
    if (item.shared) rows.push(['but', 'somebody else held it at the same time', true]);
    return [key, rows];
  }
  if (item.kind === 'reign') return [`${item.node} leads`, [['term', String(item.term)], ...times(item.from, item.to, item.ended)]];
  if (item.kind === 'span') return [`${item.node} ${item.state}`, times(item.from, item.to, item.ended)];
  if (item.kind === 'rate') {
    const rows = item.bucket.counts.map((n, k) => [OUTCOMES[k], n.toLocaleString('en')]);
    return [`${seconds(item.from)} to ${seconds(item.to)}`, rows];
  }
  return null;
}

function markRows(i) {
  const key = marks.key[i] === null ? '' : ' ' + run.keys[marks.key[i]];
  const rows = [];
  const value = (id) => run.values[id];
  if (marks.note[i]) rows.push(['noted', value(marks.answer[i])], ['at', seconds(marks.from[i])]);
  else {
    if (value(marks.asked[i]) !== 'null') rows.push(['asked', value(marks.asked[i])]);
    if (marks.completed[i] === null) rows.push(['outcome', 'nothing came back']);
    else rows.push(['outcome', OUTCOMES[marks.outcome[i]]], ['answer', value(marks.answer[i])]);
    rows.push(['from', seconds(marks.from[i])]);
    if (marks.until[i] !== null) rows.push(['until', seconds(marks.until[i])], ['took', duration(marks.until[i] - marks.from[i])]);
  }
  rows.push(['entries', entriesOf(i).map((n) => '#' + n).join(', ')]);
  for (const w of run.windows) if (w.culprit === i) rows.push(['but', w.why, true]);
  const during = run.faults.filter((fault) => fault.from <= (marks.until[i] ?? marks.from[i]) && ends(fault) >= marks.from[i]);
  if (during.length) {
    const named = during.slice(0, 6).map((fault) => `${fault.kind} ${fault.nodes.join(' ')}`);
    rows.push(['during', named.join(', ') + (during.length > 6 ? `, and ${during.length - 6} more` : '')]);
  }
  return [`${run.fs[marks.f[i]]}${key}, ${rowName(marks.row[i])}`, rows];
}

function tell(item, px, py) {
  const told = item && rowsOf(item);
  if (!told) { tip.style.display = 'none'; return; }
  const list = element('dl');
  for (const [name, text, bad] of told[1]) list.append(element('dt', name), element('dd', text, bad ? 'bad' : ''));
  tip.replaceChildren(element('h3', told[0]), list);
  tip.style.display = 'block';
  const box = tip.getBoundingClientRect();
  const left = px + 18 + box.width > innerWidth - 8 ? px - 14 - box.width : px + 18;
  const top = py + 16 + box.height > innerHeight - 8 ? py - 12 - box.height : py + 16;
  tip.style.left = Math.max(left, 8) + 'px';
  tip.style.top = Math.max(top, 8) + 'px';
}

function letGo() {
  kept = false;
  selection.mark = null;
  tip.classList.remove('kept');
  tip.style.display = 'none';
  redraw();
  later();
}

const trackOf = (event) => tracks.find((track) => track.canvas === event.target);
const local = (event) => event.clientX - holder.getBoundingClientRect().left;
let drag = null;

function pressed(event) {
  const track = trackOf(event);
  if (!track || event.button > 1 || event.pointerType === 'touch' && !track.whole && event.isPrimary === false) return;
  const px = local(event);
  const inside = track.whole && !isFull() && timeAt(px, full) > view.from && timeAt(px, full) < view.to;
  const moving = event.shiftKey || event.button === 1 || event.pointerType === 'touch' || inside;
  drag = { px, at: px, from: view.from, to: view.to, moving, range: track.whole ? { ...full } : { ...view }, far: false, track };
  holder.setPointerCapture(event.pointerId);
  if (event.button === 1) event.preventDefault();
}

function dragged(event) {
  drag.at = local(event);
  if (Math.abs(drag.at - drag.px) > 4) drag.far = true;
  if (!drag.far) return;
  tip.style.display = 'none';
  if (drag.moving) {
    const shift = timeAt(drag.at, drag.range) - timeAt(drag.px, drag.range);
    const wanted = drag.track.whole ? shift : -shift;
    const within = Math.min(Math.max(wanted, full.from - drag.from), full.to - drag.to);
    show(drag.from + within, drag.to + within);
  } else {
    const left = Math.max(Math.min(drag.px, drag.at), gutter), right = Math.max(drag.px, drag.at);
    chosen.style.display = 'block';
    chosen.style.transform = `translateX(${left}px)`;
    chosen.style.width = Math.max(right - left, 1) + 'px';
  }
}

function released(event) {
  const { px, at, range, far, moving, track } = drag;
  drag = null;
  chosen.style.display = 'none';
  if (far && !moving) {
    const [left, right] = [Math.max(Math.min(px, at), gutter), Math.max(px, at)];
    show(timeAt(left, range), timeAt(right, range));
  } else if (!far && track.at) {
    const box = track.canvas.getBoundingClientRect();
    const hit = track.at(px, event.clientY - box.top);
    letGo();
    if (hit && hit.item) {
      kept = true;
      tell(hit.item, event.clientX, event.clientY);
      tip.classList.add('kept');
      if (hit.item.kind === 'mark') selection.mark = hit.item.i;
      redraw();
    }
  } else if (!far && track.whole) {
    const span = view.to - view.from, middle = timeAt(px, full);
    show(middle - span / 2, middle + span / 2);
  }
}

function hovered(event) {
  const px = local(event);
  cross.style.display = px >= gutter && px <= width ? 'block' : 'none';
  cross.style.transform = `translateX(${Math.round(px)}px)`;
  if (kept) return;
  const track = trackOf(event);
  const hit = track && track.at && track.at(px, event.clientY - track.canvas.getBoundingClientRect().top);
  tell(hit && hit.item, event.clientX, event.clientY);
}

function wheeled(event) {
  const across = Math.abs(event.deltaX) > Math.abs(event.deltaY);
  const scale = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
  if (across || event.shiftKey) {
    if (isFull()) return;
    event.preventDefault();
    move(((across ? event.deltaX : event.deltaY) * scale) / plotWidth());
    return;
  }
  const scrolling = performance.now() - lastScroll < 350;
  const nothingToDo = event.deltaY > 0 && isFull();
  if (!event.ctrlKey && (scrolling || nothingToDo || local(event) < gutter)) return;
  event.preventDefault();
  const track = trackOf(event);
  if (!kept) tip.style.display = 'none';
  zoom(Math.exp(Math.max(Math.min(event.deltaY * scale, 240), -240) * 0.0022), timeAt(local(event), track && track.whole ? full : view));
}

function typed(event) {
  const field = byId('find');
  if (event.target === field) {
    if (event.key === 'Escape') { field.value = ''; search(); field.blur(); }
    if (event.key === 'Enter') jump(event.shiftKey ? -1 : 1);
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  if (event.target.closest && event.target.closest('.drawing, .tip')) return;
  const keys = {
    ArrowLeft: () => move(event.shiftKey ? -0.8 : -0.2), ArrowRight: () => move(event.shiftKey ? 0.8 : 0.2),
    '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1 / 0.6), '_': () => zoom(1 / 0.6),
    0: () => show(full.from, full.to), '/': () => field.focus(), Escape: letGo,
  };
  if (keys[event.key]) { keys[event.key](); event.preventDefault(); }
}

// -- finding, hiding ------------------------------------------------------------------------------------------------

function search() {
  find(byId('find').value);
  byId('found').textContent = found ? `${foundCount.toLocaleString('en')} of ${total.toLocaleString('en')}` : '';
  layout();
  later();
}

// Brings the next mark that was found to the middle, closer if it is too small to be seen.
function jump(step) {
  const ids = found ? [...byTime].filter((i) => found[i] && shown(i)) : [];
  if (!ids.length) return;
  const here = ids.indexOf(selection.mark);
  const next = ids[here < 0 ? 0 : (here + step + ids.length) % ids.length];
  selection.mark = next;
  const took = Math.max((marks.until[next] ?? marks.from[next]) - marks.from[next], 1e5);
  const span = Math.min(view.to - view.from, took * 60);
  const middle = marks.from[next] + took / 2;
  show(middle - span / 2, middle + span / 2);
}

function chip(text, fill, hidden, id, css) {
  const made = element('button', '', 'chip ' + css);
  made.type = 'button';
  made.setAttribute('aria-pressed', 'true');
  const square = element('i');
  square.style.background = fill;
  made.append(square, text);
  made.addEventListener('click', () => {
    if (!hidden.delete(id)) hidden.add(id);
    made.setAttribute('aria-pressed', String(!hidden.has(id)));
    redraw();
    later();
  });
  return made;
}

function legend() {
  const counts = [0, 0, 0], perF = run.fs.map(() => 0);
  for (let i = 0; i < total; i++) if (!marks.note[i]) { counts[marks.outcome[i]]++; perF[marks.f[i]]++; }
  const outcomes = OUTCOMES.map((name, n) => chip(`${name} ${counts[n].toLocaleString('en')}`, colour.outcomes[n], hiddenOutcome, n, ''));
  const functions = run.fs.map((f, n) => [f, n]).filter(([, n]) => perF[n])
    .map(([f, n]) => chip(`${f} ${perF[n].toLocaleString('en')}`, fColour(n), hiddenF, n, 'dot'));
  byId('legend').replaceChildren(...outcomes, element('span', '', 'gap'), ...functions);
}

function copying() {
  const button = byId('copy');
  if (!button) return;
  button.hidden = false;
  button.addEventListener('click', async () => {
    const text = byId('command').textContent;
    try { await navigator.clipboard.writeText(text); } catch {
      getSelection().selectAllChildren(byId('command'));
      document.execCommand('copy');
    }
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = 'Copy'; }, 1400);
  });
}

// -- beginning ------------------------------------------------------------------------------------------------------

function start() {
  copying();
  if (!holder) return;
  build();
  legend();
  holder.addEventListener('pointerdown', pressed);
  holder.addEventListener('pointermove', (event) => (drag ? dragged(event) : hovered(event)));
  holder.addEventListener('pointerup', (event) => drag && released(event));
  holder.addEventListener('pointercancel', () => { drag = null; chosen.style.display = 'none'; });
  holder.addEventListener('pointerleave', () => { cross.style.display = 'none'; if (!kept) tip.style.display = 'none'; });
  holder.addEventListener('dblclick', (event) => { if (trackOf(event) || event.target === holder) show(full.from, full.to); });
  holder.addEventListener('wheel', wheeled, { passive: false });
  document.addEventListener('keydown', typed);
  document.addEventListener('pointerdown', (event) => { if (kept && !holder.contains(event.target) && !tip.contains(event.target)) letGo(); });
  addEventListener('scroll', () => { lastScroll = performance.now(); if (tracks.some((track) => track.stale)) redraw(); }, { passive: true });
  addEventListener('hashchange', () => { if (recall()) byId('timeline').scrollIntoView(); });
  byId('find').addEventListener('input', search);
  byId('in').addEventListener('click', () => zoom(0.5));
  byId('out').addEventListener('click', () => zoom(2));
  byId('all').addEventListener('click', () => show(full.from, full.to));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { readColours(); hatches.clear(); legend(); redraw(); });
  new ResizeObserver(layout).observe(holder);
  layout();
  if (recall()) byId('timeline').scrollIntoView();
  paint();
  describeView();
}

const page = document.documentElement;
addEventListener('error', (event) => { page.dataset.report = `error: ${event.message}`; });
addEventListener('unhandledrejection', (event) => { page.dataset.report = `error: ${event.reason}`; });
try {
  start();
  page.dataset.report = 'ready';
  page.dataset.marks = String(total);
} catch (error) {
  page.dataset.report = `error: ${error.stack || error}`;
}
