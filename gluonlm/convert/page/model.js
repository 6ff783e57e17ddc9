"use strict";
// Run a network one token at a time, like the package's stepper; no dependencies, browser or Node.

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const ACTIVATIONS = { tanh: Math.tanh, relu: (x) => Math.max(0, x) };

// weight (out, in) times x, plus bias
function dense(weight, bias, x) {
  const out = new Float32Array(bias.length), size = x.length;
  for (let row = 0, at = 0; row < out.length; row++) {
    let sum = bias[row];
    for (let i = 0; i < size; i++) sum += weight[at++] * x[i];
    out[row] = sum;
  }
  return out;
}

function softmax(logits, temperature = 1) {
  let top = -Infinity, sum = 0;
  for (const logit of logits) top = Math.max(top, logit);
  const weights = Float64Array.from(logits, (x) => Math.exp((x - top) / temperature));
  for (const weight of weights) sum += weight;
  return weights.map((weight) => weight / sum);
}

// Each function returns the new state of a layer, output first.
const ADVANCE = {
  rnn: (read, carried, [h], f) => [h.map((_, i) => f(read[i] + carried[i]))],
  lstm(read, carried, [h, c]) {
    const size = h.length, out = new Float32Array(size), cell = new Float32Array(size);
    const gate = (which, i) => read[which * size + i] + carried[which * size + i];
    for (let i = 0; i < size; i++) {
      cell[i] = sigmoid(gate(1, i)) * c[i] + sigmoid(gate(0, i)) * Math.tanh(gate(2, i));
      out[i] = sigmoid(gate(3, i)) * Math.tanh(cell[i]);
    }
    return [out, cell];
  },
  gru(read, carried, [h]) {
    const size = h.length, out = new Float32Array(size);
    for (let i = 0; i < size; i++) {
      const reset = sigmoid(read[i] + carried[i]);
      const keep = sigmoid(read[size + i] + carried[size + i]);
      const fresh = Math.tanh(read[2 * size + i] + reset * carried[2 * size + i]);
      out[i] = fresh + keep * (h[i] - fresh);
    }
    return [out];
  },
  mingru: (read, _, [h]) => [h.map((old, i) => blend(read[i], read[h.length + i], old))],
  minlstm(read, _, [h]) {
    const size = h.length, odds = (i) => softplus(-read[size + i]) - softplus(-read[i]);
    return [h.map((old, i) => blend(odds(i), read[2 * size + i], old))];
  },
};

const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
// (1 - z) h + z g(n), with the logit of z
const blend = (z, n, h) => h + sigmoid(z) * ((n < 0 ? sigmoid(n) : n + 0.5) - h);

class Network {
  constructor(plan, arrays) {
    Object.assign(this, plan);
    this.get = (name) => arrays[plan.prefix + name];
    this.f = ACTIVATIONS[plan.activation];
    this.firsts = new Map(); // cache: the first layer's input products by token
  }

  begin() {
    if (this.window) return { recent: [], layers: [] };
    return { recent: [], layers: this.zeros() };
  }

  zeros() {
    const states = this.cell === "lstm" ? 2 : 1;
    const zero = (size) => Array.from({ length: states }, () => new Float32Array(size));
    return this.layers.map(({ size }) => zero(size));
  }

  row(name, token, width) {
    return this.get(name).subarray(token * width, (token + 1) * width);
  }

  // the first layer's input products for a token
  first(token) {
    if (!this.firsts.has(token)) this.firsts.set(token, this.read(token));
    return this.firsts.get(token);
  }

  read(token) {
    const name = this.kind === "unrolled" ? "i2h" : this.layers[0].name;
    const part = this.kind === "unrolled" ? [".weight", ".bias"] : [".i2h_weight", ".i2h_bias"];
    const weight = this.get(name + part[0]), bias = this.get(name + part[1]);
    if (this.embedded) return dense(weight, bias, this.row(this.embedded, token, this.columns));
    if (this.representation === "real") return dense(weight, bias, [token / this.vocab_size]);
    const width = weight.length / bias.length; // a one-hot row picks a column
    return bias.map((b, row) => b + weight[row * width + token]);
  }

  // Read a token and return the new state; the old one is unchanged, so that callers may keep it.
  step(state, token) {
    if (this.window) return { recent: [...state.recent, token].slice(-this.window), layers: [] };
    const before = token === this.separator ? this.zeros() : state.layers; // of a document
    return { recent: [], layers: this.advance(before, token) };
  }

  advance(layers, token) {
    let read = this.first(token);
    return this.layers.map(({ name }, number) => {
      const get = (part) => this.get(`${name}.${part}`);
      const old = layers[number];
      const weight = get("h2h_weight"); // not of a minimal layer
      const carried = weight && dense(weight, get("h2h_bias"), old[0]);
      const next = ADVANCE[this.cell](read, carried, old, this.f);
      const above = this.layers[number + 1];
      if (above) {
        const part = (name) => this.get(`${above.name}.${name}`);
        read = dense(part("i2h_weight"), part("i2h_bias"), next[0]);
      }
      return next;
    });
  }

  // the logits of the next token; zeros until a window is full
  logits(state) {
    if (this.window && state.recent.length < this.window) return new Float32Array(this.vocab_size);
    return dense(this.get("decoder.weight"), this.get("decoder.bias"), this.hidden(state));
  }

  hidden(state) {
    if (!this.window) return state.layers[state.layers.length - 1][0];
    if (this.kind === "window") {
      let layers = this.zeros();
      for (const token of state.recent) layers = this.advance(layers, token);
      return layers[0][0];
    }
    const [start, ...rest] = state.recent.map((token) => this.first(token).map(this.f));
    const weight = this.get("h2h.weight"), bias = this.get("h2h.bias");
    const carried = (h) => dense(weight, bias, h).map(this.f);
    return rest.reduce((h, read) => carried(h).map((x, i) => x + read[i]), start);
  }
}

// One network, or several with averaged probabilities.
class Model {
  constructor(plans, arrays) {
    this.networks = plans.map((plan) => new Network(plan, arrays));
  }

  begin() {
    return this.networks.map((network) => network.begin());
  }

  step(state, token) {
    return this.networks.map((network, k) => network.step(state[k], token));
  }

  logits(state) {
    const all = this.networks.map((network, k) => network.logits(state[k]));
    if (all.length === 1) return all[0];
    const each = all.map((logits) => softmax(logits));
    return all[0].map((_, i) => Math.log(each.reduce((sum, p) => sum + p[i], 0) / all.length));
  }
}

// base64 of little-endian numbers of 4 or 2 bytes, to arrays by name
function decodeArrays(text, shapes, half) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)), arrays = {};
  let at = 0;
  for (const [name, count] of shapes) {
    arrays[name] = half
      ? Float32Array.from(new Uint16Array(bytes.buffer, at, count), fromHalf)
      : new Float32Array(bytes.buffer, at, count);
    at += count * (half ? 2 : 4);
  }
  return arrays;
}

function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// Text to tokens and back: characters, or words by the tokenizers split and punctuation.
const JOINER = "\uffed", UNKNOWN = "<unk>", END = "<eos>";
const { raw } = String;
// white space in Python, which is not the same as \s, and without line breaks
const BLANK = raw`\t\v\f\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`;
const WORDS = new RegExp(
  raw`[${BLANK}]*(?:\r\n|\r|\n)|([${BLANK}]*)([^\r\n${BLANK}]+)`, "gu");
// the patterns of gluonlm/vocab/words.py by version: a word as the first group, or else one symbol
const LETTER = raw`\p{L}\p{N}_`;
const EXTEND = raw`\p{M}\p{Emoji_Modifier}\xad\u061c\u200c-\u200f\u202a-\u202e\u2060-\u206f\ufeff` +
  raw`\u{e0001}-\u{e007f}`;
const WORD = `[${LETTER}][${LETTER}${EXTEND}]*`;
const PARTS = {
  1: new RegExp(`([${LETTER}]+(?:['’][${LETTER}]+)*)|[^${LETTER}]`, "gu"),
  2: new RegExp(
    raw`(${WORD}(?:['’]${WORD})*)|\p{Regional_Indicator}{2}[${EXTEND}]*` +
      raw`|[^${LETTER}](?:\u200d\p{Extended_Pictographic}|[${EXTEND}])*`, "gu"),
};

class Vocabulary {
  constructor(data, lower, keepLineEnds) {
    const { level, tokens, tokenizer = "split", version = 1, separator } = data;
    Object.assign(this, { level, tokens, tokenizer, version, separator, lower, keepLineEnds });
    this.index = new Map(tokens.map((token, i) => [token, i]));
    this.start = this.index.get(separator ?? (level === "char" ? "\n" : END)) ?? 0;
    const literal = separator?.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
    this.documents = separator && new RegExp(`(${literal})`, lower ? "iu" : "u");
  }

  // pieces {text, id}; joined texts equal the input with its line ends as \n, unless the run keeps
  // them; id is -1 for an unknown character
  split(text) {
    if (!this.keepLineEnds) text = text.replace(/\r\n?/g, "\n");
    if (!this.documents) return this.splitDocument(text);
    const end = (text) => [{ text, id: this.index.get(this.separator) }];
    return text.split(this.documents).flatMap(
      (part, i) => (i % 2 ? end(part) : this.splitDocument(part)));
  }

  splitDocument(text) {
    const known = (token) => this.index.get(token) ?? this.index.get(UNKNOWN) ?? -1;
    const id = (piece) => known(this.lower ? piece.toLowerCase() : piece);
    if (this.level === "char") return Array.from(text, (char) => ({ text: char, id: id(char) }));
    const pieces = [];
    for (const [found, space, word] of text.matchAll(WORDS)) {
      if (!word) pieces.push({ text: found, id: known(END) });
      else if (this.tokenizer !== "punctuation") pieces.push({ text: found, id: id(word) });
      else pieces.push(...this.marks(space, word, id));
    }
    return pieces;
  }

  marks(space, word, id) {
    if (word === UNKNOWN || word === END) {
      return [{ text: space + word, id: this.index.get(word) ?? 0 }];
    }
    const parts = [...word.matchAll(PARTS[this.version])];
    return parts.map(([part, isWord], i) => {
      const before = i && !isWord ? JOINER : "";
      const after = !isWord && parts[i + 1]?.[1] ? JOINER : "";
      return { text: (i ? "" : space) + part, id: id(before + part + after) };
    });
  }

  // the text of a token after another one
  spell(id, before) {
    const token = this.tokens[id];
    if (this.level === "char") return token;
    if (token === END) return "\n";
    if (token === this.separator) return token;
    const last = before === undefined ? END : this.tokens[before];
    const exact = this.tokenizer === "punctuation";
    const touching = exact
      ? last.endsWith(JOINER) || token.startsWith(JOINER)
      : /^([,.;:?!%)\]}'’”]|''|\.\.\.|n['’]t|['’](s|re|ll|ve|d|m|t))$/i.test(token) ||
        /^([$#([{“‘]|``)$/.test(last);
    const bare = exact ? token.replaceAll(JOINER, "") || token : token;
    return (touching || last === END || last === this.separator ? "" : " ") + bare;
  }
}

if (typeof module !== "undefined") module.exports = { Model, Vocabulary, decodeArrays, softmax };
