/**
 * The last lines of a stream of text. Chunks may end within a line; a line without end is kept
 * until its end comes, and cut when it grows beyond all reason.
 */

const LINE_CHARS = 8192;

export class LineRing {
  private readonly capacity: number;
  private lines: string[] = [];
  private partial = '';

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Takes in a chunk and returns the lines that it completed. */
  add(text: string): string[] {
    const parts = (this.partial + text).split('\n');
    this.partial = (parts.pop() ?? '').slice(0, LINE_CHARS * 64);
    const whole = parts.map(line => line.replace(/\r$/, ''));
    for (const line of whole) this.lines.push(line.slice(0, LINE_CHARS));
    // Cut rarely rather than shift at each line.
    if (this.lines.length > this.capacity * 2) this.lines = this.lines.slice(-this.capacity);
    return whole;
  }

  /** The last lines, oldest first, with the unfinished one. */
  last(count: number = this.capacity): string[] {
    const all = this.partial === '' ? this.lines : [...this.lines, this.partial];
    return all.slice(-Math.min(count, this.capacity));
  }
}
