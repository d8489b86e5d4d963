/** Bodies of HTTP requests: JSON, of limited size. */
import type { IncomingMessage } from 'node:http';
import { ProtocolError } from '../base/errors.ts';
import { LIMITS } from '../protocol/limits.ts';

/** The parsed body, undefined when there is none. Throws ProtocolError. */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > LIMITS.httpBodyBytes) throw new ProtocolError('The request body is too large.');
    chunks.push(chunk);
  }
  if (size === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    throw new ProtocolError('The request body is not JSON.', { cause });
  }
}
