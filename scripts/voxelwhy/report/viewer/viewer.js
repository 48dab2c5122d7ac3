// The viewer. NiiVue draws; this script unpacks the volumes, fills the lists, and says what lies under the crosshair.
// NiiVue comes as the module of a Jupyter widget, so each view gives it the small model that Jupyter would give it.
"use strict";

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const FAR = 0.01; // mm; a crosshair that moved less has not moved

// --- Unpacking ---

function bytesOf(text) {
  const plain = atob(text);
  const bytes = new Uint8Array(plain.length);
  for (let i = 0; i < plain.length; i += 1) bytes[i] = plain.charCodeAt(i);
  return bytes;
}

async function unpack(name) {
  const packed = new Blob([bytesOf(byId(`packed-${name}`).textContent.trim())]);
  return new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** A NIfTI file: the header of the grid, and the voxels. */
function nifti(grid, voxels) {
  const header = bytesOf(grid.header);
  const file = new Uint8Array(header.length + voxels.byteLength);
  file.set(header);
  file.set(new Uint8Array(voxels.buffer), header.length);
  return file;
}

/** Index of the voxel of a grid at a place in mm, or -1 outside the grid. */
function voxelAt(grid, mm) {
  const place = mm.map((value, axis) => Math.round((value - grid.origin[axis]) / grid.step[axis]));
  if (place.some((index, axis) => index < 0 || index >= grid.shape[axis])) return -1;
  return place[0] + grid.shape[0] * (place[1] + grid.shape[1] * place[2]);
}

function centreOf(grid, voxel) {
  const [nx, ny] = grid.shape;
  const place = [voxel % nx, Math.floor(voxel / nx) % ny, Math.floor(voxel / (nx * ny))];
  return place.map((index, axis) => grid.origin[axis] + grid.step[axis] * index);
}

/** Codes of a map, with the share of brain voxels whose code is smaller in size than each code. */
async function readMap(index) {
  const codes = new Int8Array(await unpack(`map-${index}`));
  const counts = new Array(data.steps + 1).fill(0);
  for (const code of codes) counts[Math.abs(code)] += 1;
  counts[0] -= codes.length - data.map_grid.n_brain; // the box outside the brain
  const below = [];
  counts.reduce((sum, count, code) => ((below[code] = sum / data.map_grid.n_brain), sum + count), 0);
  return { ...data.maps[index], index, codes, below };
}

const heightOf = (code) => code * Math.abs(code); // what is drawn; NiiVue cannot resolve values as small as relevance
const valueOf = (map, code) => heightOf(code) * map.unit;
const percentileOf = (map, code) => 100 * map.below[Math.abs(code)];

/** The smallest code that at least this percentage of the brain's voxels do not exceed in size. */
function codeAtPercentile(map, percent) {
  const next = map.below.findIndex((share, code) => code && 100 * share >= percent);
  return next < 0 ? data.steps : next - 1;
}

// --- A view: one instance of NiiVue ---

class Model {
  constructor(values, volumes = new Map()) {
    this.values = values;
    this.handlers = new Map();
    this.widget_manager = { get_model: async (id) => volumes.get(id) };
    this._comm_live = false; // nobody listens for volumes in return
  }
  get(name) { return this.values[name]; }
  set(name, value) { this.values[name] = value; }
  on(event, handler) { this.handlers.set(event, [...(this.handlers.get(event) ?? []), handler]); }
  off(event, handler) {
    this.handlers.set(event, (this.handlers.get(event) ?? []).filter((own) => handler && own !== handler));
  }
  fire(event, ...details) { for (const handler of this.handlers.get(event) ?? []) handler(...details); }
  change(name, value) { this.values[name] = value; this.fire(`change:${name}`); }
  ask(type, ...details) { this.fire("msg:custom", { type, data: details }, []); }
  send() {}
  save_changes() {}
  send_sync_message() {}
}

function volumeModel(id, file, options) {
  const nothing = { name: "" };
  return new Model({
    id, name: `${id}.nii`, data: file, path: nothing, paired_img_path: nothing, opacity: 1, colorbar_visible: false,
    frame_4d: 0, colormap_negative: "", cal_min_neg: null, cal_max_neg: null, colormap_type: 0, modulate_alpha: 0,
    colormap_invert: false, modulation_image: null, colormap_label: null, ...options,
  });
}

class View {
  constructor(host, onMove) {
    this.host = host;
    this.onMove = onMove;
    this.volumes = new Map();
  }

  /** Begin with a map: the template and the map are drawn together, once. */
  async start(background, index) {
    // A module has one instance of NiiVue: each view loads a module of its own.
    const url = URL.createObjectURL(new Blob([await library], { type: "text/javascript" }));
    const { default: widget } = await import(url);
    URL.revokeObjectURL(url);
    this.volumes.set("background", volumeModel("background", background, { colormap: "gray", cal_min: 0, cal_max: 255 }));
    this.map = await readMap(index);
    this.model = new Model(
      {
        volumes: this.addVolume(this.map), meshes: [], height: this.height(), background_masks_overlays: 0,
        draw_lut: null, draw_opacity: 0, draw_fill_overwrites: true, overlay_outline_width: 0, overlay_alpha_shader: 1,
        opts: {
          sliceType: 3, multiplanarShowRender: 0, multiplanarLayout: this.layout(), multiplanarPadPixels: 4,
          crosshairColor: [0.35, 0.85, 0.45, 1], crosshairGap: 6, crosshairWidthUnit: "voxels", crosshairWidth: 1,
          backColor: [0, 0, 0, 1], isColorbar: false, isRadiologicalConvention: false, show3Dcrosshair: false,
          dragMode: 3, isCornerOrientationText: false, isAntiAlias: false, logLevel: "error",
        },
      },
      this.volumes,
    );
    this.model.send = (message) => this.hear(message);
    await widget.initialize({ model: this.model });
    for (const [name, colours] of Object.entries(data.colours)) this.model.ask("add_colormap", name, colours);
    await widget.render({ model: this.model, el: this.host });
    const canvas = this.host.querySelector("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "Sagittal, coronal and axial slices; the table states what the crosshair marks");
    this.pose = `${this.host.clientWidth} ${this.layout()}`;
    new ResizeObserver(() => this.fit()).observe(this.host);
  }

  hear({ event, data: news }) {
    if (event === "location_change") this.onMove(news.mm.slice(0, 3));
    if (event === "image_loaded" && this.loaded) this.loaded();
  }

  paired() { return document.body.classList.contains("paired"); }
  layout() { return this.host.clientWidth < 620 || this.paired() ? 2 : 3; }
  height() { return Math.round(this.host.clientWidth * (this.layout() === 3 ? 0.4 : 1)); }

  fit() {
    const pose = `${this.host.clientWidth} ${this.layout()}`;
    if (pose === this.pose || !this.host.clientWidth) return;
    this.pose = pose;
    this.model.change("opts", { multiplanarLayout: this.layout() });
    this.model.change("height", this.height());
    this.model.ask("resize_listener");
  }

  /** Show a map in place of the one before; of several that are asked for while one loads, the last. */
  async show(index) {
    this.wanted = index;
    if (this.busy) return this.busy;
    this.busy = (async () => {
      while (this.map?.index !== this.wanted) await this.load(this.wanted);
    })();
    await this.busy;
    this.busy = null;
    return null;
  }

  async load(index) {
    const map = await readMap(index);
    const drawn = new Promise((resolve) => { this.loaded = resolve; });
    this.volumes.delete(`map-${this.map.index}`);
    this.model.change("volumes", this.addVolume(map));
    await drawn;
    this.map = map;
  }

  /** The volumes to draw: the template, and a map over it. */
  addVolume(map) {
    const id = `map-${map.index}`;
    const file = nifti(data.map_grid, Int16Array.from(map.codes, (code) => heightOf(code)));
    const colours = { colormap: "positive", colormap_negative: "negative", opacity: opacity() };
    this.volumes.set(id, volumeModel(id, file, { ...colours, ...this.range(map) }));
    return ["IPY_MODEL_background", `IPY_MODEL_${id}`];
  }

  /** The colours begin above the threshold, and end where those of the figures end. */
  range(map) {
    const [low, high] = [threshold(), data.scale_to].map((percent) => codeAtPercentile(map, percent));
    // Half a step above the threshold, so that rounding hides or shows no voxel.
    return { cal_min: heightOf(low + 0.5), cal_max: heightOf(Math.max(high, low + 1)) };
  }

  recolour() {
    if (!this.map) return;
    const volume = this.volumes.get(`map-${this.map.index}`);
    const { cal_min: low, cal_max: high } = this.range(this.map);
    volume.set("cal_max", high);
    volume.fire("change:cal_max");
    volume.change("cal_min", low);
  }

  fade() { if (this.map) this.volumes.get(`map-${this.map.index}`).change("opacity", opacity()); }

  move(mm) {
    const { origin, step, shape } = data.background;
    const share = mm.map((value, axis) => ((value - origin[axis]) / step[axis] + 0.5) / shape[axis]);
    this.model.change("scene", { crosshairPos: share.map((value) => Math.min(Math.max(value, 0), 1)) });
    this.model.ask("draw_scene");
  }

  codeAt(mm) {
    const voxel = voxelAt(data.map_grid, mm);
    return voxel < 0 ? 0 : this.map.codes[voxel];
  }
}

// --- The page ---

const threshold = () => Number(byId("threshold").value);
const opacity = () => Number(byId("opacity").value) / 100;
const views = [];
let library, background, labels, crosshair;

function regionAt(mm) {
  const voxel = voxelAt(data.labels, mm);
  return voxel < 0 ? 0 : labels[voxel];
}

/** Two digits: 0.35, −1.2 × 10⁻⁵. */
function short(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 0.01 && size < 1000) return value.toPrecision(2).replace("-", "−");
  const [digits, power] = value.toExponential(1).split("e");
  const raised = [...String(Number(power))].map((sign) => (sign === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign])).join("");
  return `${digits.replace("-", "−")} × 10${raised}`;
}

const fixed = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));
const titleOf = (map) => (map.group ? `${map.method}, ${map.group}` : map.method);
const shownViews = () => views.filter((view) => view.map && view.host.clientWidth);

function tell() {
  const region = regionAt(crosshair);
  byId("region").textContent = region ? data.regions[region] : "no region of the atlas";
  crosshair.forEach((value, axis) => {
    if (document.activeElement !== byId("xyz"[axis])) byId("xyz"[axis]).value = value.toFixed(1);
  });
  byId("under").replaceChildren(...shownViews().map(({ map, ...view }, place) => {
    const code = shownViews()[place].codeAt(crosshair);
    const ranks = Object.keys(map.regions).length;
    const [rank, enrichment] = map.regions[region] ?? [];
    const row = document.createElement("tr");
    const cells = [titleOf(map), short(valueOf(map, code)), percentileOf(map, code).toFixed(0)];
    cells.push(rank ? `${rank} of ${ranks}` : "–", fixed(enrichment));
    for (const text of cells) row.append(Object.assign(document.createElement("td"), { textContent: text }));
    return row;
  }));
  for (const row of byId("regions").rows) {
    const own = Number(row.dataset.region) === region;
    if (own) row.setAttribute("aria-current", "true");
    else row.removeAttribute("aria-current");
  }
}

function moveTo(mm, from) {
  if (crosshair && mm.every((value, axis) => Math.abs(value - crosshair[axis]) < FAR)) return;
  crosshair = [...mm];
  for (const view of views) if (view !== from && view.model) view.move(crosshair);
  if (views[0].map) tell();
}

/** The place in a region where the first map is largest in size. */
function jump(region) {
  const { map } = views[0];
  let best = -1, found = null;
  for (let voxel = 0; voxel < labels.length; voxel += 1) {
    if (labels[voxel] !== region) continue;
    const mm = centreOf(data.labels, voxel);
    const size = Math.abs(views[0].codeAt(mm));
    if (size > best) [best, found] = [size, mm];
  }
  if (found && map) moveTo(found);
}

function listRegions() {
  const { map } = views[0];
  const ranked = Object.entries(map.regions).sort(([, one], [, other]) => one[0] - other[0]);
  const rows = ranked.length ? ranked : Object.keys(data.regions).map((region) => [region, []]);
  byId("ranked").textContent = ranked.length ? `${titleOf(map)}; n = ${map.n}` : `${titleOf(map)}: no ranks`;
  byId("regions").replaceChildren(...rows.map(([region, [rank, enrichment, low, high]]) => {
    const row = document.createElement("tr");
    row.dataset.region = region;
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: data.regions[region] });
    button.addEventListener("click", () => jump(Number(region)));
    const name = document.createElement("td");
    name.append(button);
    const interval = low === null || low === undefined ? "" : ` (${fixed(low)} to ${fixed(high)})`;
    const cells = [rank ?? "–", name, `${fixed(enrichment)}${interval}`];
    row.append(...cells.map((cell) => (cell === name ? name : Object.assign(document.createElement("td"), { textContent: cell }))));
    return row;
  }));
}

function scale() {
  byId("threshold-says").textContent = `percentile ${threshold()} of the absolute values in the brain`;
  byId("opacity-says").textContent = `${byId("opacity").value} %`;
  for (const [place, view] of views.entries()) {
    if (!view.map) continue;
    const low = valueOf(view.map, codeAtPercentile(view.map, threshold()));
    const high = view.range(view.map).cal_max * view.map.unit;
    const ends = [-high, -low, low, high].map(short);
    byId(`ends-${place}`).replaceChildren(...ends.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
    byId(`units-${place}`).textContent = view.map.units + (view.map.n ? `; n = ${view.map.n}` : "");
  }
}

// --- The lists ---

function fillGroups(place) {
  const method = byId(`method-${place}`).value;
  const before = byId(`group-${place}`).value;
  const groups = data.maps.filter((map) => map.method === method).map((map) => map.group);
  byId(`group-${place}`).replaceChildren(...groups.map((group) => new Option(group || "–", group)));
  if (groups.includes(before)) byId(`group-${place}`).value = before;
  byId(`group-${place}`).disabled = groups.length < 2;
}

function chosen(place) {
  const [method, group] = ["method", "group"].map((name) => byId(`${name}-${place}`).value);
  return data.maps.findIndex((map) => map.method === method && map.group === group);
}

async function choose(place) {
  fillGroups(place);
  const second = place === 1;
  if (second) {
    const none = byId("method-1").value === "";
    document.body.classList.toggle("paired", !none);
    byId("second").hidden = none;
  }
  const index = chosen(place);
  if (index >= 0) {
    views[place].starting ??= views[place].start(background, index);
    await views[place].starting;
    await views[place].show(index);
    if (second) views[1].move(crosshair);
  }
  if (!second) listRegions();
  scale();
  tell();
  document.documentElement.dataset.shown = shownViews().map((view) => view.map.index).join(",");
}

function watch() {
  for (const place of [0, 1]) {
    for (const name of ["method", "group"]) byId(`${name}-${place}`).addEventListener("change", () => guard(choose(place)));
  }
  let waiting = false;
  const soon = (work) => () => {
    scale();
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; for (const view of views) work(view); });
  };
  byId("threshold").addEventListener("input", soon((view) => view.recolour()));
  byId("opacity").addEventListener("input", soon((view) => view.fade()));
  for (const axis of [0, 1, 2]) {
    byId("xyz"[axis]).addEventListener("change", ({ target }) => {
      if (target.value === "" || !Number.isFinite(Number(target.value))) return tell();
      return moveTo(crosshair.map((value, other) => (other === axis ? Number(target.value) : value)));
    });
  }
}

/** The figure takes the place of the slices, with the reason. */
function fallBack(reason) {
  document.body.classList.add("static");
  byId("reason").textContent = reason;
  document.documentElement.dataset.ready = "static";
}

const guard = (work) => work.catch((error) => { console.error(error); fallBack(`The slices cannot be drawn: ${error.message}.`); });

async function start() {
  if (!document.createElement("canvas").getContext("webgl2")) {
    fallBack("This browser cannot draw the slices, because it has no WebGL2. The figure of the report stands in their place.");
    return;
  }
  library = unpack("niivue");
  const [template, regions] = await Promise.all([unpack("background"), unpack("labels")]);
  labels = data.labels.bytes === 1 ? new Uint8Array(regions) : new Uint16Array(regions);
  background = nifti(data.background, new Uint8Array(template));
  for (const place of [0, 1]) {
    const view = new View(byId(`view-${place}`), (mm) => moveTo(mm, view));
    views.push(view);
    const methods = [...new Set(data.maps.map((map) => map.method))];
    const none = place ? [new Option("none", "")] : [];
    byId(`method-${place}`).replaceChildren(...none, ...methods.map((method) => new Option(method, method)));
    fillGroups(place);
  }
  const { origin, step, shape } = data.background;
  crosshair = origin.map((value, axis) => value + step[axis] * Math.floor(shape[axis] / 2));
  await choose(0);
  const first = Object.entries(data.maps[0].regions).find(([, [rank]]) => rank === 1);
  if (first) jump(Number(first[0]));
  else views[0].move(crosshair);
  watch();
  document.documentElement.dataset.ready = Math.round(performance.now());
}

guard(start());
