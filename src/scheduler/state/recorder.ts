/**
 * Rectangles for the task stream, noted as tasks finish, in a ring of columns. Nothing else happens
 * here: folding into feed messages and sending is the shell's, in another turn, when somebody looks.
 */
export class StreamRecorder {
  readonly capacity: number;
  readonly worker: Uint32Array;
  readonly lane: Uint16Array;
  readonly fn: Uint32Array;
  readonly kind: Uint8Array;
  readonly start: Float64Array;
  readonly duration: Float32Array;
  /** Rectangles ever noted; the newest is at (count - 1) % capacity. */
  count = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.worker = new Uint32Array(capacity);
    this.lane = new Uint16Array(capacity);
    this.fn = new Uint32Array(capacity);
    this.kind = new Uint8Array(capacity);
    this.start = new Float64Array(capacity);
    this.duration = new Float32Array(capacity);
  }

  /** kind: index into STREAM_KINDS; start in ms since the epoch, duration in ms. */
  add(
    worker: number,
    lane: number,
    fn: number,
    kind: number,
    start: number,
    duration: number
  ): void {
    const at = this.count++ % this.capacity;
    this.worker[at] = worker;
    this.lane[at] = lane;
    this.fn[at] = fn;
    this.kind[at] = kind;
    this.start[at] = start;
    this.duration[at] = duration;
  }
}
