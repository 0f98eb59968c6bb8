// Where sound comes from, when each sample of it was heard, and how late it is played.
const LONGEST_FILE_MB = 50, LONGEST_FILE_S = 600;
const REMEMBERED = 500; // chunks: ten seconds
const DRIFT = 1e-3; // of the audio clock against the page's, at most

export class Sound {
  constructor(send, ended) {
    this.context = new AudioContext({ latencyHint: "interactive" });
    this.send = send;
    this.ended = ended;
    this.source = null;
    this.turn = 0; // of starts and stops: who waited must see whether another came
    this.offset = Infinity; // page clock less audio clock, ms
    this.reset();
  }

  get rate() { return this.context.sampleRate; }

  /** A new connection counts samples from nought. */
  reset() { this.pushed = 0; this.chunks = []; }

  prepare() {
    this.prepared ??= this.make().catch((error) => { this.prepared = null; throw error; });
    return this.prepared;
  }

  async make() {
    await this.context.audioWorklet.addModule("capture.js");
    const one = { channelCount: 1, channelCountMode: "explicit" };
    this.worklet = new AudioWorkletNode(this.context, "capture", one);
    this.worklet.port.onmessage = ({ data }) => this.heard(data);
    const silent = new GainNode(this.context, { gain: 0 });
    this.worklet.connect(silent).connect(this.context.destination); // so that it is run at all
    this.delay = new DelayNode(this.context, { maxDelayTime: 1.5, delayTime: 0.25 });
    this.gain = new GainNode(this.context, { gain: 0 });
    this.delay.connect(this.gain).connect(this.context.destination);
  }

  heard({ chunk, end }) {
    const now = performance.now(), spoken = 1000 * end / this.rate;
    // The least delay of any message tells how the clocks stand to each other.
    this.offset = Math.min(now - spoken, this.offset + DRIFT * 1000 * chunk.length / this.rate);
    if (!this.send(chunk.buffer)) return;
    this.pushed += chunk.length;
    this.chunks.push({ from: this.pushed - chunk.length, until: this.pushed, end, sent: now });
    if (this.chunks.length > REMEMBERED) this.chunks.shift();
  }

  /** When pushed sample `number` was heard, on the page's clock in ms; null when long ago. */
  heardAt(number) {
    const chunk = this.chunks.findLast((one) => one.from <= number);
    if (!chunk) return null;
    return this.offset + 1000 * (chunk.end - (chunk.until - number)) / this.rate;
  }

  /** When the chunk that ended with `number` was sent. */
  sentAt(number) {
    return this.chunks.findLast((one) => one.until === number)?.sent ?? null;
  }

  /** Whether it began: not where another start, or a stop, came while this one waited. */
  async microphone() {
    const turn = await this.start();
    const constraints = { channelCount: 1, echoCancellation: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: constraints });
    const free = () => stream.getTracks().forEach((track) => track.stop());
    if (turn !== this.turn) {
      free();
      return false;
    }
    this.listen(new MediaStreamAudioSourceNode(this.context, { mediaStream: stream }), free);
    return true;
  }

  /** Whether it began, as `microphone`. */
  async file(file) {
    const turn = await this.start();
    if (file.size > LONGEST_FILE_MB * 2 ** 20)
      throw Error(`the file has more than ${LONGEST_FILE_MB} MB`);
    const buffer = await this.context.decodeAudioData(await file.arrayBuffer());
    if (buffer.duration > LONGEST_FILE_S)
      throw Error(`the file is longer than ${LONGEST_FILE_S / 60} minutes`);
    if (turn !== this.turn) return false;
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.onended = () => { this.stop(); this.ended(); };
    this.listen(source, () => { source.onended = null; source.stop(); });
    source.start();
    return true;
  }

  async start() {
    this.stop();
    const turn = this.turn;
    await this.context.resume();
    await this.prepare();
    return turn;
  }

  listen(source, free) {
    this.source = source;
    this.free = free;
    source.connect(this.worklet);
    source.connect(this.delay);
    this.worklet.port.postMessage(true);
  }

  stop() {
    this.turn += 1;
    if (!this.source) return;
    this.worklet.port.postMessage(false);
    this.source.disconnect();
    this.free();
    this.source = null;
  }

  /** Play what is heard `ms` later, or not at all. */
  playLater(aloud, ms) {
    if (!this.gain) return;
    const now = this.context.currentTime;
    this.gain.gain.setTargetAtTime(aloud ? 1 : 0, now, 0.02);
    this.delay.delayTime.setTargetAtTime(ms / 1000, now, 0.3);
  }

  get outputLatency() {
    return 1000 * (this.context.outputLatency || this.context.baseLatency || 0);
  }
}
