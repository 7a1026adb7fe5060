"use strict";
// All versions of a clip play at once and all but one are silent, so that switching keeps the place to the sample.

const FADE = 0.008; // seconds; long enough not to click, too short to be heard as a fade

class Player {
  constructor(changed) {
    this.changed = changed;
    this.context = null;
    this.buffers = new Map();
    this.voices = new Map();
    this.duration = 0;
    this.offset = 0;
    this.began = null;
    this.column = null;
    this.loop = false;
  }

  get playing() {
    return this.began !== null;
  }

  get position() {
    if (!this.playing) return this.offset;
    const place = this.offset + Math.max(0, this.context.currentTime - this.began);
    return this.loop && this.duration ? place % this.duration : Math.min(place, this.duration);
  }

  // Take the decoded sounds of a clip, AudioBuffers by column, all as long as the longest.
  open(buffers, duration) {
    this.stop();
    this.buffers = buffers;
    this.duration = duration;
    this.offset = 0;
    if (!buffers.has(this.column)) this.column = buffers.keys().next().value ?? null;
    this.changed();
  }

  async play() {
    if (!this.buffers.size || this.playing) return;
    this.context ??= new AudioContext();
    if (this.context.state !== "running") await this.context.resume();
    if (this.playing) return;
    if (this.offset >= this.duration - 0.01) this.offset = 0;
    this.start();
    this.changed();
  }

  start() {
    const at = this.context.currentTime + 0.02;
    for (const [column, buffer] of this.buffers) {
      const source = new AudioBufferSourceNode(this.context, { buffer, loop: this.loop });
      const gain = new GainNode(this.context, { gain: column === this.column ? 1 : 0 });
      source.connect(gain).connect(this.context.destination);
      source.start(at, this.offset);
      this.voices.set(column, { source, gain });
    }
    this.began = at;
    const any = this.voices.values().next().value.source;
    any.onended = () => this.ended(any);
  }

  ended(source) {
    if (![...this.voices.values()].some((voice) => voice.source === source)) return;
    this.stop();
    this.offset = 0;
    this.changed();
  }

  stop() {
    this.offset = this.position;
    for (const { source, gain } of this.voices.values()) {
      source.onended = null;
      source.stop();
      gain.disconnect();
    }
    this.voices.clear();
    this.began = null;
  }

  pause() {
    this.stop();
    this.changed();
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  seek(seconds) {
    const playing = this.playing;
    this.stop();
    this.offset = Math.min(Math.max(seconds, 0), this.duration);
    if (playing && this.offset < this.duration) this.start();
    this.changed();
  }

  setLoop(loop) {
    const place = this.position;
    this.loop = loop;
    this.seek(place);
  }

  pick(column) {
    if (!this.buffers.has(column)) return;
    this.column = column;
    for (const [name, { gain }] of this.voices) {
      const now = this.context.currentTime;
      gain.gain.cancelScheduledValues(now);
      gain.gain.setValueAtTime(gain.gain.value, now);
      gain.gain.linearRampToValueAtTime(name === column ? 1 : 0, now + FADE);
    }
    this.changed();
  }
}

// Sounds come as scripts, the only files that a page opened from the disk may read.
const waiting = new Map();

function ostinatoClip({ clip, sounds }) {
  waiting.get(clip)?.resolve(sounds);
}

function clipSounds(clip) {
  if (!waiting.has(clip.name)) {
    const entry = {};
    entry.promise = new Promise((resolve, reject) => {
      entry.resolve = resolve;
      entry.reject = reject;
    });
    waiting.set(clip.name, entry);
    const script = document.createElement("script");
    script.src = clip.script;
    script.onerror = () => {
      waiting.delete(clip.name);
      entry.reject(new Error(`${clip.script} is missing: copy the whole folder of this page`));
    };
    document.head.append(script);
  }
  return waiting.get(clip.name).promise;
}

async function decode(sounds, sampleRate) {
  const decoder = new OfflineAudioContext(1, 1, sampleRate);
  const decoded = await Promise.all(
    Object.entries(sounds).map(async ([column, wav]) => {
      const bytes = Uint8Array.from(atob(wav), (letter) => letter.charCodeAt(0));
      return [column, await decoder.decodeAudioData(bytes.buffer)];
    }),
  );
  const length = Math.max(...decoded.map(([, buffer]) => buffer.length), 1);
  const buffers = new Map();
  for (const [column, buffer] of decoded) {
    const padded = new AudioBuffer({ length, sampleRate });
    padded.copyToChannel(buffer.getChannelData(0), 0);
    buffers.set(column, padded);
  }
  return { buffers, duration: length / sampleRate };
}
