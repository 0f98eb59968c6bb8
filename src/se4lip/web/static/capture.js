// In the audio thread: one channel of 16-bit samples, in chunks of 20 ms, each with the number of
// the audio clock's frame behind its last sample.
class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Int16Array(Math.round(sampleRate / 50));
    this.filled = 0;
    this.on = false;
    this.port.onmessage = ({ data }) => { this.on = data; this.filled = 0; };
  }

  process([input]) {
    const samples = input[0];
    if (!this.on || !samples) return true;
    for (let i = 0; i < samples.length; i++) {
      this.chunk[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768)));
      if (this.filled === this.chunk.length) {
        const chunk = this.chunk.slice();
        this.port.postMessage({ chunk, end: currentFrame + i + 1 }, [chunk.buffer]);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
