/**
 * The first message of every link to a scheduler: its registration, in time, of our protocol and of
 * a version that goes with ours. All that follows on the link is checked (protocol/check.ts) before
 * anybody acts on it.
 */
import type { Connection, ConnectionHandlers } from '../comm/connection.ts';
import type { KeepAliveOptions } from '../comm/keep-alive.ts';
import { accept } from '../comm/link.ts';
import type { Wire } from '../comm/wire.ts';
import { packageVersion } from '../config/runtime.ts';
import type { Log } from '../diagnostics/log.ts';
import { checkMessage } from '../protocol/check.ts';
import { CLOSE, LIMITS, PROTOCOL_VERSION } from '../protocol/limits.ts';
import { refusal } from '../protocol/versions.ts';
import type { Versions } from '../protocol/versions.ts';
import type { VersionBook } from './versions.ts';

/** What all registrations have in common. */
interface Registration {
  protocol: number;
  version?: string;
  versions?: Versions;
  name?: string;
  nanny?: string;
}

/** What becomes of a link after its registration. */
interface OpenLink<In> {
  messages(batch: In[]): void;
  closed(reason: string, code: number): void;
}

/** How a link of one kind is opened. */
interface Opening<Out, In, First> {
  /** Op of the registration. */
  op: string;
  /** The registration is in order. What it throws closes the link. */
  opened(connection: Connection<Out>, first: First): OpenLink<In>;
  alive?: KeepAliveOptions;
}

/** Takes a wire as a link whose first message must be a registration. */
export function handshake<
  Out extends { op: string },
  In extends { op: string },
  First extends In & Registration
>(
  { versions, log }: { versions: VersionBook; log: Log },
  wire: Wire,
  peer: string,
  { op, opened, alive = {} }: Opening<Out, In, First>
): void {
  let link: OpenLink<In> | null = null;
  const timer = setTimeout(
    () => connection.close(CLOSE.handshakeTimeout, 'no registration in time'),
    LIMITS.handshakeMs
  );
  const handlers: ConnectionHandlers<In> = {
    onMessages: batch => {
      if (link === null) {
        clearTimeout(timer);
        const first = batch.shift() as First | undefined;
        if (first?.op !== op)
          return connection.close(CLOSE.badHello, `the first message must be ${op}`);
        const refused = refusalOf(first);
        if (refused !== null) return connection.close(CLOSE.badVersion, refused);
        versions.add(connection, op, first.name ?? first.nanny ?? '', first.versions);
        const warning = op === 'register-client' ? null : versions.warningOf(connection);
        if (warning !== null) log.warn(warning);
        link = opened(connection, first);
      }
      for (const message of batch) checkMessage(message);
      if (batch.length > 0) link.messages(batch);
    },
    onClose: ({ code, reason }) => {
      clearTimeout(timer);
      versions.remove(connection);
      link?.closed(reason === '' ? `connection lost (${code})` : reason, code);
    }
  };
  const connection = accept<Out, In>(wire, peer, handlers, alive);
}

/** Why a registration is refused, or null. Throws ProtocolError when it makes no sense. */
function refusalOf(first: Registration & { op: string }): string | null {
  if (first.protocol !== PROTOCOL_VERSION) {
    const versions = `protocol ${first.protocol}, this scheduler speaks ${PROTOCOL_VERSION}`;
    return `you speak ${versions}: install one version on both sides`;
  }
  checkMessage(first);
  return refusal(first.version ?? '', packageVersion());
}
