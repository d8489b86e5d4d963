/** The newest transitions, for `story(key)` and for errors that quote it. A ring of columns. */
import type { TaskState } from './tasks.ts';

export interface StoryLine {
  key: string;
  start: TaskState;
  finish: TaskState;
  stimulus: string;
  /** ms since the epoch */
  time: number;
}

export class Story {
  private readonly lines: (StoryLine | undefined)[];
  private at = 0;
  /** Transitions ever made. */
  count = 0;

  constructor(capacity: number) {
    this.lines = Array<StoryLine | undefined>(capacity).fill(undefined);
  }

  add(key: string, start: TaskState, finish: TaskState, stimulus: string, time: number): void {
    this.count++;
    const old = this.lines[this.at];
    if (old === undefined) this.lines[this.at] = { key, start, finish, stimulus, time };
    else {
      old.key = key;
      old.start = start;
      old.finish = finish;
      old.stimulus = stimulus;
      old.time = time;
    }
    this.at = (this.at + 1) % this.lines.length;
  }

  /** Oldest first. */
  select(test: (line: StoryLine) => boolean): StoryLine[] {
    const found: StoryLine[] = [];
    for (let i = 0; i < this.lines.length; i++) {
      const line = this.lines[(this.at + i) % this.lines.length];
      if (line !== undefined && test(line)) found.push({ ...line });
    }
    return found;
  }

  /** The last `count` lines, as far as they are kept, oldest first. */
  newest(count: number): StoryLine[] {
    const found: StoryLine[] = [];
    const size = this.lines.length;
    for (let back = Math.min(count, size); back > 0; back--) {
      const line = this.lines[(this.at - back + size) % size];
      if (line !== undefined) found.push({ ...line });
    }
    return found;
  }

  clear(): void {
    this.lines.fill(undefined);
  }

  /** The lines of one key as text. */
  of(key: string): string[] {
    return this.select(line => line.key === key).map(
      line =>
        `${new Date(line.time).toISOString()} ${line.start} -> ${line.finish} (${line.stimulus})`
    );
  }
}
