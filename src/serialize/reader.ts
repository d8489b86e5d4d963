/**
 * Reads the bytes of one head frame. Every read is checked against the frame's end: a truncated or
 * garbled head is a ProtocolError, never a wrong value.
 */
import { ProtocolError } from '../base/errors.ts';

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

interface Name {
  bytes: Uint8Array;
  text: string;
}
const names: (Name | undefined)[] = new Array<Name | undefined>(256).fill(undefined);

function sameBytes(known: Uint8Array, bytes: Uint8Array, start: number, count: number): boolean {
  if (known.length !== count) return false;
  for (let i = 0; i < count; i++) if (known[i] !== bytes[start + i]) return false;
  return true;
}

/** A position in one head. */
export class Reader {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(what: string): never {
    throw new ProtocolError(
      `A serialised value is damaged: ${what} at byte ${this.at} of ${this.bytes.length}. ` +
        `Both sides must run the same taskloom version.`
    );
  }

  /** Checks that `count` bytes remain and moves past them; the position before. */
  take(count: number): number {
    const at = this.at;
    if (at + count > this.bytes.length) this.fail(`${count} bytes wanted past its end`);
    this.at = at + count;
    return at;
  }

  byte(): number {
    return this.bytes[this.take(1)]!;
  }

  u16(): number {
    return this.view.getUint16(this.take(2));
  }

  u32(): number {
    return this.view.getUint32(this.take(4));
  }

  /** A view of the next `count` bytes. */
  span(count: number): Uint8Array {
    const at = this.take(count);
    return this.bytes.subarray(at, at + count);
  }

  text(count: number): string {
    const at = this.take(count);
    if (count < 24) {
      const short = this.ascii(at, count);
      if (short !== undefined) return short;
    }
    return utf8.decode(this.bytes.subarray(at, at + count));
  }

  /** A short text that is likely to come again, such as a property's name. */
  name(count: number): string {
    if (count === 0 || count > 24) return this.text(count);
    const { bytes } = this;
    const start = this.at;
    const last = start + count - 1;
    if (last >= bytes.length) return this.text(count);
    const place = (count * 31 + bytes[start]! * 7 + bytes[last]! * 3) & 255;
    const known = names[place];
    if (known !== undefined && sameBytes(known.bytes, bytes, start, count)) {
      this.at += count;
      return known.text;
    }
    const text = this.text(count);
    names[place] = { bytes: bytes.slice(start, start + count), text };
    return text;
  }

  private ascii(start: number, count: number): string | undefined {
    const { bytes } = this;
    let text = '';
    for (let at = start; at < start + count; at++) {
      const code = bytes[at]!;
      if (code >= 0x80) return undefined;
      text += String.fromCharCode(code);
    }
    return text;
  }
}
