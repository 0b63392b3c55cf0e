"use strict";
// The page's state is the flags of `tsplanner estimate`; Python answers, and this file draws.
const read = id => JSON.parse(document.getElementById(id).textContent);
const FACTS = read("facts"), MESSAGES = read("messages");
const at = id => document.getElementById(id);
const LENGTHS = [128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152, 65536, 98304, 131072];
const POWERS = most => Array.from({ length: Math.log2(most) + 1 }, (_, power) => 2 ** power);

// What a setting is drawn as. The names are those of the flags; choices and defaults are Python's.
const GROUPS = [
  ["cards", [["gpus", "cards"], ["world_size", POWERS(64)], ["zero_stage", [0, 1, 2, 3]], ["offload_optimizer", "switch"], ["offload_param", "switch"]]],
  ["training", [["finetuning_type", "choice"], ["lora_rank", POWERS(256)], ["sequence_length", LENGTHS], ["micro_batch_size", POWERS(64)], ["gradient_checkpointing", "switch"]]],
  ["base", [["precision", ["bf16", "fp16", "fp32"], "choice"], ["quantization", "choice", "none"], ["optimizer", "choice"]]],
  ["code", [["loss_kernel", "choice"], ["kernels", "choice"], ["attention", "choice"]]],
];
const CHOICES = { ...FACTS.choices, kernels: FACTS.choices.decoder_kernels, precision: ["bf16", "fp16", "fp32"] };
const DEFAULTS = { ...FACTS.defaults, kernels: FACTS.defaults.decoder_kernels, precision: "bf16", quantization: "none", gpus: "" };
const OPENING = { ...DEFAULTS, ...FACTS.first };
const NAMES = ["model", ...GROUPS.flatMap(([, rows]) => rows.map(([name]) => name))];

let language = (navigator.language || "en").startsWith("zh") ? "zh" : "en";
let state = pick(OPENING), config = null, latest = 0, shown = null;

function pick(values) { return Object.fromEntries(NAMES.map(name => [name, values[name]])); }
function say(key) { return MESSAGES[language][key] ?? MESSAGES.en[key] ?? key; }
function gib(bytes) {
  const value = bytes / 2 ** 30;
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

// From what the page shows to keywords of the command: only what differs from its defaults.
function given() {
  const found = {};
  for (const name of NAMES) {
    if (name === "precision" || state[name] === DEFAULTS[name] || state[name] === "") continue;
    found[name] = state[name];
  }
  if (state.precision !== "bf16") {
    found.model_dtype = state.precision;
    found.autocast = state.precision === "fp32" ? "none" : state.precision;
  }
  return found;
}

function question() {
  const asked = { given: given() };
  if (config !== null) asked.config = config;
  const own = (FACTS.own || []).find(card => card.name === state.gpus);
  if (own) asked.free_bytes = own.free_bytes;
  return asked;
}

// Sliders move faster than answers come: only the newest question is asked.
let asking = false, wanted = false;
async function update() {
  wanted = true;
  writeLink();
  if (asking) return;
  asking = true;
  while (wanted) {
    wanted = false;
    const asked = question(), began = performance.now();
    let found;
    try { found = await engine.answer(asked); } catch (error) { found = { error: `${error.message || error}` }; }
    draw(found);
    at("answer").dataset.milliseconds = (performance.now() - began).toFixed(1);
    at("answer").dataset.count = ++latest;
  }
  asking = false;
}

const PART_NAMES = Object.keys(MESSAGES.en.part_names);
function draw(found) {
  shown = found;
  at("state").textContent = found.error || "";
  at("state").className = found.error ? "error" : "";
  at("state").lang = found.error ? "en" : language;
  at("answer").dataset.answer = JSON.stringify(found);
  if (found.error) { at("verdict").textContent = ""; return; }
  at("result").hidden = at("more").hidden = false;
  const process = found.estimate.process_bytes, free = found.free_bytes;
  at("verdict").textContent = found.verdict ? say("verdict_" + found.verdict.replaceAll(" ", "_")) : say("no_card");
  at("verdict").className = (found.verdict || "").replaceAll(" ", "-");
  at("figures").textContent = say("figures").replace("{expected}", gib(process.expected)).replace("{upper}", gib(process.upper))
    + (free ? say("of_free").replace("{free}", gib(free)) : "");
  drawBar(found, process, free);
  at("line").textContent = found.command;
  at("save-config").hidden = config === null;
  at("assumptions").replaceChildren(...found.estimate.assumptions.map(text => made("li", text)));
}

function drawBar(found, process, free) {
  const whole = Math.max(process.upper, free || 0);
  const parts = Object.entries(found.estimate.components).filter(([, bytes]) => bytes > 0).sort((one, other) => other[1] - one[1]);
  const color = name => `var(--c${Math.max(0, PART_NAMES.indexOf(name))})`;
  const share = bytes => `${100 * bytes / whole}%`;
  const bar = parts.map(([name, bytes]) => {
    const part = document.createElement("i");
    part.style.width = share(bytes);
    part.style.background = color(name);
    part.title = `${partName(name)}: ${gib(bytes)} GiB`;
    return part;
  });
  for (const [bytes, kind, key] of [[process.upper, "bound", "bound"], [free, "limit", "free"]]) {
    if (!bytes) continue;
    const mark = document.createElement("b");
    mark.className = kind;
    mark.style.left = `calc(${share(bytes)} - 2px)`;
    mark.title = `${say(key)}: ${gib(bytes)} GiB`;
    bar.push(mark);
  }
  at("bar").replaceChildren(...bar);
  at("bar").setAttribute("aria-label", parts.map(([name, bytes]) => `${partName(name)} ${gib(bytes)} GiB`).join(", "));
  at("parts").replaceChildren(...parts.map(([name, bytes]) => {
    const row = document.createElement("tr"), first = made("td", ""), key = made("span", "");
    key.className = "key";
    key.style.background = color(name);
    first.append(key, partName(name));
    const size = made("td", gib(bytes));
    size.className = "n";
    row.append(first, size);
    return row;
  }));
}

function partName(name) { return MESSAGES[language].part_names[name] || name; }
function made(tag, text) {
  const found = document.createElement(tag);
  found.textContent = text;
  return found;
}

// The form is written anew in another language; the state stays.
function drawForm() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const each of document.querySelectorAll("[data-say]")) each.textContent = say(each.dataset.say);
  at("language").textContent = language === "zh" ? "English" : "中文";
  at("language").lang = language === "zh" ? "en" : "zh-CN";
  document.title = `${say("title")} · tsplanner`;
  fill(at("model"), FACTS.presets.map(name => [name, name]), config === null ? state.model : "");
  at("groups").replaceChildren(...GROUPS.map(([group, rows]) => {
    const box = document.createElement("fieldset");
    box.append(made("legend", say(group)), ...rows.flatMap(control));
    return box;
  }));
}

function fill(select, rows, value) {
  select.replaceChildren(...rows.map(([key, text]) => {
    const option = made("option", text);
    option.value = key;
    return option;
  }));
  if (![...select.options].some(option => option.value === value)) {
    const option = made("option", value || say("own_chosen"));
    option.value = value;
    select.prepend(option);
  }
  select.value = value;
}

function control([name, kind, more]) {
  const label = made("label", say(name));
  label.htmlFor = name;
  if (kind === "switch") {
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", id: name, checked: state[name] });
    box.onchange = () => set(name, box.checked);
    label.prepend(box);
    return [label];
  }
  if (kind === "cards" || kind === "choice" || more === "choice") {
    const select = document.createElement("select");
    select.id = name;
    fill(select, kind === "cards" ? cardRows() : [...(more === "none" ? ["none"] : []), ...CHOICES[name]].map(each => [each, say("choice_" + each) === "choice_" + each ? each : say("choice_" + each)]), state[name]);
    select.onchange = () => set(name, select.value);
    return [label, select];
  }
  return [label, slider(name, kind)];
}

function cardRows() {
  const own = (FACTS.own || []).map(card => [card.name, `${card.name} · ${say("here")}`]);
  const known = new Set(own.map(([name]) => name));
  return [["", say("any_card")], ...own, ...FACTS.cards.filter(card => !known.has(card.name)).map(card => [card.name, `${card.name.replace(/ \d+GiB$/, "")} · ${card.gib} GiB`])];
}

function slider(name, steps) {
  const row = document.createElement("div"), range = document.createElement("input"), number = document.createElement("input");
  row.className = "row";
  const place = value => steps.reduce((best, step, index) => Math.abs(step - value) < Math.abs(steps[best] - value) ? index : best, 0);
  Object.assign(range, { type: "range", id: name, min: 0, max: steps.length - 1, step: 1, value: place(state[name]) });
  range.setAttribute("aria-valuetext", `${state[name]}`);
  Object.assign(number, { type: "number", value: state[name], id: name + "-number" });
  number.setAttribute("aria-label", `${say(name)}, ${say("exact")}`);
  range.oninput = () => {
    number.value = steps[range.value];
    range.setAttribute("aria-valuetext", number.value);
    set(name, steps[range.value]);
  };
  number.oninput = () => {
    const value = number.value === "" ? NaN : Number(number.value);
    if (Number.isNaN(value)) return;
    range.value = place(value);
    range.setAttribute("aria-valuetext", number.value);
    set(name, value);
  };
  row.append(range, number);
  return row;
}

function set(name, value) {
  state[name] = value;
  update();
}

// The link holds what differs from the page as it opens, and a pasted config in full.
async function writeLink() {
  const words = new URLSearchParams();
  for (const name of NAMES) if (state[name] !== OPENING[name]) words.set(name, state[name]);
  if (config !== null) words.set("config", await packed(config));
  const hash = words.toString();
  if (hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
}

async function readLink() {
  const words = new URLSearchParams(location.hash.slice(1));
  state = pick(OPENING);
  config = null;
  for (const [name, text] of words) {
    if (!NAMES.includes(name)) continue;
    const was = OPENING[name];
    state[name] = typeof was === "boolean" ? text === "true" : typeof was === "number" ? Number(text) : text;
  }
  if (words.has("config")) {
    try { config = await unpacked(words.get("config")); } catch { config = "{"; }
    at("own").open = true;
  }
  at("config").value = config ?? "";
  drawForm();
  await update();
}

async function through(stream, bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}
async function packed(text) {
  const bytes = await through(new CompressionStream("deflate-raw"), new TextEncoder().encode(text));
  return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join("")).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), sign => sign.charCodeAt(0));
  return new TextDecoder().decode(await through(new DecompressionStream("deflate-raw"), bytes));
}

function useConfig(text) {
  config = text.trim() === "" ? null : text;
  at("config").value = text;
  at("own").open = config !== null || at("own").open;
  fill(at("model"), FACTS.presets.map(name => [name, name]), config === null ? state.model : "");
  update();
}

async function copy(text) {
  try { await navigator.clipboard.writeText(text); at("copied").textContent = say("copied"); }
  catch { at("copied").textContent = text; }
}

at("model").onchange = () => { at("config").value = ""; config = null; set("model", at("model").value); };
at("config").oninput = () => useConfig(at("config").value);
at("file").onchange = async () => { if (at("file").files[0]) useConfig(await at("file").files[0].text()); };
at("reset").onclick = () => { history.replaceState(null, "", location.pathname + location.search); readLink(); };
at("language").onclick = () => { language = language === "zh" ? "en" : "zh"; drawForm(); if (shown) draw(shown); };
at("copy-line").onclick = () => copy(at("line").textContent);
at("copy-link").onclick = async () => { await writeLink(); copy(location.href); };
at("settings").onsubmit = event => event.preventDefault();
addEventListener("hashchange", readLink);
addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("dropping"); });
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", async event => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files[0]) useConfig(await event.dataTransfer.files[0].text());
});

// The answer to the settings that the page opens with came with it, so nobody waits for Python.
drawForm();
if (!location.hash) {
  draw(FACTS.first_answer);
  at("answer").dataset.first = performance.now().toFixed(0);
}
at("answer").setAttribute("aria-busy", "true");
engine.ready.then(() => {
  at("answer").removeAttribute("aria-busy");
  at("answer").dataset.ready = performance.now().toFixed(0);
  return readLink();
}, error => draw({ error: `${error.message || error}` }));
if (location.hash) at("state").textContent = say("loading");
