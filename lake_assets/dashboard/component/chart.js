// Draws what `chart_series` gives: candles with volume, bands where nobody has a bar, a chart of its own for each line.
// Tells Streamlit which bar was clicked and which window is looked at. Loads nothing from outside.
"use strict";

const PRICE_HEIGHT = 420, PANE_HEIGHT = 120, QUIET_MS = 600, MOST_MARKS = 100;
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
    timeScale: { timeVisible: true, secondsVisible: true },
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

function draw(args, dark) {
  const { series, view } = args, names = Object.keys(series.panes);
  const same = charts.length === names.length + 1 && names.every((name, at) => charts[at + 1].name === name);
  if (!same) build(names, dark);
  const seen = same && view === shown ? charts[0].chart.timeScale().getVisibleRange() : null;
  silent = true;
  texts = new Map();
  for (const bar of [...series.candles, ...series.holes]) if (bar.text) texts.set(bar.time, bar.text);
  // Bars that nobody has are points with a time alone: the axis keeps their place, and the line is broken there.
  const grid = (points) => [...points, ...series.holes.map(({ time }) => ({ time }))].sort((a, b) => a.time - b.time);
  candles.setData(grid(series.candles));
  volume.setData(grid(series.volume));
  const bands = new Map(series.candles.map(({ time }) => [time, { time }]));
  for (const { time, value, color } of series.holes) bands.set(time, { time, value, color });
  holes.setData([...bands.values()].sort((a, b) => a.time - b.time));
  const marked = series.candles.filter((bar) => bar.text);
  // Many in a row would hide the bars, which have the colour of the mark anyway.
  candles.setMarkers(marked.length > MOST_MARKS ? [] : marked.map((bar) => (
    { time: bar.time, position: "aboveBar", shape: "circle", size: 0.4, color: bar.borderColor })));
  for (const one of charts.slice(1)) one.series.setData(grid(series.panes[one.name]));
  if (seen) charts[0].chart.timeScale().setVisibleRange(seen);
  else charts[0].chart.timeScale().fitContent();
  shown = view;
  setTimeout(() => { silent = false; }, QUIET_MS);
  document.body.dataset.bars = series.candles.length;
  document.body.dataset.holes = series.holes.length;
  send("streamlit:setFrameHeight", { height: PRICE_HEIGHT + names.length * PANE_HEIGHT + 8 });
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
