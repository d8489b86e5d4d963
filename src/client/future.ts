/**
 * A handle on a result that is, or will be, on the cluster. The cluster keeps the result while a
 * handle lives: it is let go when the handle is garbage collected, released or disposed.
 *
 * A future is deliberately not awaitable: waiting has a cost, and `result()` shows it.
 */
import type { Session } from './session.ts';
import type { FutureRecord, FutureStatus } from './state/client-state.ts';
import { settled } from './waiting.ts';

export interface WaitOptions {
  /** Seconds; TimeoutError after that. Default: no limit. */
  timeout?: number;
}

export class Future<T = unknown> {
  /** @internal */
  readonly record: FutureRecord;
  /** @internal */
  readonly session: Session;

  /** @internal */
  constructor(session: Session, record: FutureRecord) {
    this.session = session;
    this.record = record;
    session.track(this);
  }

  /** Its name on the cluster. */
  get key(): string {
    return this.record.key;
  }
  /** `pending`, `finished`, `error`, `cancelled` or `lost`. */
  get status(): FutureStatus {
    return this.record.status;
  }
  /** Type of the result, once finished. */
  get type(): string {
    return this.record.type;
  }
  /** Bytes of the result, once finished. */
  get nbytes(): number {
    return this.record.nbytes;
  }

  /** True when there is nothing to wait for any more, however it ended. */
  done(): boolean {
    return this.record.status !== 'pending';
  }
  cancelled(): boolean {
    return this.record.status === 'cancelled';
  }

  /**
   * Waits for the result and brings it here. Throws the task's own error if it failed,
   * CancelledError if it was cancelled or lost, TimeoutError when `timeout` seconds passed.
   */
  async result(options: WaitOptions = {}): Promise<T> {
    const [value] = await this.session.values.gather([this], options);
    return value as T;
  }

  /** Waits; the error of a failed task, or null. */
  async exception(options: WaitOptions = {}): Promise<Error | null> {
    await settled(this.session, [this], options);
    return this.session.errorOf(this.record);
  }

  /** Gives it up. A running task is let run out, unless `force` kills it; others who want it keep it, unless `force`. */
  cancel(options: { force?: boolean; reason?: string } = {}): void {
    this.session.cancel([this], options);
  }

  /** Runs a failed task again, with the failed tasks it stands on. */
  retry(): void {
    this.session.retry([this]);
  }

  /** Lets go of the result now. Using the future afterwards is an error. */
  release(): void {
    this.session.release(this.record.cid);
    if (this.record.status === 'pending' || this.record.status === 'finished') {
      this.record.status = 'cancelled';
      this.record.reason = 'it was released';
    }
  }

  [Symbol.dispose](): void {
    this.release();
  }

  toString(): string {
    const { status, key, type, nbytes } = this.record;
    const result = status === 'finished' ? `, ${type}, ${nbytes} bytes` : '';
    const error = status === 'error' ? `, ${this.record.error?.message ?? ''}` : '';
    return `Future(${key}, ${status}${result}${error})`;
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }
  [Symbol.for('Deno.customInspect')](): string {
    return this.toString();
  }
}
