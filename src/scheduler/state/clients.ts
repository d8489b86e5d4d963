/** Clients as the scheduler sees them: the keys each one speaks of by number, and its functions. */
import type { FunctionRecord, Task } from './tasks.ts';

/** A client's number for a task. `wanted`: the client holds a future for it. */
export interface Binding {
  readonly client: ClientRecord;
  readonly cid: number;
  readonly task: Task;
  wanted: boolean;
}

export class ClientRecord {
  readonly id: string;
  readonly name: string;
  readonly bindings = new Map<number, Binding>();
  readonly functions = new Map<number, FunctionRecord>();
  lastSeen: number;

  constructor(id: string, name: string, now: number) {
    this.id = id;
    this.name = name;
    this.lastSeen = now;
  }
}
