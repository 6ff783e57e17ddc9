"use strict";
// The interface: predictive keyboard, surprise view and hidden state.
// Texts and tokens are inserted as text only, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const model = new Model(data.networks, decodeArrays(data.weights, data.shapes, data.half));
const vocabulary = new Vocabulary(data.vocabulary, data.lower, data.keep_line_ends);
const at = (id) => document.getElementById(id);
const [field, map, strip] = [at("text"), at("map"), at("strip")];
const chars = vocabulary.level === "char";
const LONGEST = 20000, SLICE = 12; // characters; milliseconds of work per frame
const MOST_BITS = 2 * Math.log2(vocabulary.tokens.length); // twice the bits of a uniform guess
const SHOWN = { "\n": "↵", " ": "␣", "\t": "⇥", [END]: "↵" };

// a text with its control characters as symbols, except line breaks and tabs
function visible(text) {
  const symbol = (code) => code === 127 ? "␡" : code < 32 ? String.fromCharCode(0x2400 + code)
    : `\\x${code.toString(16)}`;
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, (char) => symbol(char.charCodeAt(0)));
}

// the label of a token
function labelled(text) {
  return SHOWN[text] ?? visible(text);
}

// States are cached in a tree of prefixes.
function begin() {
  let state = model.begin();
  const reads = data.networks[0].window || 1; // a text is preceded by line breaks
  for (let i = 0; i < reads; i++) state = model.step(state, vocabulary.start);
  return { state, token: vocabulary.start, bits: null, children: new Map() };
}

function probabilitiesAfter(node) {
  return softmax(model.logits(node.state));
}

function child(node, token) {
  if (!node.children.has(token)) {
    const probabilities = probabilitiesAfter(node);
    let best = 0;
    probabilities.forEach((p, i) => { if (p > probabilities[best]) best = i; });
    node.children.set(token, {
      state: model.step(node.state, token), token, children: new Map(),
      bits: -Math.log2(Math.max(probabilities[token], 1e-300)), best,
      probability: probabilities[best],
    });
  }
  return node.children.get(token);
}

const root = begin();
let pieces = [], nodes = [], turn = 0, cell = null, layer = 0;

const pause = () => new Promise((go) => setTimeout(go));

// Read a text in time slices; return null if another keystroke occurred.
async function walk(text, mine) {
  const found = vocabulary.split(text), path = [];
  let node = root, since = performance.now();
  for (const { id } of found) {
    if (id >= 0) node = child(node, id);
    path.push(id >= 0 ? node : null);
    if (performance.now() - since > SLICE) {
      await pause();
      if (mine !== turn) return null;
      since = performance.now();
    }
  }
  return { found, path, node };
}

async function update() {
  const mine = ++turn, started = performance.now();
  if (field.value.length > LONGEST) field.value = field.value.slice(0, LONGEST);
  const read = await walk(field.value, mine);
  if (!read) return;
  [pieces, nodes] = [read.found, read.path];
  const here = await predicted(mine);
  if (!here) return;
  showKeys(here);
  showSurprise();
  showState();
  document.body.dataset.milliseconds = (performance.now() - started).toFixed(2);
  await pause();
  if (mine === turn) await complete(here, mine);
  document.body.dataset.turn = mine;
}

// the node before the cursor and, for a word model, the word being typed
async function predicted(mine) {
  const before = field.value.slice(0, field.selectionStart);
  const begun = chars ? "" : /[^\s]*$/u.exec(before)[0];
  const read = await walk(before.slice(0, before.length - begun.length), mine);
  return read && { node: read.node, begun, before };
}

function button(label, hint, probability, insert) {
  const key = document.createElement("button");
  key.type = "button";
  key.dir = "auto";
  key.textContent = label;
  key.setAttribute("aria-label", `${hint}, ${(100 * probability).toFixed(1)} percent`);
  key.style.setProperty("--probability", probability);
  key.addEventListener("click", insert);
  return key;
}

function put(text, drop = 0) {
  const end = field.selectionStart;
  field.setRangeText(text, end - drop, field.selectionEnd, "end");
  field.focus();
  update();
}

function likeliest(probabilities, count, keep = () => true) {
  const order = [];
  probabilities.forEach((p, id) => { if (keep(id)) order.push([p, id]); });
  return order.sort((a, b) => b[0] - a[0] || a[1] - b[1]).slice(0, count);
}

// a token as inserted: without a leading space at the beginning or after a space
function fitting(written, before) {
  return chars || written === "\n" || /\S$/u.test(before) ? written : written.trimStart();
}

function showKeys({ node, begun, before }) {
  const fits = (id) => chars || (vocabulary.tokens[id] !== UNKNOWN &&
    vocabulary.tokens[id].replaceAll(JOINER, "").startsWith(begun));
  const found = likeliest(probabilitiesAfter(node), 10, fits);
  at("next").replaceChildren(...found.map(([probability, id]) => {
    const written = vocabulary.spell(id, node === root ? undefined : node.token);
    const bare = written.trim() || written, label = SHOWN[written] ?? visible(bare);
    const names = { "\n": "line break", " ": "space", "\t": "tab" };
    return button(label, names[written] ?? visible(bare), probability, () =>
      put(begun ? bare : fitting(written, before), begun.length));
  }));
}

// Complete words by a beam search over letters.
async function complete({ node, before }, mine) {
  if (!chars) return at("words").replaceChildren();
  const letter = (id) => /[\p{L}\p{M}'’]/u.test(vocabulary.tokens[id]);
  let beam = [{ node, text: "", log: 0 }], done = [], since = performance.now();
  for (let length = 0; length < 14 && beam.length; length++) {
    const grown = [];
    for (const { node: from, text, log } of beam) {
      const probabilities = probabilitiesAfter(from);
      const ends = probabilities.reduce((sum, p, id) => sum + (letter(id) ? 0 : p), 0);
      if (text) done.push({ text, probability: Math.exp(log) * ends });
      for (const [p, id] of likeliest(probabilities, 5, letter)) {
        grown.push({ from, id, text: text + vocabulary.tokens[id], log: log + Math.log(p) });
      }
    }
    grown.sort((a, b) => b.log - a.log);
    beam = grown.slice(0, 5).map((g) => ({ node: child(g.from, g.id), text: g.text, log: g.log }));
    if (performance.now() - since > SLICE) {
      await pause();
      if (mine !== turn) return;
      since = performance.now();
    }
  }
  const begun = /[\p{L}\p{M}'’]*$/u.exec(before)[0];
  done.sort((a, b) => b.probability - a.probability);
  at("words").replaceChildren(...done.slice(0, 5).map(({ text, probability }) =>
    button(begun + text, begun + text, probability, () => put(`${text} `))));
}

function characters(piece) {
  return Array.from(piece.text).length;
}

function showSurprise() {
  map.replaceChildren(...pieces.map((piece, i) => {
    const span = document.createElement("span"), node = nodes[i];
    span.textContent = visible(piece.text).replace(/\n/g, "↵\n");
    span.dataset.place = i;
    if (!node) {
      span.className = "unknown";
      span.title = "unknown to this model: skipped";
    } else {
      const guess = vocabulary.tokens[node.best];
      span.title = `${node.bits.toFixed(2)} bits; expected ${labelled(guess)} ` +
        `(${(100 * node.probability).toFixed(0)}%)`;
    }
    return span;
  }));
  colour();
  const read = nodes.filter(Boolean), bits = read.reduce((sum, node) => sum + node.bits, 0);
  const length = pieces.reduce((sum, piece, i) => sum + (nodes[i] ? characters(piece) : 0), 0);
  at("score").textContent = length
    ? `${(bits / length).toFixed(3)} bits per character over ` +
      `${length.toLocaleString("en")} characters`
    : "Type or paste text to see its surprise.";
  const worst = pieces.map((piece, i) => ({ i, node: nodes[i] })).filter(({ node }) => node);
  worst.sort((a, b) => b.node.bits - a.node.bits);
  at("worst").replaceChildren(...worst.slice(0, 5).map(({ i, node }) => {
    const item = document.createElement("li"), guess = vocabulary.tokens[node.best];
    const before = pieces.slice(Math.max(0, i - (chars ? 12 : 3)), i).map(({ text }) => text);
    const text = document.createElement("bdi"), token = document.createElement("strong");
    token.textContent = labelled(pieces[i].text);
    text.append(visible(before.join("").replace(/\s+/g, " ")), token);
    item.append(text, `  ${node.bits.toFixed(1)} bits; expected ` +
      `${labelled(guess)} with ${(100 * node.probability).toFixed(0)}%`);
    return item;
  }));
}

// the hidden state of a layer after a token
function stateOf(node) {
  return node.state[0].layers[layer][0];
}

function scale() {
  let top = 1e-6;
  for (const node of nodes.filter(Boolean)) {
    for (const h of stateOf(node)) top = Math.max(top, Math.abs(h));
  }
  return top;
}

// the background of every token: its surprise, or the value of the selected cell
function colour() {
  const most = cell === null ? MOST_BITS : scale();
  map.classList.toggle("cell", cell !== null);
  Array.from(map.children).forEach((span, i) => {
    const value = nodes[i] ? (cell === null ? nodes[i].bits : stateOf(nodes[i])[cell]) / most : 0;
    span.style.setProperty("--value", Math.max(-1, Math.min(1, value)).toFixed(3));
    span.classList.toggle("low", cell === null ? value < 0.03 : false);
    span.classList.toggle("minus", value < 0);
  });
  at("cell").textContent = cell === null
    ? "Point at a row, or use the arrow keys, to show one cell's value for each token."
    : `Cell ${cell} of layer ${layer}: orange is positive, blue negative.`;
}

function showState() {
  if (data.networks[0].window) return;
  const shown = nodes.filter(Boolean).slice(-240), size = data.networks[0].layers[layer].size;
  strip.width = Math.max(1, shown.length);
  strip.height = size;
  const context = strip.getContext("2d"), image = context.createImageData(strip.width, size);
  const most = scale();
  shown.forEach((node, x) => stateOf(node).forEach((h, y) => {
    const place = 4 * (y * strip.width + x), strength = Math.round((255 * Math.abs(h)) / most);
    const hue = h > 0 ? [235, 110, 20] : [30, 110, 235];
    image.data.set([...hue, strength], place);
  }));
  context.putImageData(image, 0, 0);
}

function selectCell(which) {
  const size = data.networks[0].layers[layer].size;
  cell = which === null ? null : Math.max(0, Math.min(size - 1, which));
  colour();
}

let writing = false;

async function writeOn() {
  writing = !writing;
  at("write").textContent = writing ? "Stop" : "Generate";
  at("write").setAttribute("aria-pressed", writing);
  field.setSelectionRange(field.value.length, field.value.length);
  while (writing && field.value.length < LONGEST) {
    const here = await walk(field.value, turn);
    if (!here) continue;
    const id = draw(model.logits(here.node.state));
    const before = here.node === root ? undefined : here.node.token, end = field.value.length;
    field.setRangeText(fitting(vocabulary.spell(id, before), field.value), end, end, "end");
    field.scrollTop = field.scrollHeight;
    await update();
    await new Promise(requestAnimationFrame);
  }
}

function draw(logits) {
  const probabilities = softmax(logits, Number(at("temperature").value));
  const kept = likeliest(probabilities, Number(at("top").value) || probabilities.length);
  let left = Math.random() * kept.reduce((sum, [p]) => sum + p, 0);
  for (const [p, id] of kept) if ((left -= p) < 0) return id;
  return kept[0][1];
}

function start() {
  document.title = data.title;
  at("title").textContent = data.title;
  at("about").textContent = data.about;
  field.value = data.example;
  field.setSelectionRange(field.value.length, field.value.length);
  const layers = data.networks[0].window ? [] : data.networks[0].layers;
  at("inside").hidden = !layers.length;
  at("layer").replaceChildren(...layers.map((_, i) => new Option(i, i)));
  field.addEventListener("input", update);
  field.addEventListener("keyup", ({ key }) => {
    if (/^(Arrow|Home|End|Page)/.test(key)) update();
  });
  field.addEventListener("click", update);
  at("write").addEventListener("click", writeOn);
  at("clear").addEventListener("click", () => { field.value = ""; update(); field.focus(); });
  at("temperature").addEventListener("input", ({ target }) => {
    at("warmth").value = Number(target.value).toFixed(1);
  });
  at("layer").addEventListener("change", ({ target }) => {
    layer = Number(target.value);
    selectCell(null);
    showState();
  });
  strip.addEventListener("pointermove", (event) => {
    const box = strip.getBoundingClientRect();
    selectCell(Math.floor(((event.clientY - box.top) / box.height) * strip.height));
  });
  strip.addEventListener("pointerleave", () => selectCell(null));
  strip.addEventListener("blur", () => selectCell(null));
  strip.addEventListener("keydown", (event) => {
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    selectCell(cell === null ? 0 : cell + move);
  });
  update();
}

start();
