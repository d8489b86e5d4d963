/**
 * Questions and answers over a control link: `request` messages out, `response` messages in, told
 * apart by number. A link that closes rejects all that is outstanding.
 */
import { CommClosedError, TaskloomError, TimeoutError } from '../base/errors.ts';
import type { RequestMessage, ResponseMessage } from '../protocol/messages.ts';

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
  timer: ReturnType<typeof setTimeout> | null;
}

/** The asking side. */
export class Requester {
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 1;
  private readonly send: (message: RequestMessage) => void;

  constructor(send: (message: RequestMessage) => void) {
    this.send = send;
  }

  request(method: string, params: unknown, timeoutMs = 0): Promise<unknown> {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      const timer =
        timeoutMs <= 0 ? null : setTimeout(() => this.expire(id, method, timeoutMs), timeoutMs);
      this.waiting.set(id, { resolve, reject, timer });
      this.send({ op: 'request', id, method, params });
    });
  }

  answer(message: ResponseMessage): void {
    const waiting = this.take(message.id);
    if (waiting === null) return;
    if (message.error === undefined) waiting.resolve(message.result);
    else waiting.reject(new TaskloomError(message.error.code, message.error.message));
  }

  fail(reason: string): void {
    for (const id of [...this.waiting.keys()]) this.take(id)?.reject(new CommClosedError(reason));
  }

  private expire(id: number, method: string, timeoutMs: number): void {
    this.take(id)?.reject(new TimeoutError(`No answer to ${method} within ${timeoutMs / 1000} s.`));
  }

  private take(id: number): Waiting | null {
    const waiting = this.waiting.get(id);
    if (waiting === undefined) return null;
    this.waiting.delete(id);
    if (waiting.timer !== null) clearTimeout(waiting.timer);
    return waiting;
  }
}

export type RequestHandler = (params: never) => unknown;

/** The answering side: looks the method up, answers with its result or a coded error. */
export async function answerRequest(
  message: RequestMessage,
  handlers: ReadonlyMap<string, RequestHandler>,
  send: (response: ResponseMessage) => void
): Promise<void> {
  const handler = handlers.get(message.method);
  if (handler === undefined) {
    send({
      op: 'response',
      id: message.id,
      error: { code: 'UNKNOWN_METHOD', message: `No method ${message.method}.` }
    });
    return;
  }
  try {
    const result: unknown = await handler(message.params as never);
    send({ op: 'response', id: message.id, result });
  } catch (error) {
    const code = error instanceof TaskloomError ? error.code : 'INTERNAL';
    send({
      op: 'response',
      id: message.id,
      error: { code, message: error instanceof Error ? error.message : String(error) }
    });
  }
}
