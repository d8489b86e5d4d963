/**
 * One serialised value as one buffer, for messages that carry small values inline.
 *
 * Layout, big-endian: magic byte, family byte, u16 frame count, u32 length of each frame, frames.
 */
import { ProtocolError } from '../base/errors.ts';
import type { Family, Serialized } from './value.ts';

const MAGIC = 0xd7;
const FAMILIES: readonly Family[] = ['plain', 'js', 'pickle', 'ndarray', 'arrow'];
const WIDE = 0x80;

/** One buffer that holds all frames. */
export function packFrames(serialized: Serialized): Uint8Array {
  const { frames } = serialized;
  if (frames.length > 0xffff) {
    throw new ProtocolError(
      `${frames.length} frames in one value, at most 65535 can be sent inline. ` +
        `Send it out of line, or put the arrays into fewer, larger ones.`
    );
  }
  const wide = frames.some(frame => frame.length > 0xffffffff);
  const header = 4 + frames.length * (wide ? 8 : 4);
  let total = header;
  for (const frame of frames) total += frame.length;
  const packed = new Uint8Array(total);
  packed[0] = MAGIC;
  packed[1] = FAMILIES.indexOf(serialized.family) | (wide ? WIDE : 0);
  packed[2] = frames.length >>> 8;
  packed[3] = frames.length & 0xff;
  const view = new DataView(packed.buffer);
  let at = header;
  frames.forEach((frame, i) => {
    if (wide) view.setBigUint64(4 + i * 8, BigInt(frame.length));
    else view.setUint32(4 + i * 4, frame.length);
    packed.set(frame, at);
    at += frame.length;
  });
  return packed;
}

/** The frames of such a buffer, as views of it. Every length is checked. */
export function unpackFrames(packed: Uint8Array): Serialized {
  if (packed.length < 4 || packed[0] !== MAGIC) throw damaged('it does not start as one');
  const wide = (packed[1]! & WIDE) !== 0;
  const family = FAMILIES[packed[1]! & ~WIDE];
  if (family === undefined) throw damaged(`family number ${packed[1]!} is unknown`);
  const count = (packed[2]! << 8) | packed[3]!;
  const size = wide ? 8 : 4;
  let at = 4 + count * size;
  if (count === 0 || at > packed.length) throw damaged(`its ${count} lengths do not fit`);
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const frames: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const length = wide ? Number(view.getBigUint64(4 + i * 8)) : view.getUint32(4 + i * 4);
    if (at + length > packed.length) throw damaged(`frame ${i} passes its end`);
    frames.push(packed.subarray(at, at + length));
    at += length;
  }
  if (at !== packed.length) throw damaged(`${packed.length - at} bytes follow its last frame`);
  return { family, frames };
}

function damaged(why: string): ProtocolError {
  return new ProtocolError(
    `A packed value of Taskloom is damaged: ${why}. Both sides must run the same taskloom version.`
  );
}
