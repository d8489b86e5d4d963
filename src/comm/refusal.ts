/** What it means that a scheduler closed a link with CLOSE.badVersion. */
import { ProtocolVersionError, VersionMismatchError } from '../base/errors.ts';
import type { TaskloomError } from '../base/errors.ts';
import { PROTOCOL_VERSION } from '../protocol/limits.ts';

/** `peer` begins a sentence: `The scheduler at http://…`. */
export function versionError(peer: string, reason: string): TaskloomError {
  const theirs = /speaks (\d+)/.exec(reason)?.[1];
  if (theirs !== undefined) return new ProtocolVersionError(PROTOCOL_VERSION, Number(theirs), peer);
  return new VersionMismatchError(`${peer} refuses this process: ${reason}.`);
}
