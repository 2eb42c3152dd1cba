"use strict";
// The data stand in the page: text of the file is shown as text, never as markup.
const page = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const short = (value) => {
  const rounded = Number(value.toPrecision(4)), size = Math.abs(rounded);
  return rounded && (size < 1e-3 || size >= 1e5) ? rounded.toExponential().replace("e+", "e") : String(rounded);
};
const element = (name, text = "") => Object.assign(document.createElement(name), { textContent: text });
const STRETCHED = 5; // domains longer than this are not drawn to one scale
// Colours as the words of an ImageData, which are read from their lowest byte up: red, green, blue, opacity.
const word = ([red, green, blue]) => (255 << 24) | (blue << 16) | (green << 8) | red;
const words = (text) => Uint32Array.from({ length: 256 }, (_, k) => word(bytes(text).subarray(3 * k, 3 * k + 3)));
const maps = { sequential: words(page.maps.sequential), diverging: words(page.maps.diverging) };
const MISSING = word([150, 150, 150]);

// packed.py: planes of bytes, deflated; differences with their sign in the lowest bit, summed modulo 256^width.
async function unpacked({ text, width, rows, columns, delta }) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = rows * columns;
  const numbers = width === 2 ? new Uint16Array(count) : new Uint32Array(count);
  for (let plane = 0; plane < width; plane++)
    for (let i = 0; i < count; i++) numbers[i] |= planes[plane * count + i] << (8 * plane);
  if (delta) {
    for (let i = 0; i < count; i++) numbers[i] = (numbers[i] >>> 1) ^ -(numbers[i] & 1);
    for (let i = columns; i < count; i++) numbers[i] += numbers[i - columns];
    for (let i = 0; i < count; i++) if (i % columns) numbers[i] += numbers[i - 1];
  }
  return numbers;
}

async function valuesOf(field) {
  if (field.values) return field.values;
  const numbers = await unpacked(field), values = new Float64Array(numbers.length);
  const { low, high, log } = field, steps = page.levels - 1;
  for (let i = 0; i < numbers.length; i++) {
    const part = (numbers[i] - 1) / steps;
    values[i] = numbers[i] === 0 ? NaN : log ? Math.exp(Math.log(low) * (1 - part) + Math.log(high) * part) : low * (1 - part) + high * part;
  }
  return (field.values = values);
}

// Points, corners of triangles, and the cell of each: quadrilaterals are cut in two.
async function meshOf(mesh) {
  const corners = [], cells = [];
  const add = (a, b, c, cell) => { corners.push(a, b, c); cells.push(cell); };
  if (mesh.lines) {
    const [xs, ys] = mesh.lines, wide = xs.length;
    for (let j = 0; j + 1 < ys.length; j++)
      for (let i = 0; i + 1 < wide; i++) {
        const a = j * wide + i, cell = j * (wide - 1) + i;
        add(a, a + 1, a + wide + 1, cell);
        add(a, a + wide + 1, a + wide, cell);
      }
    return { x: ys.flatMap(() => xs), y: ys.flatMap((y) => xs.map(() => y)), corners, cells };
  }
  const places = await unpacked(mesh.points), count = mesh.points.columns, scale = mesh.size / (2 ** 32 - 1);
  let before = 0;
  for (const block of mesh.blocks) {
    const t = await unpacked(block), n = block.columns;
    for (let k = 0; k < n; k++) {
      add(t[k], t[n + k], t[2 * n + k], before + k);
      if (block.rows === 4) add(t[k], t[2 * n + k], t[3 * n + k], before + k);
    }
    before += n;
  }
  const x = Array.from(places.subarray(0, count), (n) => mesh.low[0] + scale * n);
  return { x, y: Array.from(places.subarray(count), (n) => mesh.low[1] + scale * n), corners, cells };
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  return [low, high];
}

// Which triangle lies under the middle of every pixel, and two of the three weights of its corners there.
function raster(mesh, view, width, height) {
  const triangle = new Int32Array(width * height).fill(-1);
  const weights = new Float32Array(2 * width * height);
  const px = Float64Array.from(mesh.x, (x) => ((x - view.x[0]) / (view.x[1] - view.x[0])) * width - 0.5);
  const py = Float64Array.from(mesh.y, (y) => ((view.y[1] - y) / (view.y[1] - view.y[0])) * height - 0.5);
  const flat = { x: px, y: py, corners: mesh.corners };
  for (let k = 0; k < mesh.cells.length; k++) {
    const [a, b, c] = corners(mesh, k);
    const left = Math.max(0, Math.ceil(Math.min(px[a], px[b], px[c]) - 1e-6));
    const right = Math.min(width - 1, Math.floor(Math.max(px[a], px[b], px[c]) + 1e-6));
    const top = Math.max(0, Math.ceil(Math.min(py[a], py[b], py[c]) - 1e-6));
    const bottom = Math.min(height - 1, Math.floor(Math.max(py[a], py[b], py[c]) + 1e-6));
    if (left > right || top > bottom) continue;
    for (let row = top; row <= bottom; row++)
      for (let column = left; column <= right; column++) {
        const [u, v] = weightsAt(flat, k, [column, row]), pixel = row * width + column;
        if (u < -1e-6 || v < -1e-6 || u + v > 1 + 1e-6) continue;
        triangle[pixel] = k;
        weights[2 * pixel] = u;
        weights[2 * pixel + 1] = v;
      }
  }
  return { triangle, weights, width, height };
}

function corners(mesh, k) {
  return [mesh.corners[3 * k], mesh.corners[3 * k + 1], mesh.corners[3 * k + 2]];
}

// The value in triangle k where its second and third corner have the weights u and v.
function at(mesh, field, k, u, v) {
  if (field.where === "cells") return field.values[mesh.cells[k]];
  const [a, b, c] = corners(mesh, k);
  return (1 - u - v) * field.values[a] + u * field.values[b] + v * field.values[c];
}

// The weights u and v of a place in triangle k.
function weightsAt(mesh, k, [px, py]) {
  const { x, y } = mesh, [a, b, c] = corners(mesh, k);
  const area = (x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a]);
  const u = ((px - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (py - y[a])) / area;
  return [u, ((x[b] - x[a]) * (py - y[a]) - (px - x[a]) * (y[b] - y[a])) / area];
}

// The ends of the colours of a field; those of its kind together, if asked for. Signed fields have 0 in the middle.
function scaleOf(field) {
  const kind = byId("same").checked ? page.fields.filter((other) => other.kind === field.kind) : [field];
  let low = Math.min(...kind.map((other) => other.low)), high = Math.max(...kind.map((other) => other.high));
  const log = byId("log").checked && low > 0 && kind.some((other) => other.log);
  const signed = low < 0 && high > 0 && Math.min(-low, high) > 0.1 * Math.max(-low, high);
  if (signed) [low, high] = [-Math.max(-low, high), Math.max(-low, high)];
  const height = log ? Math.log : (value) => value;
  const span = height(high) - height(low) || 1;
  const place = (value) => (high === low ? 0.5 : (height(value) - height(low)) / span);
  return { low, high, log, place, colours: signed ? maps.diverging : maps.sequential };
}

function ticksOf({ low, high, log }) {
  if (high === low) return [low];
  let ticks = [];
  if (log) {
    for (const leads of [[1, 2, 5], [1, 3], [1]]) {
      ticks = [];
      for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k++)
        for (const lead of leads) ticks.push(lead * 10 ** k);
      ticks = ticks.filter((tick) => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
      if (ticks.length <= 5) break;
    }
    const every = Math.ceil(ticks.length / 5);
    ticks = ticks.filter((_, k) => k % every === 0);
  } else {
    const rough = (high - low) / 5, base = 10 ** Math.floor(Math.log10(rough));
    const step = base * [1, 2, 5, 10].find((lead) => lead * base >= rough * (1 - 1e-9));
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(k * step);
  }
  return ticks.length > 1 ? ticks : [low, high];
}

class Panel {
  constructor(app, name, chosen) {
    this.app = app;
    this.name = name;
    this.select = element("select");
    this.select.setAttribute("aria-label", `field of the ${name} picture`);
    page.fields.forEach((field, k) => this.select.append(new Option(field.name, k, k === chosen, k === chosen)));
    this.canvas = element("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    const bar = Object.assign(element("div"), { className: "bar" });
    bar.append((this.bar = Object.assign(element("canvas"), { width: 256, height: 1 })));
    this.ticks = Object.assign(element("div"), { className: "ticks" });
    this.output = element("output");
    this.window = Object.assign(element("div"), { className: "window" });
    this.section = element("section");
    this.section.append(this.select, this.canvas, this.window, bar, this.ticks, this.output);
    this.select.addEventListener("change", () => app.changed());
    this.listen();
  }

  get field() { return page.fields[this.select.selectedIndex]; }

  listen() {
    const canvas = this.canvas, app = this.app;
    const place = (event) => {
      const box = canvas.getBoundingClientRect(), { x, y } = app.view;
      const [right, down] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      return [x[0] + right * (x[1] - x[0]), y[1] - down * (y[1] - y[0])];
    };
    canvas.addEventListener("pointerdown", (event) => { this.held = place(event); app.point(this.held); });
    canvas.addEventListener("pointermove", (event) => {
      const here = place(event);
      if (event.buttons && event.pointerType === "mouse" && this.held) app.move(this.held, here);
      else app.point(here);
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls; pinching comes with Ctrl
      event.preventDefault();
      app.zoom(event.deltaY > 0 ? 1.25 : 0.8, place(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const app = this.app, { x, y } = app.view, step = event.shiftKey ? 0.1 : 0.01;
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const turn = (by) => {
      this.select.selectedIndex = (this.select.selectedIndex + by + page.fields.length) % page.fields.length;
      app.changed();
    };
    if (ways[event.key]) {
      const [right, up] = ways[event.key];
      app.point([app.place[0] + right * step * (x[1] - x[0]), app.place[1] + up * step * (y[1] - y[0])]);
    } else if (event.key === "+") app.zoom(0.8, app.place);
    else if (event.key === "-") app.zoom(1.25, app.place);
    else if (event.key === "0") app.whole();
    else if (event.key === "PageDown") turn(1);
    else if (event.key === "PageUp") turn(-1);
    else return;
    event.preventDefault();
  }

  resize(aspect) {
    const width = Math.min(this.section.clientWidth, 0.62 * window.innerHeight * aspect) || 1;
    const dense = Math.min(window.devicePixelRatio || 1, 2);
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${width / aspect}px` });
    Object.assign(this.canvas, { width: Math.round(width * dense), height: Math.round((width / aspect) * dense) });
  }

  async draw() {
    const field = this.field, { mesh, view } = this.app;
    await valuesOf(field);
    const drawn = (this.drawn = this.app.raster(this.canvas.width, this.canvas.height));
    const scale = scaleOf(field), image = new ImageData(drawn.width, drawn.height);
    const colours = new Uint32Array(image.data.buffer);
    for (let pixel = 0; pixel < drawn.triangle.length; pixel++) {
      const k = drawn.triangle[pixel];
      if (k < 0) continue;
      const value = at(mesh, field, k, drawn.weights[2 * pixel], drawn.weights[2 * pixel + 1]);
      const level = Math.round(255 * Math.min(1, Math.max(0, scale.place(value))));
      colours[pixel] = Number.isNaN(value) ? MISSING : scale.colours[level];
    }
    this.image = image;
    const [x, y] = [view.x.map(short), view.y.map(short)];
    const stretched = this.app.stretched ? "; axes not to one scale" : "";
    this.window.textContent = `x from ${x[0]} to ${x[1]}, y from ${y[0]} to ${y[1]}${stretched}`;
    this.canvas.setAttribute("aria-label", `${field.name}, from ${short(field.low)} to ${short(field.high)}`);
    this.legend(scale);
    this.cross();
  }

  legend(scale) {
    const image = new ImageData(256, 1);
    new Uint32Array(image.data.buffer).set(scale.colours);
    this.bar.getContext("2d").putImageData(image, 0, 0);
    this.ticks.replaceChildren(...ticksOf(scale).map((tick) => {
      const part = 100 * scale.place(tick), label = element("span", short(tick));
      // Labels at the ends stay within the bar.
      Object.assign(label.style, { left: `${part}%`, transform: `translateX(-${part}%)` });
      return label;
    }));
  }

  // The cross at the place, and the value there.
  cross() {
    const pen = this.canvas.getContext("2d"), { view, place } = this.app, { width, height } = this.canvas;
    pen.putImageData(this.image, 0, 0);
    const [x, y] = [(place[0] - view.x[0]) / (view.x[1] - view.x[0]), (view.y[1] - place[1]) / (view.y[1] - view.y[0])];
    const inside = x >= 0 && y >= 0 && x <= 1 && y <= 1;
    const [column, row] = [Math.min(width - 1, Math.floor(x * width)), Math.min(height - 1, Math.floor(y * height))];
    const k = inside ? this.drawn.triangle[row * width + column] : -1, { mesh } = this.app;
    const value = k < 0 ? undefined : at(mesh, this.field, k, ...weightsAt(mesh, k, place));
    const told = value === undefined ? "outside" : Number.isNaN(value) ? "no finite value" : short(value);
    this.output.textContent = `${this.field.name} at (${short(place[0])}, ${short(place[1])}): ${told}`;
    for (const [colour, line] of [["white", 3], ["black", 1]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = line;
      pen.beginPath();
      pen.moveTo(x * width - 9, y * height);
      pen.lineTo(x * width + 9, y * height);
      pen.moveTo(x * width, y * height - 9);
      pen.lineTo(x * width, y * height + 9);
      pen.stroke();
    }
  }
}

class App {
  constructor(mesh) {
    this.mesh = mesh;
    this.box = { x: extent(mesh.x), y: extent(mesh.y) };
    this.view = this.box;
    const [width, height] = [this.box.x[1] - this.box.x[0], this.box.y[1] - this.box.y[0]];
    this.stretched = Math.max(width / height, height / width) > STRETCHED;
    this.aspect = Math.min(STRETCHED, Math.max(1 / STRETCHED, width / height));
    const asked = new URLSearchParams(location.hash.slice(1));
    const index = (name, otherwise) => {
      const found = page.fields.findIndex((field) => field.name === asked.get(name));
      return found < 0 ? Math.min(otherwise, page.fields.length - 1) : found;
    };
    const number = (name, axis) => (asked.has(name) ? Number(asked.get(name)) : (axis[0] + axis[1]) / 2);
    this.place = [number("x", this.box.x), number("y", this.box.y)];
    if (asked.get("same") === "0") byId("same").checked = false;
    const solution = page.fields.findIndex((field) => field.kind === "u");
    this.panels = [new Panel(this, "left", index("left", 0))];
    if (page.fields.length > 1) this.panels.push(new Panel(this, "right", index("right", solution > 0 ? solution : 1)));
    byId("panels").append(...this.panels.map((panel) => panel.section));
    for (const id of ["same", "log"]) byId(id).addEventListener("change", () => this.changed());
    byId("in").addEventListener("click", () => this.zoom(0.5, this.place));
    byId("out").addEventListener("click", () => this.zoom(2, this.place));
    byId("all").addEventListener("click", () => this.whole());
    new ResizeObserver(() => this.changed()).observe(byId("panels"));
  }

  raster(width, height) {
    const last = this.last;
    if (last && last.view === this.view && last.drawn.width === width && last.drawn.height === height) return last.drawn;
    this.last = { view: this.view, drawn: raster(this.mesh, this.view, width, height) };
    return this.last.drawn;
  }

  point(place) {
    const within = (value, [low, high]) => Math.min(high, Math.max(low, value));
    this.place = [within(place[0], this.box.x), within(place[1], this.box.y)];
    if (this.panels.every((panel) => panel.image)) this.panels.forEach((panel) => panel.cross());
    this.remember();
  }

  zoom(factor, [x, y]) {
    const about = (centre, [low, high]) => [centre + factor * (low - centre), centre + factor * (high - centre)];
    const view = { x: about(x, this.view.x), y: about(y, this.view.y) };
    const whole = view.x[1] - view.x[0] >= this.box.x[1] - this.box.x[0];
    this.view = whole ? this.box : view;
    this.changed();
  }

  move(from, to) {
    const shift = (axis, k) => axis.map((end) => end + from[k] - to[k]);
    this.view = { x: shift(this.view.x, 0), y: shift(this.view.y, 1) };
    this.changed();
  }

  whole() {
    this.view = this.box;
    this.changed();
  }

  // What changes while a picture is drawn is drawn after it.
  async changed() {
    this.waiting = true;
    if (this.busy) return;
    this.busy = true;
    while (this.waiting) {
      this.waiting = false;
      for (const panel of this.panels) panel.resize(this.aspect);
      for (const panel of this.panels) await panel.draw();
    }
    this.busy = false;
    this.remember();
  }

  remember() {
    const [left, right] = this.panels.map((panel) => panel.field.name);
    const shown = new URLSearchParams({ left, ...(right === undefined ? {} : { right }) });
    shown.set("x", short(this.place[0]));
    shown.set("y", short(this.place[1]));
    if (!byId("same").checked) shown.set("same", "0");
    try { history.replaceState(null, "", `#${shown}`); } catch { /* a browser may allow few a second */ }
  }
}

async function start() {
  byId("title").textContent = page.title;
  const kinds = page.fields.map((field) => field.kind);
  const several = [...new Set(kinds.filter((kind, k) => kinds.indexOf(kind) !== k))];
  byId("kinds").textContent = several.join(", ");
  byId("same").parentElement.hidden = !several.length;
  for (const field of page.fields) {
    const row = element("tr");
    row.append(...[field.name, field.where, short(field.low), short(field.high)].map((text) => element("td", text)));
    byId("fields").append(row);
  }
  byId("precision").textContent = `Values are exact to 1 / ${page.levels - 1} of the range of their field.`;
  await new App(await meshOf(page.mesh)).changed();
  byId("message").textContent = `${page.cells} cells, ${page.fields.length} fields.`;
  document.body.dataset.ready = "yes";
}

start().catch((error) => { byId("message").textContent = `Nothing can be drawn: ${error.message}`; });
