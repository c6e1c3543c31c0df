// Colours, canvases and the scale of time: what every track draws with.
const NODE_COLOURS = ['#6078c8', '#4e9a6b', '#9b6bc3', '#c07a3e', '#3f97b8', '#b8587f', '#8a8d3a', '#857468'];
const FAULT_COLOURS = ['#8a63c9', '#c9633f', '#3f7fc9', '#b8952f', '#4f9d69', '#c94f86', '#66788a', '#2f9d9d'];
const F_COLOURS = ['#4c78c8', '#d0803c', '#5aa469', '#a56bc0', '#c45a6b', '#3f9aa8', '#8a8d3a', '#7a8894'];
const kinds = [...new Set(run.faults.map((fault) => fault.kind))];
const faultColour = (fault) => FAULT_COLOURS[kinds.indexOf(fault.kind) % FAULT_COLOURS.length];
const fColour = (f) => F_COLOURS[f % F_COLOURS.length];
const nodeColour = (node) => {
  const place = run.nodes.indexOf(node);
  return place < 0 ? '#808a96' : NODE_COLOURS[place % NODE_COLOURS.length];
};

let colour = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = 'surface sunken ink muted faint line line-strong accent ok fail info bad up on-mark'.split(' ');
  colour = Object.fromEntries(names.map((name) => [name, style.getPropertyValue('--' + name).trim()]));
  colour.outcomes = [colour.ok, colour.fail, colour.info];
  colour.sans = style.getPropertyValue('--sans');
  colour.mono = style.getPropertyValue('--mono');
}
readColours();

let width = 0;
let gutter = 132;
const RIGHT = 14;
const plotWidth = () => Math.max(width - gutter - RIGHT, 10);
const x = (time, range = view) => gutter + ((time - range.from) / (range.to - range.from)) * plotWidth();
const timeAt = (px, range = view) => range.from + ((px - gutter) / plotWidth()) * (range.to - range.from);

// A canvas of this height, cleared, in CSS pixels.
function prepare(canvas, height) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const wide = Math.round(width * ratio), high = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide; canvas.height = high;
    canvas.style.height = height + 'px';
  }
  const g = canvas.getContext('2d');
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  g.textBaseline = 'middle';
  return g;
}

function ticks(range = view, apart = 96) {
  const least = ((range.to - range.from) / plotWidth()) * apart;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((n) => n * power).find((size) => size >= least);
  const times = [];
  for (let n = Math.ceil(range.from / step); n * step <= range.to; n++) times.push(n * step);
  return { step, times };
}

// What lies behind every track: the grid of time, the faults, the windows that fail.
function backdrop(g, height) {
  g.save();
  g.beginPath(); g.rect(gutter, 0, plotWidth() + RIGHT, height); g.clip();
  for (const fault of run.faults) {
    if (fault.from > view.to || ends(fault) < view.from) continue;
    g.globalAlpha = fault.evidence ? 0.075 : 0.03;
    g.fillStyle = faultColour(fault);
    const left = x(fault.from);
    g.fillRect(left, 0, Math.max(x(ends(fault)) - left, 1), height);
  }
  g.globalAlpha = 0.1; g.fillStyle = colour.bad;
  for (const span of windowSpans) {
    const left = x(span.from);
    g.fillRect(left - 1, 0, Math.max(x(span.to) - left, 0) + 2, height);
  }
  g.globalAlpha = 1; g.fillStyle = colour.line;
  for (const time of ticks().times) g.fillRect(Math.round(x(time)), 0, 1, height);
  g.restore();
}

// `text`, shortened to this width by the font that is set.
function fit(g, text, room) {
  if (room < 8) return '';
  const wide = g.measureText(text).width;
  if (wide <= room) return text;
  const kept = Math.floor((text.length * room) / wide) - 1;
  return kept < 3 ? '' : text.slice(0, kept) + '…';
}

function rowLabel(g, text, middle, size, { strong = false, dot = '', alarm = false } = {}) {
  g.font = `${strong ? 600 : 400} ${size}px ${colour.sans}`;
  g.fillStyle = alarm ? colour.bad : strong ? colour.ink : colour.muted;
  const left = width < 700 ? 16 : 22;
  if (dot) { g.fillStyle = dot; g.fillRect(left, middle - 4, 8, 8); g.fillStyle = colour.muted; }
  g.fillText(fit(g, text, gutter - left - 10 - (dot ? 14 : 0)), left + (dot ? 14 : 0), middle + 0.5);
}

// A stretch of time as a bar with a text in it; returns nothing and draws nothing outside the view.
function stretch(g, from, to, top, height, fill, text, { alpha = 1, outline = '', ink = '', hatch = false } = {}) {
  if (from > view.to || to < view.from) return;
  const left = Math.max(x(from), gutter - 2), right = Math.min(x(to), width + 2);
  const wide = Math.max(right - left, 1.5);
  g.globalAlpha = alpha; g.fillStyle = hatch ? hatched(g, fill) : fill;
  g.fillRect(left, top, wide, height);
  g.globalAlpha = 1;
  if (outline) { g.strokeStyle = outline; g.lineWidth = 1.5; g.strokeRect(left + 0.75, top + 0.75, Math.max(wide - 1.5, 0), height - 1.5); }
  if (text && wide > 26 && height >= 10) {
    g.font = `500 ${Math.min(11, height - 2)}px ${colour.sans}`;
    const words = fit(g, text, wide - 10);
    if (hatch && words) {
      g.fillStyle = colour.surface;
      g.fillRect(left + 3, top + 2, g.measureText(words).width + 5, height - 4);
    }
    g.fillStyle = ink || colour['on-mark'];
    g.fillText(words, left + 5, top + height / 2 + 0.5);
  }
}

const hatches = new Map();
function hatched(g, fill) {
  if (!hatches.has(fill)) {
    const tile = document.createElement('canvas');
    tile.width = tile.height = 6;
    const t = tile.getContext('2d');
    t.strokeStyle = fill; t.lineWidth = 1.6;
    t.beginPath();
    for (const shift of [-6, 0, 6]) { t.moveTo(shift, 6); t.lineTo(shift + 6, 0); }
    t.stroke();
    hatches.set(fill, g.createPattern(tile, 'repeat'));
  }
  return hatches.get(fill);
}

function plotClip(g, height) {
  g.beginPath(); g.rect(gutter, 0, plotWidth() + RIGHT, height); g.clip();
}
