// Draws what `chart_series` gives: candles with volume, bands where nobody has a bar, a chart of its own for each line.
// Tells Streamlit which bar was clicked and which window is looked at. Loads nothing from outside.
"use strict";

const PRICE_HEIGHT = 420, PANE_HEIGHT = 120, QUIET_MS = 600, MOST_MARKS = 100, POINTS_PER_PIXEL = 2, MOST_PIECES = 50;
const AXIS_WIDTH = 84, MOST_DECIMALS = 8;
const UP = "#26a69a", DOWN = "#ef5350", LINE = "#2196f3";
const told = document.getElementById("told"), place = document.getElementById("charts");
let held = null, said = {}, charts = [], candles, volume, holes, texts = new Map(), shown = "", timer = null, silent = null, looked = null;

function send(type, values) {
  window.parent.postMessage({ isStreamlitMessage: true, type, ...values }, "*");
}
// All that the reader did in this view: a look that ends after a click does not take the click back.
function answer(done) {
  said = { ...(said.view === shown ? said : {}), ...done, view: shown };
  send("streamlit:setComponentValue", { value: said, dataType: "json" });
}
function utc(second) {
  return new Date(second * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC";
}

// A colour over the page's ground. Columns of a histogram overlap by a pixel: a colour that shines through makes stripes.
function solid(color, dark) {
  const parts = color.match(/[\d.]+/g).map(Number), ground = dark ? [14, 17, 23] : [255, 255, 255];
  const mixed = ground.map((below, at) => Math.round(below + (parts[at] - below) * parts[3]));
  return `rgb(${mixed.join(",")})`;
}
// As many decimals as the prices have.
function priceFormat(values) {
  let precision = 2;
  for (const value of values.subarray(-500)) {
    while (precision < MOST_DECIMALS && Math.abs(value * 10 ** precision - Math.round(value * 10 ** precision)) > 1e-4) {
      precision += 1;
    }
  }
  return { type: "price", precision, minMove: 10 ** -precision };
}

function options(height, dark) {
  return {
    height, width: place.clientWidth || 800,
    layout: { background: { color: "transparent" }, textColor: dark ? "#ddd" : "#333" },
    grid: { vertLines: { color: dark ? "#2a2a2a" : "#eee" }, horzLines: { color: dark ? "#2a2a2a" : "#eee" } },
    // A day of seconds has more bars than the narrowest default lets into a window.
    timeScale: { timeVisible: true, secondsVisible: true, minBarSpacing: 0.001 },
    localization: { timeFormatter: utc },
    // Axes of one width, so that a time lies below itself in every chart.
    rightPriceScale: { minimumWidth: AXIS_WIDTH },
    crosshair: { mode: 0 },
  };
}

function build(names, dark) {
  place.replaceChildren();
  charts = [];
  const main = LightweightCharts.createChart(place, options(PRICE_HEIGHT, dark));
  holes = main.addHistogramSeries({ priceScaleId: "holes", lastValueVisible: false, priceLineVisible: false });
  main.priceScale("holes").applyOptions({ scaleMargins: { top: 0, bottom: 0 }, visible: false });
  volume = main.addHistogramSeries({ priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false,
    priceLineVisible: false });
  main.priceScale("volume").applyOptions({ scaleMargins: { top: 0.8, bottom: 0 } });
  candles = main.addCandlestickSeries({});
  charts.push({ chart: main, series: candles });
  for (const name of names) {
    const label = document.createElement("div");
    label.className = "name";
    label.textContent = name;
    place.appendChild(label);
    const chart = LightweightCharts.createChart(
      place, { ...options(PANE_HEIGHT, dark), handleScroll: false, handleScale: false });
    label.style.marginTop = "4px";
    charts.push({ chart, name, lines: [] });
  }
  // The price leads and the lines follow: ranges are applied a frame later, and charts that lead each other never rest.
  main.timeScale().subscribeVisibleLogicalRangeChange(follow);
  main.subscribeCrosshairMove((at) => {
    const bar = at.seriesData ? at.seriesData.get(candles) : null;
    const prices = bar && bar.open !== undefined ? ` O ${bar.open} H ${bar.high} L ${bar.low} C ${bar.close}` : "";
    told.textContent = at.time ? `${utc(at.time)}${prices} ${texts.get(at.time) || ""}` : "";
  });
  main.subscribeClick((at) => { if (at.time) answer({ clicked: at.time, bars: held.merged }); });
  main.timeScale().subscribeVisibleTimeRangeChange((range) => {
    if (silent || !range) return;
    clearTimeout(timer);
    timer = setTimeout(() => look(range), QUIET_MS);
  });
}

function follow() {
  const range = charts[0].chart.timeScale().getVisibleLogicalRange();
  if (range) for (const one of charts.slice(1)) one.chart.timeScale().setVisibleLogicalRange(range);
}

// Columns of doubles, one after the other, as `chart_view` packs them.
function unpacked(data, names, count) {
  const all = new Float64Array(data.slice().buffer);
  return Object.fromEntries(names.map((name, at) => [name, all.subarray(at * count, (at + 1) * count)]));
}

// How many bars become one point: two points in a pixel are all that can be seen.
function merging(bars) {
  let merged = 1;
  while (bars / merged > POINTS_PER_PIXEL * (place.clientWidth || 800)) merged *= 2;
  return merged;
}

// Points of so many bars each. A point in which any bar lacks has its band, so that no hole is too short to be seen.
function pointsOf(merged) {
  const { meta, column } = held, length = merged * meta.step;
  const first = Math.min(meta.count ? column.time[0] : Infinity, meta.bands.length ? meta.bands[0].time : Infinity);
  const slot = (time) => first + Math.floor((time - first) / length) * length;
  const found = { bars: [], volumes: [], gaps: [], marked: [], lines: meta.panes.map(() => []), texts: new Map() };
  for (const band of meta.bands) {
    const last = slot(band.time + (band.count - 1) * meta.step);
    for (let time = slot(band.time); time <= last; time += length) {
      if (found.gaps.length && found.gaps[found.gaps.length - 1].time === time) continue;
      found.gaps.push({ time, value: 1, color: solid(band.color, held.dark) });
      found.texts.set(time, band.text);
    }
  }
  let bar = null, traded = null, lines = [];
  for (let at = 0; at < meta.count; at += 1) {
    const time = slot(column.time[at]);
    if (!bar || bar.time !== time) {
      bar = { time, open: column.open[at], high: column.high[at], low: column.low[at], close: column.close[at] };
      traded = null;
      found.bars.push(bar);
      lines = meta.panes.map((_, pane) => { const point = { time }; found.lines[pane].push(point); return point; });
    } else {
      bar.high = Math.max(bar.high, column.high[at]);
      bar.low = Math.min(bar.low, column.low[at]);
      bar.close = column.close[at];
    }
    if (column.mark[at] && !bar.wickColor) {
      const [color, text] = meta.marks[column.mark[at]];
      bar.wickColor = bar.borderColor = color;
      found.texts.set(time, text);
      found.marked.push({ time, position: "aboveBar", shape: "circle", size: 0.4, color });
    }
    if (!Number.isNaN(column.volume[at])) {
      if (!traded) found.volumes.push(traded = { time, value: 0, color: "" });
      traded.value += column.volume[at];
      traded.color = bar.close >= bar.open ? `${UP}80` : `${DOWN}80`;
    }
    meta.panes.forEach((name, pane) => { if (!Number.isNaN(column[name][at])) lines[pane].value = column[name][at]; });
  }
  return found;
}

// A line of its own for each piece without a break, for a line is drawn across points that have no value. Where there are
// more breaks than can be seen the last piece has all that is left. The axis keeps the place of bars that nobody has.
function drawLine(one, points, gaps) {
  for (const series of one.lines) one.chart.removeSeries(series);
  const known = points.filter((point) => point.value !== undefined), pieces = [];
  const lacking = [...gaps.map(({ time }) => time), ...points.filter((point) => point.value === undefined)
    .map(({ time }) => time)].sort((a, b) => a - b);
  let gap = 0, broken = true;
  for (const point of known) {
    while (gap < lacking.length && lacking[gap] < point.time) { gap += 1; broken = true; }
    if (broken && pieces.length < MOST_PIECES) pieces.push([]);
    pieces[pieces.length - 1].push(point);
    broken = false;
  }
  const small = known.length && known.every(({ value }) => Math.abs(value) < 1);
  const priceFormat = { type: "price", precision: small ? 6 : 2, minMove: small ? 1e-6 : 0.01 };
  one.lines = pieces.map((piece) => {
    const series = one.chart.addLineSeries({ lineWidth: 1, priceLineVisible: false, color: LINE, priceFormat,
      lastValueVisible: piece === pieces[pieces.length - 1] });
    series.setData(piece);
    return series;
  });
  const axis = one.chart.addLineSeries({ visible: false });
  const places = new Set([...points.map(({ time }) => time), ...gaps.map(({ time }) => time)]);
  axis.setData([...places].sort((a, b) => a - b).map((time) => ({ time })));
  one.lines.push(axis);
}

function fill(merged) {
  held.merged = merged;
  const points = pointsOf(merged);
  texts = points.texts;
  candles.applyOptions({ priceFormat: priceFormat(held.column.close) });
  candles.setData(points.bars);
  volume.setData(points.volumes);
  holes.setData(points.gaps);
  // Many in a row would hide the bars, which have the colour of the mark anyway.
  candles.setMarkers(points.marked.length > MOST_MARKS ? [] : points.marked);
  charts.slice(1).forEach((one, pane) => drawLine(one, points.lines[pane], points.gaps));
  document.body.dataset.points = points.bars.length;
  document.body.dataset.marked = points.marked.length;
}

// What we change ourselves is no look of the reader; a range is applied with the next frame.
function quiet() {
  const turn = silent = {};
  requestAnimationFrame(() => setTimeout(() => { if (silent === turn) silent = null; }, QUIET_MS));
}

// The range that is looked at, or null where that is all there was: then newer bars are to be seen too.
function part(before, range) {
  if (!range || !before || !before.meta.count) return null;
  const { time } = before.column, length = before.merged * before.meta.step;
  return range.from <= time[0] && range.to + length > time[time.length - 1] ? null : range;
}

// Closer looks draw more of the bars that are here; the server is asked for finer ones where there are any.
function look(range) {
  const merged = merging((range.to - range.from) / held.meta.step);
  if (merged < held.merged || merged > 2 * held.merged) {
    quiet();
    fill(merged);
    charts[0].chart.timeScale().setVisibleRange(range);
  }
  answer({ from: range.from, to: range.to });
}

function draw(args, dark) {
  const { meta, view } = args, names = meta.panes, before = held;
  held = { meta, column: unpacked(args.data, meta.columns, meta.count), merged: 1, dark };
  const same = charts.length === names.length + 1 && names.every((name, at) => charts[at + 1].name === name);
  if (!same) build(names, dark);
  // While a picture is not settled its range is not yet the one that it was given.
  if (!same || view !== shown) looked = null;
  else if (!silent) looked = part(before, charts[0].chart.timeScale().getVisibleRange());
  const seen = looked;
  quiet();
  const lacking = meta.bands.reduce((sum, band) => sum + band.count, 0);
  fill(merging(seen ? (seen.to - seen.from) / meta.step : meta.count + lacking));
  if (seen) charts[0].chart.timeScale().setVisibleRange(seen);
  else charts[0].chart.timeScale().fitContent();
  shown = view;
  send("streamlit:setFrameHeight", { height: PRICE_HEIGHT + names.length * PANE_HEIGHT + 8 });
  // Two frames later it is on the screen.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    follow();
    Object.assign(document.body.dataset, {
      bars: meta.count, holes: lacking, step: meta.step, panes: names.join(" "),
    });
  }));
}

window.addEventListener("message", (event) => {
  if (event.data && event.data.type === "streamlit:render") {
    draw(event.data.args, event.data.theme && event.data.theme.base === "dark");
  }
});
window.addEventListener("resize", () => {
  for (const { chart } of charts) chart.applyOptions({ width: place.clientWidth });
});
send("streamlit:componentReady", { apiVersion: 1 });
