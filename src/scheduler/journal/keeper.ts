/**
 * Keeps the journal of a running scheduler: at its start the state takes over what the journal of a
 * scheduler before says; then every event is noted before anybody is told what came of it, and once
 * a second what has been added to the history.
 */
import type { Log } from '../../diagnostics/log.ts';
import type { SchedulerEvent, SchedulerState } from '../state/state.ts';
import { Journal } from './journal.ts';
import { historySince, recordOf, replay, snapshot } from './records.ts';
import type { Recorded, Replayed } from './records.ts';

/** ms between parts of the history in the journal. */
const HISTORY_MS = 1000;
/** How long clients of a journal may take to come back. */
const GRACE_MS = 30_000;

interface KeeperOptions {
  folder: string;
  cluster: { id: string; name: string };
  state: SchedulerState;
  log: Log;
  now: number;
  /** Workers that the journal tells of. */
  onWorkersBefore: (facts: Replayed['facts']) => void;
}

/** Writes what a state goes through into its journal. */
export class JournalKeeper {
  private readonly journal: Journal;
  private readonly state: SchedulerState;
  /** How much of the history is in the journal, and since when. */
  private readonly recorded: Recorded;
  private recordedAt = 0;

  /** Takes over what is in the folder. Throws when it cannot be used. */
  constructor({ folder, cluster: own, state, log, now, onWorkersBefore }: KeeperOptions) {
    const { journal, records, cluster, note } = Journal.open(folder, own);
    this.journal = journal;
    this.state = state;
    if (note !== null) log.warn(note);
    if (cluster !== null) {
      const { events, facts } = replay(state, records, now, GRACE_MS);
      onWorkersBefore(facts);
      const { tasks, clients, datasets } = state;
      log.info(
        `the journal in ${folder} gave ${events} events: ${tasks.size} tasks of ${clients.size} clients and ` +
          `${datasets.size} datasets are known again`
      );
    }
    this.recorded = { stream: state.stream.count, story: state.story.count };
    state.endedForgotten = [];
  }

  /** Notes an event that the state has handled. */
  record(event: SchedulerEvent, at: number): void {
    const { journal, state } = this;
    const record = recordOf(event, at);
    if (record !== null) journal.append(record);
    if (event.type === 'add-worker')
      journal.append({ op: 'worker', id: event.worker, facts: event.facts });
    if (event.type === 'add-worker' || event.type === 'remove-worker')
      journal.append({ op: 'workers', count: state.workers.size });
    const ended = state.endedForgotten ?? [];
    if (ended.length > 0) journal.append({ op: 'forgotten-ended', keys: ended.splice(0) });
    if (event.type !== 'tick' || at - this.recordedAt < HISTORY_MS) return;
    this.recordedAt = at;
    const history = historySince(state, this.recorded);
    if (history !== null) journal.append(history);
    if (journal.isLong) journal.snapshot(snapshot(state, at));
  }

  /** Writes out what is left. */
  close(): void {
    this.journal.close();
  }
}
