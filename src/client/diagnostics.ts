/**
 * What a client can be told of the inside of its cluster: call stacks, versions, a dump of its state.
 * The questions go to the scheduler, which asks the workers.
 */
import { writeFile } from 'node:fs/promises';
import { VersionMismatchError } from '../base/errors.ts';
import { fetchDump } from '../deploy/api.ts';
import type { StoryLine } from '../protocol/story.ts';
import { mismatch } from '../protocol/versions.ts';
import type { Member, Versions } from '../protocol/versions.ts';
import type { Session } from './session.ts';

export type { Member, StoryLine, Versions };

/** What `client.callStacks` tells of a running task. */
export interface CallStack {
  /** Address and name of the worker. */
  worker: string;
  name: string;
  key: string;
  /** ms for which it was seen running. */
  forMs: number;
  /** Innermost first, `name (file:line:column)`. */
  frames: string[];
  /** Why there are no frames, in a sentence, or ''. */
  note: string;
}

/** Asks for stacks of running tasks; null = of all. */
export async function fetchCallStacks(
  session: Session,
  keys: readonly string[] | null,
  seconds: number
): Promise<CallStack[]> {
  const timeoutMs = seconds * 1000;
  return (await session.request('call-stack', { keys, timeoutMs })) as CallStack[];
}

/** Asks for the versions of all members; throws when they are to be equal and are not. */
export async function fetchVersions(session: Session, check: boolean): Promise<Member[]> {
  const members = (await session.request('versions', {})) as Member[];
  const different = check ? mismatch(members) : null;
  if (different !== null) throw new VersionMismatchError(different);
  return members;
}

/** Writes a dump of the cluster; the file is the user's alone. */
export async function writeDump(session: Session, file: string): Promise<void> {
  const bytes = await session.alive(() => fetchDump(session.access));
  await writeFile(file, bytes, { mode: 0o600 });
}
