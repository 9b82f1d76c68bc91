/** Runs beside the page's own thread: sound from the microphone, mixed to one channel, as 16-bit PCM. */

const SECONDS = 0.1; // in a message

/* global AudioWorkletProcessor, registerProcessor, sampleRate */

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.pcm = new Int16Array(Math.round(sampleRate * SECONDS));
    this.filled = 0;
  }

  /** @param {Float32Array[][]} inputs */
  process([channels]) {
    for (let index = 0; index < (channels[0]?.length ?? 0); index++) {
      let sum = 0;
      for (const channel of channels) sum += channel[index];
      const value = Math.max(-1, Math.min(1, sum / channels.length));
      this.pcm[this.filled++] = Math.round(value * 32767);
      if (this.filled === this.pcm.length) {
        this.port.postMessage(this.pcm.buffer, [this.pcm.buffer]);
        this.pcm = new Int16Array(Math.round(sampleRate * SECONDS));
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
