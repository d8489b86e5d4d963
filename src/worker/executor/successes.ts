/** What a pool tells of the results of one batch: columns, as its worker's state takes them. */
import { LIMITS } from '../../protocol/limits.ts';
import { packFrames } from '../../serialize/value.ts';
import type { ExecuteSuccess } from '../state/events.ts';
import type { Handed } from './executor.ts';
import type { Result } from './results.ts';

/** Of no results yet. */
export function emptySuccess(): ExecuteSuccess {
  return {
    op: 'execute-success',
    tids: [],
    runIds: [],
    nbytes: [],
    types: [],
    lanes: [],
    starts: [],
    durations: [],
    inline: []
  };
}

/** Adds one; `wanted`: its value is packed for sending along, if it is small and not live elsewhere. */
export function addSuccess(
  event: ExecuteSuccess,
  { tid, runId }: Handed,
  lane: number,
  result: Result,
  wanted: boolean
): void {
  const { nbytes, type, start, duration, frames, owned, stored } = result;
  const small = nbytes + 4 + 4 * frames.length <= LIMITS.inlineResultBytes;
  event.tids.push(tid);
  event.runIds.push(runId);
  event.nbytes.push(nbytes);
  event.types.push(type);
  event.lanes.push(lane);
  event.starts.push(start);
  event.durations.push(duration);
  event.inline.push(wanted && small && !owned && stored === undefined ? packFrames(result) : null);
}
