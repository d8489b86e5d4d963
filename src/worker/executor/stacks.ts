/**
 * What executor threads run at this moment: their JavaScript stacks, also from the middle of a loop
 * that never gives way. The control thread speaks to them through the inspector's NodeWorker domain
 * (no port is opened): the engine interrupts the thread, which stops for the milliseconds that
 * telling its frames takes, and goes on. Nothing is killed, and this thread waits for nothing.
 *
 * A thread that runs JavaScript stops as soon as it has taken the question in; one that takes it in
 * and does not stop awaits something; one that does not even take it in is inside native code.
 */
import { Session } from 'node:inspector';

/** What was seen of one thread. */
export interface ThreadStack {
  /** Innermost first, `name (file:line:column)`; empty when no JavaScript ran. */
  frames: string[];
  /** Why there are no frames, in a sentence, or ''. */
  note: string;
}

interface Frame {
  functionName: string;
  location: { scriptId: string; lineNumber: number; columnNumber?: number };
}

interface FromInspector {
  id?: number;
  method?: string;
  params?: { callFrames?: Frame[]; scriptId?: string; url?: string };
}

/** One thread that is being asked. */
interface Asked {
  session: string;
  asked: boolean;
  /** Addresses of its scripts: frames name them by number. */
  scripts: Map<string, string>;
  settle: ((stack: ThreadStack) => void) | null;
  timer: ReturnType<typeof setTimeout> | null;
}

const ENABLE = 1;
const PAUSE = 2;
const OTHER = 3;
/** ms in which a thread that has taken the question in stops, if it runs JavaScript at all. */
const STOP_MS = 250;
const AWAITS =
  'It runs no JavaScript at this moment: it awaits a timer, a promise or input and output.';
const OWN_CODE = 'Its executor unpacks its function and arguments, or packs its result.';

let looking: Promise<unknown> = Promise.resolve();

/**
 * The stacks of these threads (by `threadId`), within `timeoutMs`. `own` is the address of the
 * folder that holds the executor's own code: its frames below the user's are left out.
 */
export function stacksOf(
  threadIds: readonly number[],
  timeoutMs: number,
  own: string
): Promise<Map<number, ThreadStack>> {
  // One look at a time: two sessions would stop each other's threads.
  const look = looking.then(() => new StackLook(own).take(threadIds, timeoutMs));
  looking = look.catch(() => undefined);
  return look;
}

class StackLook {
  private readonly session = new Session();
  private readonly threads = new Map<number, Asked>();
  private readonly own: string;

  constructor(own: string) {
    this.own = own;
  }

  async take(threadIds: readonly number[], timeoutMs: number): Promise<Map<number, ThreadStack>> {
    const stacks = new Map<number, ThreadStack>();
    if (threadIds.length === 0) return stacks;
    this.session.connect();
    try {
      this.listen();
      await this.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
      await Promise.all(threadIds.map(async id => stacks.set(id, await this.ask(id, timeoutMs))));
      for (const thread of this.threads.values()) {
        if (thread.asked) this.toThread(thread, OTHER, 'Debugger.disable');
      }
      await this.post('NodeWorker.disable');
    } finally {
      this.session.disconnect();
    }
    return stacks;
  }

  private listen(): void {
    this.session.on('NodeWorker.attachedToWorker', ({ params }) => {
      const { sessionId: session, workerInfo } = params;
      const thread = { session, asked: false, scripts: new Map(), settle: null, timer: null };
      // `[worker 3] name`; its workerId counts the threads as they came up, which is another order.
      const threadId = /^\[worker (\d+)\]/.exec(workerInfo.title)?.[1];
      if (threadId !== undefined) this.threads.set(Number(threadId), thread);
    });
    this.session.on('NodeWorker.receivedMessageFromWorker', ({ params }) => {
      for (const thread of this.threads.values()) {
        if (thread.session !== params.sessionId) continue;
        this.heard(thread, JSON.parse(params.message) as FromInspector);
      }
    });
    this.session.on('NodeWorker.detachedFromWorker', ({ params }) => {
      for (const thread of this.threads.values()) {
        if (thread.session === params.sessionId) none(thread, 'Its thread has ended meanwhile.');
      }
    });
  }

  private ask(threadId: number, timeoutMs: number): Promise<ThreadStack> {
    const thread = this.threads.get(threadId);
    if (thread === undefined) {
      return Promise.resolve({ frames: [], note: 'Its thread has ended meanwhile.' });
    }
    return new Promise(resolve => {
      thread.asked = true;
      thread.settle = resolve;
      thread.timer = setTimeout(() => {
        none(
          thread,
          `Its thread did not answer within ${timeoutMs / 1000} s: it is inside native code that ` +
            `cannot be interrupted (a synchronous call of the system, an addon).`
        );
      }, timeoutMs);
      this.toThread(thread, ENABLE, 'Debugger.enable');
      this.toThread(thread, PAUSE, 'Debugger.pause');
    });
  }

  private heard(thread: Asked, message: FromInspector): void {
    if (message.method === 'Debugger.scriptParsed') {
      thread.scripts.set(message.params?.scriptId ?? '', message.params?.url ?? '');
    } else if (message.method === 'Debugger.paused') {
      // First of all it goes on.
      this.toThread(thread, OTHER, 'Debugger.resume');
      settle(thread, this.stackOf(thread.scripts, message.params?.callFrames ?? []));
    } else if (message.id === PAUSE && thread.settle !== null) {
      if (thread.timer !== null) clearTimeout(thread.timer);
      thread.timer = setTimeout(() => none(thread, AWAITS), STOP_MS);
    }
  }

  private toThread(thread: Asked, id: number, method: string): void {
    const message = JSON.stringify({ id, method });
    const sent = { sessionId: thread.session, message };
    // It fails when the thread has ended, which is heard of otherwise.
    this.session.post('NodeWorker.sendMessageToWorker', sent, () => undefined);
  }

  private post(method: string, params: object = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      this.session.post(method, params, error => (error === null ? resolve() : reject(error)));
    });
  }

  private stackOf(scripts: ReadonlyMap<string, string>, frames: readonly Frame[]): ThreadStack {
    const url = ({ location }: Frame): string => scripts.get(location.scriptId) ?? '';
    const isOwn = (frame: Frame): boolean => url(frame).startsWith(this.own);
    const isUsers = (frame: Frame): boolean => !isOwn(frame) && !/^(node:|$)/.test(url(frame));
    // A function without a file is told from what Node runs without one by what is below it.
    const end = Math.max(frames.findLastIndex(isUsers) + 1, frames.findIndex(isOwn));
    if (end <= 0) return { frames: [], note: OWN_CODE };
    const lines = frames.slice(0, end).map(frame => {
      const { lineNumber, columnNumber } = frame.location;
      // A function that came without a file is counted from its own first line.
      const file = url(frame) === '' ? 'function' : url(frame);
      const place = `${file}:${lineNumber + 1}:${(columnNumber ?? 0) + 1}`;
      return `${frame.functionName === '' ? '(anonymous)' : frame.functionName} (${place})`;
    });
    return { frames: lines, note: '' };
  }
}

function none(thread: Asked, note: string): void {
  settle(thread, { frames: [], note });
}

function settle(thread: Asked, stack: ThreadStack): void {
  if (thread.timer !== null) clearTimeout(thread.timer);
  thread.timer = null;
  thread.settle?.(stack);
  thread.settle = null;
}
