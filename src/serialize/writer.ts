/**
 * A growing byte buffer that writes msgpack. It knows bytes and msgpack's own types, nothing of
 * JavaScript's other values: those are encode.ts's matter.
 *
 * One writer serves many values (`reset`), because making buffers costs more than filling them.
 */

const utf8 = new TextEncoder();
const INITIAL_BYTES = 16 * 1024;
const KEEP_BYTES = 1024 * 1024;
const SHORT_STRING = 48;

interface WellFormed {
  isWellFormed(): boolean;
}

/** Whether UTF-8 can hold the string: it has no half of a surrogate pair. */
export function isWellFormed(text: string): boolean {
  return (text as unknown as WellFormed).isWellFormed();
}

/** See the head of this file. */
export class Writer {
  bytes: Uint8Array = new Uint8Array(INITIAL_BYTES);
  at = 0;
  private view: DataView = new DataView(this.bytes.buffer);

  reset(): void {
    this.at = 0;
    if (this.bytes.length > KEEP_BYTES) this.allocate(INITIAL_BYTES);
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.bytes.slice(0, this.at);
  }

  /** Makes room for `count` more bytes. */
  need(count: number): void {
    if (this.at + count <= this.bytes.length) return;
    const old = this.bytes;
    this.allocate(Math.max(old.length * 2, this.at + count + 64));
    this.bytes.set(old.subarray(0, this.at));
  }

  private allocate(size: number): void {
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
  }

  byte(value: number): void {
    this.need(1);
    this.bytes[this.at++] = value;
  }

  u32(value: number): void {
    this.need(4);
    this.view.setUint32(this.at, value);
    this.at += 4;
  }

  raw(content: Uint8Array): void {
    this.need(content.length);
    this.bytes.set(content, this.at);
    this.at += content.length;
  }

  float(value: number): void {
    this.need(9);
    this.bytes[this.at] = 0xcb;
    this.view.setFloat64(this.at + 1, value);
    this.at += 9;
  }

  number(value: number): void {
    this.need(9);
    if (value >>> 0 === value && !Object.is(value, -0)) this.unsigned(value);
    else if ((value | 0) === value && value < 0) this.negative(value);
    else if (Number.isSafeInteger(value) && !Object.is(value, -0)) this.wide(value);
    else this.float(value);
  }

  private unsigned(value: number): void {
    const { bytes } = this;
    if (value < 0x80) {
      bytes[this.at++] = value;
    } else if (value < 0x100) {
      bytes[this.at++] = 0xcc;
      bytes[this.at++] = value;
    } else if (value < 0x10000) {
      bytes[this.at++] = 0xcd;
      bytes[this.at++] = value >>> 8;
      bytes[this.at++] = value;
    } else {
      bytes[this.at] = 0xce;
      this.view.setUint32(this.at + 1, value);
      this.at += 5;
    }
  }

  private negative(value: number): void {
    if (value >= -32) {
      this.bytes[this.at++] = value & 0xff;
    } else if (value >= -128) {
      this.bytes[this.at++] = 0xd0;
      this.bytes[this.at++] = value & 0xff;
    } else {
      this.bytes[this.at] = 0xd2;
      this.view.setInt32(this.at + 1, value);
      this.at += 5;
    }
  }

  /** Whole numbers past 32 bits stay whole numbers for a Python reader. */
  private wide(value: number): void {
    const high = Math.floor(value / 0x100000000);
    this.bytes[this.at] = value < 0 ? 0xd3 : 0xcf;
    this.view.setInt32(this.at + 1, high);
    this.view.setUint32(this.at + 5, value - high * 0x100000000);
    this.at += 9;
  }

  /** A well-formed string; false, with nothing written, when it is not well formed. */
  string(text: string): boolean {
    const length = text.length;
    if (length <= SHORT_STRING && this.ascii(text, length)) return true;
    if (!isWellFormed(text)) return false;
    this.need(length * 3 + 5);
    // The header's size depends on the number of bytes: reserve for the most, then move if less.
    const reserved = headerSize(length * 3);
    const { written } = utf8.encodeInto(text, this.bytes.subarray(this.at + reserved));
    const used = headerSize(written);
    if (used !== reserved) {
      const from = this.at + reserved;
      this.bytes.copyWithin(this.at + used, from, from + written);
    }
    this.stringHeader(written);
    this.at += written;
    return true;
  }

  private ascii(text: string, length: number): boolean {
    this.need(length + 2);
    const { bytes } = this;
    const start = this.at;
    let at = start + (length < 32 ? 1 : 2);
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) return false;
      bytes[at++] = code;
    }
    if (length < 32) {
      bytes[start] = 0xa0 | length;
    } else {
      bytes[start] = 0xd9;
      bytes[start + 1] = length;
    }
    this.at = at;
    return true;
  }

  private stringHeader(size: number): void {
    if (size < 32) this.byte(0xa0 | size);
    else this.sized(size, 0xd9, 0xda, 0xdb);
  }

  private sized(size: number, code8: number, code16: number, code32: number): void {
    this.need(5);
    if (code8 !== 0 && size < 0x100) {
      this.bytes[this.at++] = code8;
      this.bytes[this.at++] = size;
    } else if (size < 0x10000) {
      this.bytes[this.at++] = code16;
      this.bytes[this.at++] = size >>> 8;
      this.bytes[this.at++] = size & 0xff;
    } else {
      this.bytes[this.at] = code32;
      this.view.setUint32(this.at + 1, size);
      this.at += 5;
    }
  }

  binary(content: Uint8Array): void {
    this.sized(content.length, 0xc4, 0xc5, 0xc6);
    this.raw(content);
  }

  array(length: number): void {
    if (length < 16) this.byte(0x90 | length);
    else this.sized(length, 0, 0xdc, 0xdd);
  }

  map(size: number): void {
    if (size < 16) this.byte(0x80 | size);
    else this.sized(size, 0, 0xde, 0xdf);
  }

  /** Starts an extension of unknown length; pass the result to `closeExtension`. */
  openExtension(tag: number): number {
    this.need(6);
    this.bytes[this.at] = 0xc9;
    this.bytes[this.at + 5] = tag;
    this.at += 6;
    return this.at;
  }

  closeExtension(start: number): void {
    this.view.setUint32(start - 5, this.at - start);
  }

  /** An extension that holds one unsigned 32-bit number. */
  extensionU32(tag: number, value: number): void {
    this.need(6);
    this.bytes[this.at++] = 0xd6;
    this.bytes[this.at++] = tag;
    this.u32(value);
  }

  /** Inserts an extension header before everything written from `from` on. */
  wrapExtension(from: number, tag: number): void {
    const length = this.at - from;
    this.need(6);
    this.bytes.copyWithin(from + 6, from, this.at);
    this.bytes[from] = 0xc9;
    this.view.setUint32(from + 1, length);
    this.bytes[from + 5] = tag;
    this.at += 6;
  }
}

function headerSize(bytes: number): number {
  if (bytes < 32) return 1;
  if (bytes < 0x100) return 2;
  return bytes < 0x10000 ? 3 : 5;
}
