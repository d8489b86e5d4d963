/**
 * Control frames to bytes and back: plain msgpack (no records, so that Python's msgpack reads
 * them), one array of messages a frame. Checks the outer shape only; what a message holds is
 * checked where it is handled.
 */
import { Packr } from 'msgpackr';
import { ProtocolError } from '../base/errors.ts';
import { LIMITS } from './limits.ts';

const packr = new Packr({ useRecords: false, mapsAsObjects: true, copyBuffers: true });

/** Encodes any plain value (the feed, data heads). The bytes are the caller's own. */
export function encode(value: unknown): Uint8Array {
  return packr.pack(value);
}

/** Decodes one plain value. Byte fields are copies. Throws ProtocolError on garbage. */
export function decode(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes);
  } catch (cause) {
    throw new ProtocolError(`A frame of ${bytes.length} bytes is not msgpack.`, { cause });
  }
}

export function encodeBatch(messages: readonly { op: string }[]): Uint8Array {
  return packr.pack(messages);
}

/** The messages of a frame; throws ProtocolError when it is not an array of `{op}` maps. */
export function decodeBatch<In extends { op: string }>(bytes: Uint8Array): In[] {
  const batch = decode(bytes);
  if (!Array.isArray(batch) || batch.length > LIMITS.batchMessages) {
    throw new ProtocolError('A control frame must hold an array of messages.');
  }
  for (const message of batch as unknown[]) {
    if (typeof (message as { op?: unknown } | null)?.op !== 'string') {
      throw new ProtocolError('Every message of a control frame needs a text field `op`.');
    }
  }
  return batch as In[];
}
