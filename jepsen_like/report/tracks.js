// The tracks, one under the other on one scale of time. Each draws itself and says what lies at a point.
const selection = { mark: null };

function overviewTrack() {
  const high = 46;
  return {
    id: 'overview', whole: true, height: () => high,
    draw(g) {
      const buckets = Math.max(Math.floor(plotWidth() / 3), 1);
      const counts = [0, 1, 2].map(() => new Float64Array(buckets));
      for (let i = 0; i < total; i++) {
        if (marks.note[i] || !shown(i) || (found && !found[i])) continue;
        const place = Math.floor(((marks.from[i] - full.from) / (full.to - full.from)) * buckets);
        counts[marks.outcome[i]][Math.min(Math.max(place, 0), buckets - 1)]++;
      }
      let most = 1;
      for (let n = 0; n < buckets; n++) most = Math.max(most, counts[OK][n] + counts[FAIL][n] + counts[INFO][n]);
      g.globalAlpha = 0.1;
      for (const fault of run.faults) {
        g.fillStyle = faultColour(fault);
        g.fillRect(x(fault.from, full), 0, Math.max(x(ends(fault), full) - x(fault.from, full), 1), high);
      }
      g.globalAlpha = 1;
      for (let n = 0; n < buckets; n++) {
        let bottom = high - 4;
        for (const outcome of [OK, FAIL, INFO]) {
          const tall = (counts[outcome][n] / most) * (high - 12);
          if (!tall) continue;
          g.fillStyle = colour.outcomes[outcome];
          g.fillRect(gutter + (n * plotWidth()) / buckets, bottom - tall, plotWidth() / buckets - 0.5, tall);
          bottom -= tall;
        }
      }
      g.fillStyle = colour.bad;
      for (const span of windowSpans) {
        const left = x(span.from, full);
        g.fillRect(left - 1, 0, Math.max(x(span.to, full) - left, 0) + 2, 5);
        g.globalAlpha = 0.35; g.fillRect(left, 5, Math.max(x(span.to, full) - left, 1), high); g.globalAlpha = 1;
      }
      const left = Math.max(x(view.from, full), gutter), right = Math.min(x(view.to, full), gutter + plotWidth());
      g.globalAlpha = 0.72; g.fillStyle = colour.surface;
      g.fillRect(gutter, 0, left - gutter, high); g.fillRect(right, 0, gutter + plotWidth() - right, high);
      g.globalAlpha = 1;
      g.strokeStyle = colour.accent; g.lineWidth = 1;
      g.strokeRect(left + 0.5, 0.5, Math.max(right - left, 2) - 1, high - 1);
      rowLabel(g, 'whole run', high / 2, 11.5);
    },
  };
}

function axisTrack() {
  return {
    id: 'axis', sticky: true, height: () => 26,
    draw(g) {
      const { step, times } = ticks();
      const digits = digitsFor(step);
      g.font = `500 11px ${colour.sans}`;
      g.textAlign = 'center';
      for (const time of times) {
        const at = x(time);
        g.fillStyle = colour['line-strong']; g.fillRect(Math.round(at), 20, 1, 6);
        const text = (time / 1e9).toFixed(digits) + ' s';
        const half = g.measureText(text).width / 2;
        if (at - half < gutter - 6 || at + half > width - 2) continue;
        g.fillStyle = colour.muted; g.fillText(text, at, 11);
      }
      g.textAlign = 'start';
      rowLabel(g, 'time', 12, 11.5);
    },
  };
}

// Rows of bars: faults, nodes and claims are made of these. `items`: {row, lane, from, to, ...}.
function barTrack({ id, title, note, rows, items, limit, high, paint, label, first }) {
  const track = {
    id, title, note, open: false, limit,
    count: () => rows.length,
    rows() {
      if (this.open || rows.length <= limit + 2) return rows;
      const leading = rows.filter((row) => first && first(row));
      return rows.filter((row, n) => n < limit || leading.includes(row));
    },
    tall: (row) => Math.max(row.lanes ?? 1, 1) * high,
    height() { return this.rows().reduce((sum, row) => sum + this.tall(row), 8); },
    draw(g, height) {
      backdrop(g, height);
      let top = 4;
      for (const row of this.rows()) {
        label(g, row, top + this.tall(row) / 2);
        g.save(); plotClip(g, height);
        for (const item of row.items) {
          if (item.from <= view.to && item.to >= view.from) paint(g, item, top + (item.lane ?? 0) * high + 2, high - 4);
        }
        g.restore();
        top += this.tall(row);
      }
    },
    at(px, py) {
      let top = 4;
      for (const row of this.rows()) {
        if (py >= top && py < top + this.tall(row)) {
          if (px < gutter) return row.about ? { row } : null;
          const lane = Math.floor((py - top) / high);
          const near = row.items.filter((item) => (item.lane ?? 0) === lane && x(item.from) - 3 <= px && px <= x(item.to) + 3);
          return near.length ? { item: near[near.length - 1] } : null;
        }
        top += this.tall(row);
      }
      return null;
    },
  };
  for (const item of items) (item.row.items ??= []).push(item);
  for (const row of rows) row.items ??= [];
  return track;
}

function faultTrack() {
  const rows = [];
  const items = run.faults.map((fault) => {
    rows[fault.lane] ??= { name: `${fault.kind} ${fault.nodes.join(' ')}`, fault };
    return { kind: 'fault', fault, row: rows[fault.lane], from: fault.from, to: ends(fault) };
  });
  const unproven = run.faults.filter((fault) => !fault.evidence).length;
  return barTrack({
    id: 'faults', title: 'Faults', limit: 20, high: 18, rows, items,
    note: plural(run.faults.length, 'fault') + (unproven ? `, ${unproven} without evidence` : ', each with evidence'),
    label: (g, row, middle) => rowLabel(g, row.name, middle, 11.5),
    paint(g, item, top, high) {
      const fill = faultColour(item.fault);
      const text = `${item.fault.kind} ${item.fault.nodes.join(', ')}`;
      if (item.fault.evidence) stretch(g, item.from, item.to, top, high, fill, text, { alpha: 0.85, ink: '#fff' });
      else stretch(g, item.from, item.to, top, high, fill, text, { hatch: true, alpha: 0.4, outline: fill, ink: colour.ink });
    },
  });
}

function nodeTrack() {
  const leader = { name: 'leader', strong: true };
  const laneEnds = [];
  const items = run.reigns.map(([node, term, from, until]) => {
    const to = until ?? run.end;
    let lane = laneEnds.findIndex((end) => end <= from);
    if (lane < 0) lane = laneEnds.length;
    laneEnds[lane] = to;
    return { kind: 'reign', node, term, from, to, ended: until !== null, row: leader, lane };
  });
  leader.lanes = laneEnds.length;
  const rows = run.reigns.length ? [leader] : [];
  for (const node of run.nodes) {
    const row = { name: node, node };
    rows.push(row);
    items.push({ kind: 'up', node, from: run.start, to: run.end, row });
    for (const [name, term, from, until] of run.reigns) {
      if (name === node) items.push({ kind: 'reign', small: true, node, term, from, to: until ?? run.end, ended: until !== null, row });
    }
    for (const [name, state, from, until] of run.spans) {
      if (name === node) items.push({ kind: 'span', state, node, from, to: until ?? run.end, ended: until !== null, row });
    }
  }
  const terms = new Set(run.reigns.map((reign) => reign[1])).size;
  return barTrack({
    id: 'nodes', title: 'Nodes', limit: 30, high: 17, rows, items,
    note: run.reigns.length ? `who leads, in ${plural(terms, 'term')}; who was down or paused` : 'who was down or paused',
    label: (g, row, middle) => rowLabel(g, row.name, middle, 11.5, row.node ? { dot: nodeColour(row.node) } : { strong: true }),
    paint(g, item, top, high) {
      if (item.kind === 'up') stretch(g, item.from, item.to, top + 3, high - 6, colour.up, '');
      else if (item.kind === 'span') {
        stretch(g, item.from, item.to, top, high, colour.surface, '');
        stretch(g, item.from, item.to, top, high, item.state === 'down' ? colour.muted : colour.faint, item.state,
          item.state === 'down' ? { alpha: 0.9, ink: colour.surface } : { hatch: true, outline: colour.faint, ink: colour.ink });
      } else if (item.small) stretch(g, item.from, item.to, top + 3, high - 6, nodeColour(item.node), '');
      else stretch(g, item.from, item.to, top, high, nodeColour(item.node), `${item.node}, term ${item.term}`, { ink: '#fff' });
    },
  });
}

function claimTrack() {
  const byKey = new Map();
  const items = run.claims.map((claim) => {
    if (!byKey.has(claim.key)) byKey.set(claim.key, { name: claim.key, lanes: 1 });
    const row = byKey.get(claim.key);
    row.lanes = Math.max(row.lanes, claim.lane + 1);
    return { kind: 'claim', claim, row, lane: claim.lane, from: claim.from, to: ends(claim) };
  });
  for (const item of items) {
    item.shared = items.length < 5000 && item.row.lanes > 1
      && items.some((other) => other.row === item.row && other !== item && other.from < item.to && other.to > item.from);
  }
  const rows = [...byKey.values()].sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  const twice = rows.filter((row) => row.lanes > 1).length;
  return barTrack({
    id: 'claims', title: 'Ownership', limit: 24, high: 18, rows, items, first: (row) => row.lanes > 1 || windowKeys.has(row.name),
    note: run.claims_error ? run.claims_error
      : `${plural(rows.length, 'name')}, ${plural(items.length, 'claim')}` + (twice ? `; ${plural(twice, 'name')} with two owners at once` : ', never two owners at once'),
    label: (g, row, middle) => rowLabel(g, row.name, middle, 11.5, { alarm: row.lanes > 1 || windowKeys.has(row.name) }),
    paint(g, item, top, high) {
      const { fence, owner } = item.claim;
      stretch(g, item.from, item.to, top, high, nodeColour(nodeOf(owner)), `${fence} · ${owner}`, { alpha: 0.9, ink: '#fff', outline: item.shared ? colour.bad : '' });
    },
  });
}

// Lines of the process track: each a list of rows. Folded, a process that begins after another was last used takes its line.
function processLines(folded) {
  const lines = [], free = [];
  const rows = run.rows.map((_, row) => row);
  if (!folded) return rows.map((row) => ({ rows: [row], ids: rowMarks[row] }));
  const begin = (row) => marks.from[rowMarks[row][0]];
  const over = (row) => rowMarks[row].reduce((last, i) => Math.max(last, marks.until[i] ?? marks.from[i]), 0);
  const numbered = rows.filter((row) => run.numbered[row]).sort((a, b) => begin(a) - begin(b) || a - b);
  for (const row of numbered) {
    let line = free.findIndex((end) => end <= begin(row));
    if (line < 0) { line = lines.length; lines.push({ rows: [], ids: [] }); }
    lines[line].rows.push(row);
    lines[line].ids.push(...rowMarks[row]);
    free[line] = over(row);
  }
  lines.sort((a, b) => a.rows[0] - b.rows[0]);
  return [...lines, ...rows.filter((row) => !run.numbered[row]).map((row) => ({ rows: [row], ids: rowMarks[row] }))];
}

function processTrack() {
  const limit = 40;
  const lines = { true: processLines(true), false: processLines(false) };
  const name = (line) => rowName(line.rows[0], width < 700) + (line.rows.length > 1 ? ` +${line.rows.length - 1}` : '');
  return {
    id: 'processes', title: 'Processes', open: false, limit,
    folded: run.rows.length > limit && lines.true.length < run.rows.length,
    foldable: lines.true.length < run.rows.length,
    get note() { return `${plural(operations, 'operation')} of ${run.rows.length.toLocaleString('en')} process${run.rows.length === 1 ? '' : 'es'}`; },
    wanted() {
      const all = lines[this.folded];
      return foundRows ? all.filter((line) => line.rows.some((row) => foundRows.has(row))) : all;
    },
    count() { return this.wanted().length; },
    lines() {
      const wanted = this.wanted();
      if (this.open || wanted.length <= limit + 4) return wanted;
      const pinned = selection.mark === null ? -1 : marks.row[selection.mark];
      return wanted.filter((line, n) => n < limit || line.rows.some((row) => windowRows.has(row) || row === pinned));
    },
    tall() { const n = this.lines().length; return n <= 28 ? 19 : n <= 60 ? 15 : n <= 160 ? 11 : 8; },
    height() { return Math.max(this.lines().length, 1) * this.tall() + 8; },
    draw(g, height) {
      backdrop(g, height);
      const shownLines = this.lines(), tall = this.tall();
      shownLines.forEach((line, n) => {
        const top = 4 + n * tall;
        rowLabel(g, name(line), top + tall / 2, Math.min(11.5, tall + 1), { alarm: line.rows.some((row) => windowRows.has(row)) });
        g.save(); plotClip(g, height);
        drawRow(g, line.ids, top + (tall > 12 ? 2 : 1), tall - (tall > 12 ? 4 : 2), line.rows.length > 1);
        g.restore();
      });
      if (!shownLines.length) rowLabel(g, 'none', 4 + tall / 2, 11.5);
    },
    at(px, py) {
      const line = this.lines()[Math.floor((py - 4) / this.tall())];
      if (line === undefined || px < gutter) return null;
      const i = nearest(line.ids, px);
      return i === null ? null : { item: { kind: 'mark', i } };
    },
  };
}

// The mark of a row at this point, or within a few pixels of it.
function nearest(ids, px) {
  let best = null, distance = 5;
  for (let n = Math.min(firstFrom(ids, timeAt(px + 5)), ids.length - 1), seen = 0; n >= 0 && seen < 400; n--, seen++) {
    const i = ids[n];
    if (!shown(i) || (found && !found[i])) continue;
    const left = x(marks.from[i]), right = Math.max(x(lasts(i)), left + 2);
    const away = px < left ? left - px : px > right ? px - right : 0;
    if (away < distance || (away === 0 && marks.note[i])) { best = i; distance = away; }
    if (away > 40 && best !== null) break;
  }
  return best;
}

// In a shared line what is pending runs along the bottom, so that those after it stay readable.
function drawRow(g, ids, top, high, shared) {
  drawTails(g, ids, top, high, shared);
  const lastPixel = [-1, -1, -1];
  let drawn = '';
  const use = (fill) => { if (fill !== drawn) { g.fillStyle = fill; drawn = fill; } };
  for (let n = Math.max(firstFrom(ids, view.from) - 2, 0); n < ids.length; n++) {
    const i = ids[n];
    if (marks.from[i] > view.to) break;
    if (!shown(i)) continue;
    const outcome = marks.outcome[i], special = inWindow.has(i) || i === selection.mark;
    const faint = found && !found[i];
    const left = x(marks.from[i]);
    const until = marks.until[i] ?? marks.from[i];
    const right = Math.min(x(until), width + 10);
    const wide = Math.max(right - Math.max(left, gutter - 10), marks.until[i] === null ? 4 : 1.6);
    if (until < view.from) continue;
    const pixel = Math.floor(left * 2);
    if (wide <= 1.6 && pixel === lastPixel[outcome] && !special) continue;
    lastPixel[outcome] = pixel;
    g.globalAlpha = faint ? 0.13 : 1;
    use(culprits.has(i) ? colour.bad : colour.outcomes[outcome]);
    if (marks.note[i]) {
      const middle = top + high / 2, size = Math.min(high / 2, 4);
      g.beginPath(); g.moveTo(left, middle - size); g.lineTo(left + size, middle);
      g.lineTo(left, middle + size); g.lineTo(left - size, middle); g.fill();
    } else {
      g.fillRect(Math.max(left, gutter - 10), top, wide, high);
    }
    if (special) {
      g.strokeStyle = i === selection.mark ? colour.ink : colour.bad; g.lineWidth = 1.5;
      g.strokeRect(Math.max(left, gutter - 10) - 1.5, top - 1, wide + 3, high + 2);
    }
    if (wide > 54 && high >= 11 && !faint && !marks.note[i]) {
      g.font = `500 ${Math.min(11, high - 1)}px ${colour.sans}`; use(colour['on-mark']);
      const key = marks.key[i] === null ? '' : ' ' + run.keys[marks.key[i]];
      g.fillText(fit(g, run.fs[marks.f[i]] + key, wide - 10), Math.max(left, gutter) + 5, top + high / 2 + 0.5);
    }
  }
  g.globalAlpha = 1;
}

// What did not end for certain may happen at any later time: a line from it to the end.
function drawTails(g, ids, top, high, shared) {
  g.fillStyle = colour.info;
  const thick = high > 8 ? 2 : 1;
  let lowest = false;
  for (const i of ids) {
    if (marks.from[i] > view.to) break;
    if (marks.outcome[i] !== INFO || marks.note[i] || !shown(i)) continue;
    const left = Math.max(x(marks.from[i]), gutter), below = shared && i !== ids[ids.length - 1];
    if (below && lowest) continue;
    lowest ||= below;
    g.globalAlpha = found && !found[i] ? 0.1 : 0.45;
    g.fillRect(left, below ? top + high : top + high / 2 - 1, width - left, below ? 1 : thick);
  }
  g.globalAlpha = 1;
}

function latencyTrack() {
  const high = 190, topBand = 20;
  let low = Infinity, top = 0;
  for (let i = 0; i < total; i++) {
    if (marks.note[i] || marks.until[i] === null) continue;
    const took = marks.until[i] - marks.from[i];
    if (took > 0) { low = Math.min(low, took); top = Math.max(top, took); }
  }
  if (!top) { low = 1e5; top = 1e9; }
  const from = Math.floor(Math.log10(low)), to = Math.max(Math.ceil(Math.log10(top) + 1e-9), from + 1);
  const y = (took) => high - 8 - ((Math.max(Math.log10(Math.max(took, 1)), from) - from) / (to - from)) * (high - topBand - 14);
  const place = (i) => (marks.until[i] === null ? 10 : y(marks.until[i] - marks.from[i]));
  return {
    id: 'latency', title: 'Latency', note: 'by invocation, logarithmic; hollow: did not come back ok', height: () => high,
    draw(g, height) {
      backdrop(g, height);
      g.font = `400 11px ${colour.sans}`; g.textAlign = 'right';
      for (let power = from; power <= to; power++) {
        const at = Math.round(y(10 ** power));
        g.fillStyle = colour.line; g.fillRect(gutter, at, plotWidth() + RIGHT, 1);
        g.fillStyle = colour.muted; g.fillText(duration(10 ** power), gutter - 10, at);
      }
      g.fillText('no answer', gutter - 10, 10);
      g.textAlign = 'start';
      g.save(); plotClip(g, height);
      const span = view.to - view.from;
      const groups = new Map();
      for (let n = firstFrom(byTime, view.from - span * 0.01); n < total; n++) {
        const i = byTime[n];
        if (marks.from[i] > view.to) break;
        if (marks.note[i] || !shown(i) || (found && !found[i])) continue;
        const f = marks.f[i] * 2 + (marks.outcome[i] === OK ? 0 : 1);
        if (!groups.has(f)) groups.set(f, []);
        groups.get(f).push(i);
      }
      for (const [group, ids] of [...groups].sort((a, b) => a[0] - b[0])) {
        const size = ids.length > 4000 ? 2 : ids.length > 600 ? 3 : 5;
        g.fillStyle = g.strokeStyle = fColour(group >> 1); g.lineWidth = 1;
        g.globalAlpha = ids.length > 4000 ? 0.6 : 0.85;
        for (const i of ids) {
          const at = x(marks.from[i]), up = place(i);
          if (group & 1) g.strokeRect(at - size / 2, up - size / 2, size, size);
          else g.fillRect(at - size / 2, up - size / 2, size, size);
        }
      }
      g.globalAlpha = 1; g.strokeStyle = colour.bad; g.lineWidth = 1.5;
      for (const i of inWindow) if (!marks.note[i]) { g.beginPath(); g.arc(x(marks.from[i]), place(i), 5, 0, 7); g.stroke(); }
      if (selection.mark !== null && !marks.note[selection.mark]) {
        g.strokeStyle = colour.ink;
        g.beginPath(); g.arc(x(marks.from[selection.mark]), place(selection.mark), 6, 0, 7); g.stroke();
      }
      g.restore();
    },
    at(px, py) {
      let best = null, distance = 49;
      for (let n = firstFrom(byTime, timeAt(px - 7)); n < total; n++) {
        const i = byTime[n];
        const across = x(marks.from[i]) - px;
        if (across > 7) break;
        if (marks.note[i] || !shown(i) || (found && !found[i])) continue;
        const away = across ** 2 + (place(i) - py) ** 2;
        if (away < distance) { best = i; distance = away; }
      }
      return best === null ? null : { item: { kind: 'mark', i: best } };
    },
  };
}

function rateTrack() {
  const high = 92;
  let buckets = [], step = 1;
  return {
    id: 'rate', title: 'Rate', note: 'operations invoked per second, by outcome', height: () => high,
    draw(g, height) {
      backdrop(g, height);
      step = ticks(view, 9).step;
      const first = Math.floor(view.from / step), n = Math.floor(view.to / step) - first + 1;
      buckets = Array.from({ length: n }, (_, k) => ({ from: (first + k) * step, counts: [0, 0, 0] }));
      for (let k = firstFrom(byTime, first * step); k < total; k++) {
        const i = byTime[k];
        const place = Math.floor(marks.from[i] / step) - first;
        if (place >= n) break;
        if (marks.note[i] || !shown(i) || (found && !found[i])) continue;
        buckets[place].counts[marks.outcome[i]]++;
      }
      const most = Math.max(1, ...buckets.map((b) => b.counts[0] + b.counts[1] + b.counts[2]));
      const scale = (high - 20) / most;
      const rate = most / (step / 1e9);
      const nice = 10 ** Math.floor(Math.log10(rate)) * [5, 2, 1].find((m) => m * 10 ** Math.floor(Math.log10(rate)) <= rate);
      g.font = `400 11px ${colour.sans}`; g.textAlign = 'right';
      for (const value of [0, nice]) {
        const at = Math.round(high - 6 - (value * (step / 1e9)) * scale);
        g.fillStyle = colour.line; g.fillRect(gutter, at, plotWidth() + RIGHT, 1);
        g.fillStyle = colour.muted; g.fillText(value ? `${Number(value.toPrecision(3)).toLocaleString('en')} / s` : '0', gutter - 10, at - (value ? 0 : 2));
      }
      g.textAlign = 'start';
      g.save(); plotClip(g, height);
      for (const bucket of buckets) {
        const left = x(bucket.from), wide = x(bucket.from + step) - left;
        let bottom = high - 6;
        for (const outcome of [OK, FAIL, INFO]) {
          const tall = bucket.counts[outcome] * scale;
          g.fillStyle = colour.outcomes[outcome];
          if (tall) g.fillRect(left, bottom - tall, Math.max(wide - 1, 1), tall);
          bottom -= tall;
        }
      }
      g.restore();
    },
    at(px) {
      if (px < gutter) return null;
      const bucket = buckets[Math.floor(timeAt(px) / step) - Math.floor(view.from / step)];
      return bucket ? { item: { kind: 'rate', bucket, from: bucket.from, to: bucket.from + step } } : null;
    },
  };
}
