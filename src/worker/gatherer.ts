/**
 * Fetches values from peers, as the state asks, and tells it what came of it. A peer that is struck
 * off while it owes an answer has failed at once: its late answer is ignored.
 *
 * Peers are not trusted to answer what was asked: an answer may hold only values that were asked for,
 * under their keys, and not many more bytes than they are known to have. Less is no fault.
 */
import { ProtocolError } from '../base/errors.ts';
import { DataPool } from '../comm/data.ts';
import { STREAM_KINDS } from '../protocol/feed.ts';
import type { StartStops } from '../protocol/messages.ts';
import { readValues } from './data-service.ts';
import type { Gather, GatherBusy, GatherFailure, GatherSuccess } from './state/events.ts';
import type { Sharing } from './store/filed.ts';
import type { ValueStore } from './store.ts';

/** Transfers of fewer bytes say nothing about bandwidth. */
const LARGE = 1e6;
/** Bytes that an answer may have beside twice what is expected. */
const SPARE_BYTES = 16 * 1024 * 1024;
/** ms without a byte after which a peer that owes an answer is given up: others may have it. */
const SILENCE_MS = 60_000;
const TRANSFER = STREAM_KINDS.indexOf('transfer');

export interface GathererOptions {
  token: string;
  /** Of the scheduler whose numbers it speaks. */
  epoch: string;
  silenceMs?: number;
  store: ValueStore;
  /** How files are handed over; absent or null: not at all. */
  sharing?: Sharing | null;
  /** '' when unknown. */
  keyOf(tid: number): string;
  onEvent(event: GatherSuccess | GatherBusy | GatherFailure): void;
  /** Bars for the task stream. */
  onTransfer(message: StartStops): void;
  onLog(text: string): void;
}

type Values = ReturnType<typeof readValues>;

export class Gatherer {
  private readonly options: GathererOptions;
  private readonly pool: DataPool;
  private readonly addresses = new Map<number, string>();
  private readonly asked = new Map<number, object>();
  receivedBytes = 0;
  /** Bytes a second of large transfers, or 0. */
  bandwidth = 0;

  constructor(options: GathererOptions) {
    this.options = options;
    this.pool = new DataPool(options.token, options.silenceMs ?? SILENCE_MS);
  }

  addPeer(worker: number, address: string): void {
    this.addresses.set(worker, address);
  }

  removePeer(worker: number): void {
    this.addresses.delete(worker);
    if (this.asked.delete(worker)) this.options.onEvent({ op: 'gather-failure', worker });
  }

  async gather(instruction: Gather): Promise<void> {
    const { worker, tids } = instruction;
    const request = {};
    this.asked.set(worker, request);
    const start = Date.now();
    const began = performance.now();
    let event: GatherSuccess | GatherBusy | GatherFailure;
    try {
      event = await this.ask(instruction, request, began);
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      this.options.onLog(`fetching ${tids.length} values from worker ${worker} failed: ${text}`);
      event = { op: 'gather-failure', worker };
    }
    if (this.asked.get(worker) !== request) return;
    this.asked.delete(worker);
    if (event.op === 'gather-success' && event.tids.length > 0) {
      this.showTransfer(event.tids, start, performance.now() - began);
    }
    this.options.onEvent(event);
  }

  private async ask(
    { worker, tids, nbytes }: Gather,
    request: object,
    began: number
  ): Promise<GatherSuccess | GatherBusy> {
    const address = this.addresses.get(worker);
    if (address === undefined) throw new Error('it is not in the table of workers');
    const most = 2 * nbytes + SPARE_BYTES;
    const answer = await this.valuesFrom(address, tids, most, this.options.sharing ?? null);
    if (answer === null) return { op: 'gather-busy', worker };
    const { values, filed } = answer;
    const event: GatherSuccess = { op: 'gather-success', worker, tids: [], nbytes: [], types: [] };
    // An answer that comes after the peer was given up must not reach the store.
    if (this.asked.get(worker) !== request) {
      for (const { value } of values) value.discard?.();
      return event;
    }
    let total = 0;
    for (const { tid, value } of values) {
      this.options.store.put(tid, value);
      event.tids.push(tid);
      event.nbytes.push(value.nbytes);
      event.types.push(value.type);
      total += value.nbytes;
    }
    this.receivedBytes += total;
    // Files that change hands say nothing of a network.
    if (!filed) this.learnBandwidth(total, performance.now() - began);
    return event;
  }

  /** What it answers, as files when it and we have the same; null when it is busy. */
  private async valuesFrom(
    address: string,
    tids: readonly number[],
    most: number,
    sharing: Sharing | null
  ): Promise<{ values: Values; filed: boolean } | null> {
    const { epoch } = this.options;
    const head = { op: 'get-data', epoch, tids, ...(sharing && { host: sharing.host }) };
    const answer = await this.pool.request(address, { head, frames: [] }, most);
    if (answer.head['busy'] === true) return null;
    let values: Values;
    const filed = answer.head['files'] !== undefined;
    try {
      values = readValues(answer, sharing?.folders);
    } catch (error) {
      if (!filed || error instanceof ProtocolError) throw error;
      // It has let go of them meanwhile, or they cannot be linked to: by the socket, then.
      return this.valuesFrom(address, tids, most, null);
    }
    try {
      const total = values.reduce((sum, { value }) => sum + value.nbytes, 0);
      if (total > most) throw new ProtocolError(`it sent ${total} bytes, ${most} at most`);
      return { values: this.asAsked(tids, values, answer.head['keys']), filed };
    } catch (error) {
      for (const { value } of values) value.discard?.();
      throw error;
    }
  }

  /** What was asked for, once each; throws when the peer answers something else. */
  private asAsked(tids: readonly number[], values: Values, keys: unknown): Values {
    const open = new Set(tids);
    values.forEach(({ tid }, i) => {
      if (!open.delete(tid))
        throw new ProtocolError(`it sent value ${tid}, which nobody asked for`);
      const known = this.options.keyOf(tid);
      const its = Array.isArray(keys) ? (keys as unknown[])[i] : '';
      // Numbers of another scheduler than ours mean other values.
      if (known !== '' && its !== '' && its !== known) {
        throw new ProtocolError(`it sent ${String(its)} for ${known}`);
      }
    });
    return values;
  }

  private learnBandwidth(bytes: number, ms: number): void {
    if (bytes < LARGE || ms <= 0) return;
    const rate = (bytes / ms) * 1000;
    this.bandwidth = this.bandwidth === 0 ? rate : 0.95 * this.bandwidth + 0.05 * rate;
  }

  /** One bar a request: its values came together. */
  private showTransfer(tids: number[], start: number, duration: number): void {
    const [first] = tids;
    if (first === undefined) return;
    this.options.onTransfer({
      op: 'start-stops',
      tids: [first],
      lanes: [0],
      kinds: [TRANSFER],
      starts: [start],
      durations: [duration]
    });
  }

  close(): void {
    this.asked.clear();
    this.pool.close();
  }
}
