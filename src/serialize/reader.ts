/**
 * Reads the bytes of one head frame. Every read is checked against the frame's end: a truncated or
 * garbled head is a ProtocolError, never a wrong value.
 */
import { ProtocolError } from '../base/errors.ts';

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

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
