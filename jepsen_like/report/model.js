// The run, as the page carries it, with the indices that drawing and pointing need. Times are nanoseconds.
const OK = 0, FAIL = 1, INFO = 2;
const OUTCOMES = ['ok', 'fail', 'info'];
const run = JSON.parse(document.getElementById('run').textContent);
const marks = run.marks;
const total = marks.row.length;
const pad = Math.max((run.end - run.start) * 0.005, 1);
const full = { from: run.start - pad, to: run.end + pad };
const view = { from: full.from, to: full.to };
const SHORTEST = 100;

const operations = marks.note.reduce((sum, note) => sum + (note ? 0 : 1), 0);
const byTime = Int32Array.from({ length: total }, (_, i) => i).sort((a, b) => marks.from[a] - marks.from[b] || a - b);
const rowMarks = run.rows.map(() => []);
for (const i of byTime) rowMarks[marks.row[i]].push(i);
const entryMark = new Map();
for (let i = 0; i < total; i++) {
  if (marks.invoked[i] !== null) entryMark.set(marks.invoked[i], i);
  if (marks.completed[i] !== null) entryMark.set(marks.completed[i], i);
}
const inWindow = new Set(run.windows.flatMap((w) => w.marks));
const culprits = new Set(run.windows.map((w) => w.culprit).filter((i) => i !== null));
const windowRows = new Set([...inWindow].map((i) => marks.row[i]));
const windowKeys = new Set(run.windows.map((w) => w.key));
const windowSpans = run.windows.filter((w) => w.marks.length).map((w) => ({
  from: Math.min(...w.marks.map((i) => marks.from[i])),
  to: Math.max(...w.marks.map((i) => marks.until[i] ?? marks.from[i])),
}));

const ends = (item) => item.until ?? run.end;
const lasts = (i) => marks.until[i] ?? run.end;
const rowName = (row, brief = false) => (run.numbered[row] ? (brief ? 'p' : 'process ') : '') + run.rows[row];
const entriesOf = (i) => [marks.invoked[i], marks.completed[i]].filter((n) => n !== null);

// The place of the first of `ids` (in the order of their beginning) that begins at `time` or later.
function firstFrom(ids, time) {
  let low = 0, high = ids.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (marks.from[ids[middle]] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

// -- what is looked for, and what is hidden -------------------------------------------------------------------------

const hiddenF = new Set();
const hiddenOutcome = new Set();
let found = null; // per mark 1 or 0; null when nothing is looked for
let foundCount = 0;
let foundRows = null;

const shown = (i) => !hiddenF.has(marks.f[i]) && !hiddenOutcome.has(marks.outcome[i]);

// Terms are joined by "and": a number is a process or a key, #number an entry, `f:read` one field, else a part of any text.
function find(text) {
  const terms = text.trim().toLowerCase().split(/\s+/).filter(Boolean).map(predicate);
  found = null; foundRows = null; foundCount = 0;
  if (!terms.length) return;
  found = new Uint8Array(total);
  foundRows = new Set();
  for (let i = 0; i < total; i++) {
    if (!terms.every((matches) => matches(i))) continue;
    found[i] = 1; foundCount++; foundRows.add(marks.row[i]);
  }
}

function predicate(term) {
  const field = /^(process|key|f|value|is):(.*)$/.exec(term);
  const entry = /^#(\d+)$/.exec(term);
  if (entry) return (i) => entriesOf(i).includes(Number(entry[1]));
  const rows = run.rows.map((name) => name.toLowerCase());
  const keys = run.keys.map((name) => name.toLowerCase());
  const fs = run.fs.map((name) => name.toLowerCase());
  const inRow = (test) => { const set = rows.map(test); return (i) => set[marks.row[i]]; };
  const inKey = (test) => { const set = keys.map(test); return (i) => marks.key[i] !== null && set[marks.key[i]]; };
  const inF = (test) => { const set = fs.map(test); return (i) => set[marks.f[i]]; };
  const inValue = (test) => {
    const set = run.values.map((value) => test(value.toLowerCase()));
    return (i) => (marks.asked[i] !== null && set[marks.asked[i]]) || (marks.answer[i] !== null && set[marks.answer[i]]);
  };
  if (field) {
    const wanted = field[2];
    if (field[1] === 'process') return inRow((name) => name === wanted);
    if (field[1] === 'key') return inKey((name) => name === wanted);
    if (field[1] === 'f') return inF((name) => name === wanted);
    if (field[1] === 'is') return (i) => OUTCOMES[marks.outcome[i]] === wanted;
    return inValue((value) => value.includes(wanted));
  }
  const anywhere = /^p?\d+$/.test(term)
    ? [inRow((name) => name === term || 'p' + name === term), inKey((name) => name === term)]
    : [inRow, inKey, inF, inValue].map((part) => part((name) => name.includes(term)));
  return (i) => anywhere.some((matches) => matches(i));
}

// -- words ----------------------------------------------------------------------------------------------------------

function duration(ns) {
  const units = [[1e9, 's'], [1e6, 'ms'], [1e3, 'µs'], [1, 'ns']];
  for (const [size, unit] of units) {
    if (Math.abs(ns) >= size) return `${Number((ns / size).toPrecision(3)).toLocaleString('en')} ${unit}`;
  }
  return '0 s';
}
const seconds = (ns, digits = 6) => {
  const text = (ns / 1e9).toFixed(digits);
  return (digits ? text.replace(/\.?0+$/, '') : text) + ' s';
};
const digitsFor = (stepNs) => Math.max(0, Math.min(9, -Math.floor(Math.log10(stepNs / 1e9) + 1e-9)));
const plural = (n, noun) => `${n.toLocaleString('en')} ${noun}${n === 1 ? '' : 's'}`;
const nodeOf = (owner) => (/^<?([^#:@>]+)/.exec(owner) ?? ['', owner])[1];
