/** Dumps of a cluster's state as files: packed on the scheduler, read and shown anywhere, offline. */
import { promisify } from 'node:util';
import { gunzipSync, gzip } from 'node:zlib';
import { ProtocolError } from '../base/errors.ts';
import { decode, encode } from '../protocol/codec.ts';
import { DUMP_FORMAT, DUMP_VERSION } from '../protocol/dump.ts';
import type { ClusterDump } from '../protocol/dump.ts';

const compress = promisify(gzip);

/** The bytes of the file; `secrets` are struck out wherever they stand. Compressing blocks nobody. */
export async function packDump(dump: ClusterDump, secrets: readonly string[]): Promise<Uint8Array> {
  return compress(encode(redacted(dump, secrets.filter(Boolean))));
}

function redacted(value: unknown, secrets: readonly string[]): unknown {
  if (typeof value === 'string') {
    return secrets.reduce((text, secret) => text.replaceAll(secret, '[redacted]'), value);
  }
  if (Array.isArray(value)) {
    // Columns of numbers may have a million entries.
    return typeof value[0] === 'number' ? value : value.map(one => redacted(one, secrets));
  }
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [
      redacted(name, secrets) as string,
      /token|secret|password/i.test(name) ? '[redacted]' : redacted(one, secrets)
    ])
  );
}

/** Throws ProtocolError, saying what the file is instead, unless it is a dump of a known version. */
export function readDump(bytes: Uint8Array): ClusterDump {
  let value: unknown;
  try {
    value = decode(gunzipSync(bytes));
  } catch (cause) {
    throw new ProtocolError('This file is no dump of a cluster: it is not gzip of msgpack.', {
      cause
    });
  }
  const dump = value as Partial<ClusterDump> | null;
  if (typeof dump !== 'object' || dump?.format !== DUMP_FORMAT) {
    throw new ProtocolError('This file is no dump of a cluster.');
  }
  if (dump.version !== DUMP_VERSION) {
    throw new ProtocolError(
      `This dump has version ${String(dump.version)}, this taskloom reads ${DUMP_VERSION}: use the taskloom ` +
        `that wrote it.`
    );
  }
  return dump as ClusterDump;
}
