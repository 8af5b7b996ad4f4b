// Draws what `chart_series` gives: candles with volume, bands where nobody has a bar, a chart of its own for each line.
// Tells Streamlit which bar was clicked and which window is looked at. Loads nothing from outside.
"use strict";

const PRICE_HEIGHT = 420, PANE_HEIGHT = 120, QUIET_MS = 600, MOST_MARKS = 100;
const UP = "#26a69a", DOWN = "#ef5350";
const told = document.getElementById("told"), place = document.getElementById("charts");
let charts = [], candles, volume, holes, texts = new Map(), shown = "", timer = null, silent = false;

function send(type, values) {
  window.parent.postMessage({ isStreamlitMessage: true, type, ...values }, "*");
}
function answer(value) {
  send("streamlit:setComponentValue", { value, dataType: "json" });
}
function utc(second) {
  return new Date(second * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC";
}

function options(height, dark) {
  return {
    height, width: place.clientWidth || 800,
    layout: { background: { color: "transparent" }, textColor: dark ? "#ddd" : "#333" },
    grid: { vertLines: { color: dark ? "#2a2a2a" : "#eee" }, horzLines: { color: dark ? "#2a2a2a" : "#eee" } },
    // A day of seconds has more bars than the narrowest default lets into a window.
    timeScale: { timeVisible: true, secondsVisible: true, minBarSpacing: 0.001 },
    localization: { timeFormatter: utc },
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
    const chart = LightweightCharts.createChart(place, options(PANE_HEIGHT, dark));
    label.style.marginTop = "4px";
    charts.push({ chart, name, series: chart.addLineSeries({ lineWidth: 1 }) });
  }
  let leading = false;
  for (const one of charts) {
    one.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (leading || !range) return;
      leading = true;
      for (const other of charts) if (other !== one) other.chart.timeScale().setVisibleLogicalRange(range);
      leading = false;
    });
  }
  main.subscribeCrosshairMove((at) => {
    const bar = at.seriesData ? at.seriesData.get(candles) : null;
    const prices = bar && bar.open !== undefined ? ` O ${bar.open} H ${bar.high} L ${bar.low} C ${bar.close}` : "";
    told.textContent = at.time ? `${utc(at.time)}${prices} ${texts.get(at.time) || ""}` : "";
  });
  main.subscribeClick((at) => { if (at.time) answer({ clicked: at.time }); });
  main.timeScale().subscribeVisibleTimeRangeChange((range) => {
    if (silent || !range) return;
    clearTimeout(timer);
    timer = setTimeout(() => answer({ from: range.from, to: range.to }), QUIET_MS);
  });
}

// Columns of doubles, one after the other, as `chart_view` packs them.
function unpacked(data, names, count) {
  const all = new Float64Array(data.slice().buffer);
  return Object.fromEntries(names.map((name, at) => [name, all.subarray(at * count, (at + 1) * count)]));
}

// The values with the bars that nobody has between them: the axis keeps their place, and the line is broken there.
function withGaps(time, values, gaps) {
  const points = [];
  let gap = 0;
  for (let at = 0; at < time.length; at += 1) {
    while (gap < gaps.length && gaps[gap].time < time[at]) points.push({ time: gaps[gap++].time });
    points.push(Number.isNaN(values[at]) ? { time: time[at] } : { time: time[at], value: values[at] });
  }
  while (gap < gaps.length) points.push({ time: gaps[gap++].time });
  return points;
}

function draw(args, dark) {
  const { meta, view } = args, names = meta.panes;
  const column = unpacked(args.data, meta.columns, meta.count);
  const same = charts.length === names.length + 1 && names.every((name, at) => charts[at + 1].name === name);
  if (!same) build(names, dark);
  const seen = same && view === shown ? charts[0].chart.timeScale().getVisibleRange() : null;
  silent = true;
  texts = new Map();
  const gaps = [], bars = [], volumes = [], marked = [];
  for (const band of meta.bands) {
    for (let number = 0; number < band.count; number += 1) {
      const time = band.time + number * meta.step;
      gaps.push({ time, value: 1, color: band.color });
      texts.set(time, band.text);
    }
  }
  for (let at = 0; at < meta.count; at += 1) {
    const time = column.time[at], open = column.open[at], close = column.close[at];
    const bar = { time, open, high: column.high[at], low: column.low[at], close };
    if (column.mark[at]) {
      const [color, text] = meta.marks[column.mark[at]];
      bar.wickColor = bar.borderColor = color;
      texts.set(time, text);
      marked.push({ time, position: "aboveBar", shape: "circle", size: 0.4, color });
    }
    bars.push(bar);
    const traded = column.volume[at];
    if (!Number.isNaN(traded)) volumes.push({ time, value: traded, color: `${close >= open ? UP : DOWN}80` });
  }
  candles.setData(bars);
  volume.setData(volumes);
  holes.setData(gaps);
  // Many in a row would hide the bars, which have the colour of the mark anyway.
  candles.setMarkers(marked.length > MOST_MARKS ? [] : marked);
  for (const one of charts.slice(1)) one.series.setData(withGaps(column.time, column[one.name], gaps));
  if (seen) charts[0].chart.timeScale().setVisibleRange(seen);
  else charts[0].chart.timeScale().fitContent();
  shown = view;
  setTimeout(() => { silent = false; }, QUIET_MS);
  send("streamlit:setFrameHeight", { height: PRICE_HEIGHT + names.length * PANE_HEIGHT + 8 });
  // Two frames later it is on the screen.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    Object.assign(document.body.dataset, {
      bars: meta.count, holes: gaps.length, step: meta.step, marked: marked.length, panes: names.join(" "),
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
