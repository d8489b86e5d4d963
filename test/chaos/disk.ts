/**
 * A small disk for a chaos run: a file system in a file, or else a tmpfs, which a balloon file
 * fills. Needs root; says why when it cannot be made.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export class SmallDisk {
  readonly folder: string;
  private readonly balloon: string;

  static create(folder: string, megabytes: number): SmallDisk | string {
    mkdirSync(folder, { recursive: true });
    const run = (command: string, ...args: string[]): void =>
      void execFileSync(command, args, { stdio: 'pipe' });
    try {
      const image = `${folder}.image`;
      run('truncate', '-s', `${megabytes}M`, image);
      run('mkfs.ext4', '-q', '-m', '0', image);
      run('mount', '-o', 'loop', image, folder);
    } catch {
      try {
        run('mount', '-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0700`, 'tmpfs', folder);
      } catch (error) {
        const said = (error as { stderr?: Buffer }).stderr?.toString().trim() ?? '';
        return `no small disk on this machine: ${said || (error as Error).message}`;
      }
    }
    return new SmallDisk(folder);
  }

  private constructor(folder: string) {
    this.folder = folder;
    this.balloon = join(folder, 'balloon');
  }

  /** Leaves no byte free. */
  fill(): void {
    const file = openSync(this.balloon, 'w');
    const block = Buffer.alloc(2 ** 20, 1);
    try {
      for (let size = block.length; size > 0;) {
        try {
          writeSync(file, block, 0, size);
        } catch {
          size = size === 1 ? 0 : Math.floor(size / 16) || 1;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  empty(): void {
    rmSync(this.balloon, { force: true });
  }

  /** Files and folders that lie there, without the balloon. */
  files(): string[] {
    return readdirSync(this.folder, { recursive: true })
      .map(String)
      .filter(name => name !== 'balloon' && name !== 'lost+found');
  }

  close(): void {
    try {
      execFileSync('umount', ['--lazy', this.folder], { stdio: 'pipe' });
    } catch {
      // It is not mounted any more.
    }
  }
}
