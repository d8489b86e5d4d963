/**
 * How large a value is, near enough to decide where it goes. Long arrays, maps and sets are sampled;
 * nothing here throws, whatever the value does when it is looked at.
 */
const SAMPLE = 32;
const BUDGET = 2000;
const OBJECT_BYTES = 24;
const SLOT_BYTES = 8;
const OPAQUE_BYTES = 64;

interface Walk {
  seen: Set<object>;
  budget: number;
}

/** An estimate of a value's size in bytes. */
export function sizeOf(value: unknown): number {
  if (typeof value === 'string') return 16 + value.length;
  if (typeof value !== 'object' || value === null) return SLOT_BYTES;
  try {
    return Math.ceil(measure(value, { seen: new Set(), budget: BUDGET }));
  } catch {
    return OPAQUE_BYTES;
  }
}

function measure(value: unknown, walk: Walk): number {
  switch (typeof value) {
    case 'string':
      return 16 + value.length;
    case 'bigint':
      return 16 + (value === BigInt.asIntN(64, value) ? 8 : value.toString(16).length / 2);
    case 'function':
      return OPAQUE_BYTES;
    case 'object':
      return value === null ? SLOT_BYTES : SLOT_BYTES + measureObject(value, walk);
    default:
      return SLOT_BYTES;
  }
}

function measureObject(value: object, walk: Walk): number {
  if (walk.seen.has(value)) return 0;
  walk.seen.add(value);
  if (walk.budget-- <= 0) return OPAQUE_BYTES;
  if (ArrayBuffer.isView(value)) return OPAQUE_BYTES + value.byteLength;
  if (value instanceof ArrayBuffer) return OPAQUE_BYTES + value.byteLength;
  if (Array.isArray(value)) return OBJECT_BYTES + measureArray(value, walk);
  if (value instanceof Map) {
    return OBJECT_BYTES + measureMany(flatten(value), value.size, walk, 2);
  }
  if (value instanceof Set) {
    return OBJECT_BYTES + measureMany(value as Set<unknown>, value.size, walk, 1);
  }
  let total = OBJECT_BYTES;
  if (value instanceof Error) total += (value.stack?.length ?? 0) + measure(value.cause, walk);
  const keys = Object.keys(value);
  return total + measureKeys(value as Record<string, unknown>, keys, walk);
}

function measureKeys(value: Record<string, unknown>, keys: string[], walk: Walk): number {
  const stride = Math.max(1, Math.floor(keys.length / (SAMPLE * 4)));
  let total = 0;
  let taken = 0;
  for (let i = 0; i < keys.length; i += stride) {
    total += SLOT_BYTES + measure(value[keys[i]!], walk);
    taken++;
  }
  return taken === 0 ? 0 : (total / taken) * keys.length;
}

/** Evenly spaced items. Where nearly all are one object again and again, it is counted once. */
function measureArray(value: readonly unknown[], walk: Walk): number {
  const { length } = value;
  if (length === 0) return 0;
  const stride = Math.max(1, Math.floor(length / SAMPLE));
  let total = 0;
  let taken = 0;
  let repeated = 0;
  for (let i = 0; i < length; i += stride) {
    const item = value[i];
    if (typeof item === 'object' && item !== null && walk.seen.has(item)) repeated++;
    total += typeof item === 'number' ? SLOT_BYTES : measure(item, walk);
    taken++;
  }
  if (stride > 1 && repeated > taken * 0.75) return total + SLOT_BYTES * (length - taken);
  return (total / taken) * length;
}

function measureMany(items: Iterable<unknown>, size: number, walk: Walk, each: number): number {
  let total = 0;
  let taken = 0;
  for (const item of items) {
    total += SLOT_BYTES + measure(item, walk);
    if (++taken >= SAMPLE * each) break;
  }
  return taken === 0 ? 0 : (total / taken) * size * each;
}

function* flatten(map: ReadonlyMap<unknown, unknown>): Iterable<unknown> {
  for (const entry of map) yield* entry;
}
