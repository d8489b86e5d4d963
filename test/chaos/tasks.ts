/**
 * What the tasks of a chaos run compute. A task's value is a number that follows from its salt and
 * its inputs' numbers, and, for large ones, bytes that follow from that number: every execution
 * checks the bytes of its inputs, and the client can compute every number itself.
 *
 * `work` is captured and runs on workers: it uses nothing of this process but what is captured.
 */
import { appendFileSync, readFileSync } from 'node:fs';

/** How a task behaves. All but the first three are misbehaviour. */
export type Kind =
  | 'quick'
  | 'sleeps'
  | 'computes'
  /** Lets three tasks of its own compute, and waits for them. */
  | 'submits'
  /** Leaves a file behind. */
  | 'writes'
  /** Throws always. */
  | 'throws'
  /** Throws the first `times` times that it runs. */
  | 'flaky'
  /** Never ends. */
  | 'endless'
  /** Kills its worker's process with a signal, the first `times` times that it runs. */
  | 'segfaults'
  /** Fills the process's memory until it is ended, the first `times` times that it runs. */
  | 'hogs'
  /** Fills its executor's heap. */
  | 'fills-heap'
  /** Ends its executor. */
  | 'exits';

export interface Spec {
  id: string;
  salt: number;
  kind: Kind;
  /** Duration of `sleeps` and `computes`. */
  ms: number;
  /** Bytes of the value, a multiple of 4. */
  nbytes: number;
  times: number;
  /** Where executions leave their marks. */
  folder: string;
}

export interface Value {
  hash: number;
  body: Uint8Array | null;
}

/** The number of a task with these inputs. */
export function hashOf(salt: number, inputs: readonly number[]): number {
  let hash = 0x811c9dc5 ^ salt;
  for (const input of inputs) {
    hash = Math.imul(hash ^ (input & 0xffff), 0x01000193);
    hash = Math.imul(hash ^ (input >>> 16), 0x01000193);
  }
  return hash >>> 0;
}

/** The bytes that belong to a number. */
export function bodyOf(hash: number, nbytes: number): Uint8Array | null {
  if (nbytes === 0) return null;
  const words = new Uint32Array(nbytes / 4);
  let x = hash | 1;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return new Uint8Array(words.buffer);
}

/** A sentence when the bytes are not those of the number, else null. */
export function damageOf({ hash, body }: Value): string | null {
  if (body === null) return null;
  if (body.length % 4 !== 0) return `${body.length} bytes`;
  const aligned = body.byteOffset % 4 === 0 ? body : body.slice();
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
  let x = hash | 1;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    if (words[i] !== x >>> 0) return `byte ${4 * i} of ${body.length}`;
  }
  return null;
}

/** Runs on a worker. */
export async function work(spec: Spec, ...inputs: Value[]): Promise<Value> {
  for (const [i, input] of inputs.entries()) {
    const damage = damageOf(input);
    if (damage !== null) throw new Error(`damaged input ${i} of ${spec.id}: ${damage}`);
  }
  if (spec.times > 0 && marks(spec) < spec.times) {
    mark(spec);
    await misbehave(spec);
  } else if (spec.kind === 'sleeps') {
    await new Promise(resolve => setTimeout(resolve, spec.ms));
  } else if (spec.kind === 'computes') {
    const end = Date.now() + spec.ms;
    while (Date.now() < end);
  } else if (spec.kind === 'submits') {
    await submitParts(spec);
  } else if (spec.kind === 'writes') {
    appendFileSync(`${spec.folder}/${spec.id}.done`, '.');
  }
  const hash = hashOf(
    spec.salt,
    inputs.map(input => input.hash)
  );
  return { hash, body: bodyOf(hash, spec.nbytes) };
}

async function submitParts(spec: Spec): Promise<void> {
  const { getClient } = await import('taskloom');
  const client = await getClient();
  const square = (x: number): number => x * x;
  const parts = client.map(square, [spec.salt % 1000, 3, 4]);
  const [first, ...others] = await client.gather(parts);
  for (const part of parts) part.release();
  if (first !== (spec.salt % 1000) ** 2 || others.join() !== '9,16') {
    throw new Error(`wrong parts of ${spec.id}: ${first},${others.join()}`);
  }
}

/** How often it has misbehaved, in all processes. */
function marks(spec: Spec): number {
  try {
    return readFileSync(`${spec.folder}/${spec.id}`, 'utf8').length;
  } catch {
    return 0;
  }
}

function mark(spec: Spec): void {
  appendFileSync(`${spec.folder}/${spec.id}`, '.');
}

async function misbehave(spec: Spec): Promise<void> {
  const kept: unknown[] = [];
  switch (spec.kind) {
    case 'throws':
    case 'flaky':
      throw new Error(`planned: ${spec.id}`);
    case 'endless':
      for (;;);
    case 'segfaults':
      process.kill(process.pid, 'SIGSEGV');
      break;
    case 'hogs':
      for (;;) {
        kept.push(Buffer.alloc(16 * 2 ** 20, 1));
        await new Promise(resolve => setTimeout(resolve, 2));
      }
    case 'fills-heap':
      for (;;) kept.push(new Array(1000).fill(spec.id).map(String));
    case 'exits':
      process.exit(3);
      break;
    default:
      break;
  }
  // What was ordered above may take a moment; the value must not be there before.
  await new Promise(resolve => setTimeout(resolve, 60_000));
}
